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

from tailrace._version import __version__
from tailrace.deploy.target import Target
from tailrace.errors import FileError, WorldError, printable

REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
"""Every package with its version and its hashes; `make lock` writes it."""
NATIVE: Final = "tailrace-native"

_SERVICES: Final = frozenset(
    {"dynamodb", "dynamodbstreams", "s3", "secretsmanager", "signin", "ssm", "sso", "sso-oidc", "sts"}
)
"""What Tailrace asks of AWS, and what AWS's credentials may need. Those of all services are 27 MB."""
_WHOLE_SDK_ONLY: Final = ("boto3/", "boto3-", "s3transfer/", "s3transfer-")
_MSK_IAM_ONLY: Final = (*_WHOLE_SDK_ONLY, "aws_msk_iam_sasl_signer")
"""What signs logins to MSK with IAM, and what that imports."""
_NOT_IMPORTED: Final = ("click/", "click-")
"""Only the signer's command line does."""
_NEVER: Final = re.compile(r"\.pyi$|\.pyc$|/py\.typed$|\.dist-info/RECORD$|/tests?/")
_SERVICE: Final = re.compile(r"^botocore/data/([^/]+)/")
_SCHEME: Final = re.compile(r"^[^/]+\.data/(?:pure|plat)lib/")
"""Where a wheel keeps what belongs beside its packages."""


def layer_files(target: Target, *, whole_sdk: bool, msk_iam: bool, native: Path | None = None) -> dict[str, bytes]:
    """Download the wheels of a target, and give what the function needs of them, by its path in the layer.

    `whole_sdk` leaves boto3 and every service of AWS in, `msk_iam` what the login AWS_MSK_IAM needs; `native` is a
    folder with a wheel of the native transcoder, to be put in too. Raises `WorldError` when the wheels cannot be had,
    `FileError` when none in `native` fits.
    """
    with tempfile.TemporaryDirectory() as folder:
        _download(target, Path(folder))
        if native is not None:
            _take_native(target, Path(folder), native)
        return {
            f"python/{name}": content
            for wheel in sorted(Path(folder).glob("*.whl"))
            for name, content in _content(wheel)
            if _is_needed(name, whole_sdk=whole_sdk, msk_iam=msk_iam)
        }


def _content(wheel: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(wheel) as opened:
        for entry in opened.infolist():
            if not entry.is_dir():
                yield _SCHEME.sub("", entry.filename), opened.read(entry)


def _is_needed(name: str, *, whole_sdk: bool, msk_iam: bool) -> bool:
    if _NEVER.search(name) or name.startswith(_NOT_IMPORTED):
        return False
    if name.startswith(_MSK_IAM_ONLY):
        return msk_iam or (whole_sdk and name.startswith(_WHOLE_SDK_ONLY))
    service = _SERVICE.match(name)
    return whole_sdk or service is None or service[1] in _SERVICES


def _download(target: Target, folder: Path) -> None:
    """Have pip download each wheel and check its hash."""
    if importlib.util.find_spec("pip") is None:
        raise WorldError("pip, which fetches the layer's packages, is not installed", hint="python -m ensurepip")
    if why := _pip_download(target, folder, "--require-hashes", "--requirement", str(REQUIREMENTS)):
        raise WorldError(
            f"the layer's packages for Python {target.python} on {target.architecture} cannot be fetched: {why}",
            hint="check that pip reaches its package index from here: pip download six",
        )


def _take_native(target: Target, folder: Path, wheels: Path) -> None:
    """Have pip find the wheel for the target, in our own version, since another may make other bytes."""
    wanted = f"{NATIVE}=={__version__}"
    if _pip_download(target, folder, "--no-index", "--find-links", str(wheels), wanted):
        raise FileError(
            f"it holds no wheel of {NATIVE} {__version__} for Python {target.python} on {target.architecture}",
            file=str(wheels),
            hint="build one on such a Linux (maturin build --release in native/), or leave --native out: pure Python",
        )


def _pip_download(target: Target, folder: Path, *what: str) -> str:
    """Have pip put the target's wheels into a folder; return why it failed, empty when it succeeded.

    It needs no machine or Python of the target's kind.
    """
    platforms = [argument for platform in target.platforms for argument in ("--platform", platform)]
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", target.python),
        *(*platforms, "--dest", str(folder), *what),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.returncode:
        return ""
    errors = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    return printable(errors[0] if errors else done.stderr.strip()[-300:] or "pip does not say why")
