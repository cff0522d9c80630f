"""The layer's content: our pinned dependencies, as wheels for Lambda's machines, whatever machine this is."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tailrace.deploy.target import Target
from tailrace.errors import WorldError, printable

REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
"""Every package with its version and its hashes; `make lock` writes it."""

_SERVICES: Final = frozenset(
    {"dynamodb", "dynamodbstreams", "s3", "secretsmanager", "signin", "ssm", "sso", "sso-oidc", "sts"}
)
"""What Tailrace asks of AWS, and what AWS's credentials may need. Those of all services are 27 MB."""
_WHOLE_SDK_ONLY: Final = ("boto3/", "boto3-", "s3transfer/", "s3transfer-")
_NEVER: Final = re.compile(r"\.pyi$|\.pyc$|/py\.typed$|\.dist-info/RECORD$|/tests?/")
_SERVICE: Final = re.compile(r"^botocore/data/([^/]+)/")
_SCHEME: Final = re.compile(r"^[^/]+\.data/(?:pure|plat)lib/")
"""Where a wheel keeps what belongs beside its packages."""


def layer_files(target: Target, *, whole_sdk: bool) -> dict[str, bytes]:
    """Download the wheels of a target, and give what the function needs of them, by its path in the layer.

    `whole_sdk` leaves boto3 and every service of AWS in. Raises `WorldError` when the wheels cannot be had.
    """
    with tempfile.TemporaryDirectory() as folder:
        _download(target, Path(folder))
        return {
            f"python/{name}": content
            for wheel in sorted(Path(folder).glob("*.whl"))
            for name, content in _content(wheel)
            if _is_needed(name, whole_sdk=whole_sdk)
        }


def _content(wheel: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(wheel) as opened:
        for entry in opened.infolist():
            if not entry.is_dir():
                yield _SCHEME.sub("", entry.filename), opened.read(entry)


def _is_needed(name: str, *, whole_sdk: bool) -> bool:
    if _NEVER.search(name):
        return False
    if whole_sdk:
        return True
    service = _SERVICE.match(name)
    return not name.startswith(_WHOLE_SDK_ONLY) and (service is None or service[1] in _SERVICES)


def _download(target: Target, folder: Path) -> None:
    """Let pip fetch each wheel and check its hash. It needs no machine or Python of the target's kind."""
    if importlib.util.find_spec("pip") is None:
        raise WorldError("pip, which fetches the layer's packages, is not installed", hint="python -m ensurepip")
    platforms = [argument for platform in target.platforms for argument in ("--platform", platform)]
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--require-hashes", "--no-deps", "--only-binary=:all:", "--implementation", "cp"),
        *("--python-version", target.python, *platforms, "--dest", str(folder), "--requirement", str(REQUIREMENTS)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        why = printable(errors[0] if errors else done.stderr.strip()[-300:])
        raise WorldError(
            f"the layer's packages for Python {target.python} on {target.architecture} cannot be fetched: {why}",
            hint="check that pip reaches its package index from here: pip download six",
        )
