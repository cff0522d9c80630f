"""Builds what AWS Lambda runs: the function's zip, the layer below it, and a Dockerfile for those who want an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from tailrace import _version
from tailrace.config.environment import DEFAULT_FILE
from tailrace.deploy.archive import write_zip
from tailrace.deploy.target import Target
from tailrace.deploy.wheels import layer_files
from tailrace.errors import FileError, WorldError

HANDLER: Final = "tailrace.lambda_handler.handler"
FUNCTION_ZIP: Final = "tailrace-function.zip"

UPLOAD_MAX_BYTES: Final = 50 * 1_000_000
UNZIPPED_MAX_BYTES: Final = 250 * 1_000_000
"""AWS's limits: a zip that is not uploaded by way of S3, and the function with its layers, unpacked.

Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""

_LEFT_OUT: Final = ("cli", "deploy", "local")
"""The handler imports nothing from these."""
_IGNORED: Final = ("__pycache__", ".git", ".venv")

_DOCKERFILE: Final = """\
# AWS Lambda's own image for Python with Tailrace in it. Build and push it where Lambda finds it:
#   docker buildx build --platform linux/{platform} --provenance=false --tag REPOSITORY .
# (REPOSITORY is a placeholder: the URI of a repository of yours in Amazon ECR.)
FROM public.ecr.aws/lambda/python:{python}

# A layer does nothing for an image, so both go where the function lies; compiled, because Lambda cannot keep byte code.
RUN --mount=type=bind,target=/package \\
    python -m zipfile -e /package/{layer} /layer && mv /layer/python/* "$LAMBDA_TASK_ROOT" && rm -r /layer && \\
    python -m zipfile -e /package/{function} "$LAMBDA_TASK_ROOT" && \\
    python -m compileall -q "$LAMBDA_TASK_ROOT"

CMD ["{handler}"]
"""


class Part(msgspec.Struct, frozen=True):
    """A zip that was built, with its sizes in bytes."""

    file: str
    zipped_bytes: int
    unzipped_bytes: int


class Package(msgspec.Struct, frozen=True):
    """What was built."""

    architecture: str
    python: str
    transcoder: Literal["native", "pure"]
    function: Part
    layer: Part
    dockerfile: str

    @property
    def unzipped_bytes(self) -> int:
        """What Lambda's limit is about: the function and its layer."""
        return self.function.unzipped_bytes + self.layer.unzipped_bytes


def layer_zip(target: Target) -> str:
    """Name the layer's file."""
    return f"tailrace-layer-{target.architecture}-python{target.python}.zip"


def build(
    target: Target,
    output: Path,
    *,
    pipeline: Path | None = None,
    include: Sequence[Path] = (),
    whole_sdk: bool = False,
    msk_iam: bool = False,
    native: Path | None = None,
) -> Package:
    """Build the package for a target into the folder `output`, which is made.

    `include` are files and folders that the function finds beside it, by their own names; `msk_iam` adds what the login
    AWS_MSK_IAM needs; `native` is a folder with a wheel of the native transcoder. Raises `FileError` for what cannot be
    packed, `WorldError` when the dependencies cannot be had or the package is too large for Lambda.
    """
    function_files = _function_files(pipeline, include)
    dependencies = layer_files(target, whole_sdk=whole_sdk, msk_iam=msk_iam, native=native)
    try:
        output.mkdir(parents=True, exist_ok=True)
        function = _write(output / FUNCTION_ZIP, function_files)
        layer = _write(output / layer_zip(target), dependencies)
        dockerfile = output / "Dockerfile"
        dockerfile.write_text(_dockerfile(target))
    except OSError as error:
        raise WorldError(
            f"cannot write to {output}: {error.strerror}", hint="give another folder as --output"
        ) from error
    transcoder: Literal["native", "pure"] = "pure" if native is None else "native"
    package = Package(target.architecture, target.python, transcoder, function, layer, str(dockerfile))
    if package.unzipped_bytes > UNZIPPED_MAX_BYTES:
        raise WorldError(
            f"the package has {package.unzipped_bytes / 1e6:.0f} MB unzipped, and Lambda takes 250 MB",
            hint="include less, or deploy it as an image with the Dockerfile",
        )
    return package


def _write(path: Path, files: dict[str, bytes]) -> Part:
    write_zip(path, files)
    return Part(str(path), path.stat().st_size, sum(map(len, files.values())))


def _dockerfile(target: Target) -> str:
    return _DOCKERFILE.format(
        platform={"arm64": "arm64", "x86_64": "amd64"}[target.architecture],
        python=target.python,
        layer=layer_zip(target),
        function=FUNCTION_ZIP,
        handler=HANDLER,
    )


def _function_files(pipeline: Path | None, include: Sequence[Path]) -> dict[str, bytes]:
    files = dict(_own_files())
    given = [(DEFAULT_FILE, pipeline)] if pipeline else []
    for path in include:
        given += _below(path)
    for name, path in given:
        if name in files or name.startswith("tailrace/"):
            raise FileError(f"{path} would take the place of {name} in the package", hint="give it another name")
        try:
            files[name] = path.read_bytes()
        except OSError as error:
            raise FileError(f"cannot be read: {(error.strerror or '').lower()}", file=str(path)) from error
    return files


def _own_files() -> Iterator[tuple[str, bytes]]:
    root = Path(_version.__file__).parent
    for path in root.rglob("*.py"):
        name = path.relative_to(root)
        if name.parts[0] not in _LEFT_OUT:
            yield f"tailrace/{name.as_posix()}", path.read_bytes()


def _below(path: Path) -> list[tuple[str, Path]]:
    """Return a file, or every file of a folder, by its name in the package."""
    if not path.is_dir():
        return [(path.name, path)]
    folder = path.resolve()
    found = ((each.relative_to(folder.parent), each) for each in sorted(folder.rglob("*")) if each.is_file())
    return [(name.as_posix(), each) for name, each in found if not set(_IGNORED) & set(name.parts)]
