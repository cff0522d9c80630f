"""`tailrace package lambda`: build the zip, the layer and the Dockerfile that AWS Lambda runs."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.edge import require_pipeline_file
from tailrace.cli.entry import unwinding
from tailrace.errors import FileError

if TYPE_CHECKING:
    from tailrace.config import LoadedPipeline
    from tailrace.deploy.package import Package

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)


class Architecture(StrEnum):
    """Lambda's processors."""

    ARM64 = "arm64"
    X86_64 = "x86_64"


class Python(StrEnum):
    """Lambda's Pythons that the dependencies have wheels for."""

    PYTHON_3_12 = "3.12"
    PYTHON_3_13 = "3.13"
    PYTHON_3_14 = "3.14"


@app.callback()
def package() -> None:
    """Build what AWS runs."""


@app.command("lambda")
def package_lambda(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="The pipeline file to include in the package.", show_default=False),
    ] = None,
    *,
    output: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write to.")] = Path("build/lambda"),
    architecture: Annotated[
        Architecture | None, typer.Option(help="Without it, what FILE says; else arm64.", show_default=False)
    ] = None,
    python: Annotated[Python, typer.Option(help="The function's Python.")] = Python.PYTHON_3_13,
    include: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="A module, file or folder to put beside the function; repeatable."),
    ] = None,
    whole_sdk: Annotated[
        bool, typer.Option("--whole-sdk", help="Include boto3 and all AWS services, for your own modules.")
    ] = False,
    msk_iam: Annotated[
        bool, typer.Option("--msk-iam", help="Include what AWS_MSK_IAM needs. Implied where FILE logs in so.")
    ] = False,
    native: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="A folder of wheels, to take tailrace-native from; without it, the function is pure Python.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Build the zip, the layer and the Dockerfile that AWS Lambda runs.

    It runs on any machine, for both architectures, and the build is reproducible. Nothing is sent to AWS.

    \b
    Example:
      tailrace package lambda pipeline.yaml --output build/lambda
    """
    import msgspec

    from tailrace.config import load
    from tailrace.deploy.deployment import require_no_schema_registry
    from tailrace.deploy.package import build
    from tailrace.deploy.target import Target
    from tailrace.kafka import login
    from tailrace.kafka.msk_iam import MECHANISM

    if file:
        require_pipeline_file(file)
    loaded = load(file, with_secrets=False) if file else None
    if loaded:
        require_no_schema_registry(loaded)
        _check_included(loaded, {path.name for path in include or []})
        msk_iam = msk_iam or login.mechanism(loaded.pipeline.kafka) == MECHANISM
    if architecture is None:
        architecture = Architecture(loaded.pipeline.function.architecture) if loaded else Architecture.ARM64
    target = Target(architecture.value, python.value)
    with unwinding():
        built = build(
            target,
            output,
            pipeline=file,
            include=include or [],
            whole_sdk=whole_sdk,
            msk_iam=msk_iam,
            native=native,
        )
    typer.echo(msgspec.json.encode(built).decode() if as_json else "\n".join(_lines(built)))


def _check_included(loaded: LoadedPipeline, included: set[str]) -> None:
    """Refuse a pipeline that needs a file or a module which the function would not find."""
    for reference in sorted(loaded.references):
        if reference.kind == "file" and Path(reference.name).parts[0] not in included:
            raise FileError(
                f"it refers to the file {reference.name}, which would not be in the package",
                file=loaded.file,
                hint=f"add --include {reference.name} and name it without its folder, or write ${{secret:NAME}}",
            )
    for step in loaded.pipeline.transform:
        if step.function is None:
            continue
        module = step.function.partition(":")[0].split(".")[0]
        if not included & {module, f"{module}.py"}:
            raise FileError(
                f"it transforms with {step.function}, which would not be in the package",
                file=loaded.file,
                hint=f"add --include {module}.py, or the folder {module}",
            )


def _lines(built: Package) -> Iterator[str]:
    from tailrace.deploy.package import UNZIPPED_MAX_BYTES, UPLOAD_MAX_BYTES

    yield f"AWS Lambda, {built.architecture}, Python {built.python}"
    for name, part in (("function", built.function), ("layer", built.layer)):
        sizes = f"{_megabytes(part.zipped_bytes)} zipped, {_megabytes(part.unzipped_bytes)} unzipped"
        yield f"  {name:<10}  {part.file}: {sizes}"
    yield f"  dockerfile  {built.dockerfile}"
    yield f"  transcoder  {'native' if built.transcoder == 'native' else 'pure Python (--native DIR makes it native)'}"
    yield (
        f"  of Lambda's limits: {built.layer.zipped_bytes / UPLOAD_MAX_BYTES:.0%} of 50 MB zipped, "
        f"{built.unzipped_bytes / UNZIPPED_MAX_BYTES:.0%} of 250 MB unzipped"
    )


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
