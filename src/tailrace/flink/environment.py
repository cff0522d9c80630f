"""Installs Apache Flink in a folder of its own in the cache: its distribution from PyPI, the rest from Maven.

Of PyPI's `apache-flink` only the package with the jars is taken, without Python's API: SQL needs no more.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tailrace.errors import WorldError
from tailrace.extras import brought_by
from tailrace.local.artifacts import cache_dir, classpath, pinned

if TYPE_CHECKING:
    from tailrace.local.artifacts import Progress

VERSION: Final = "2.3.0"
_PACKAGE: Final = (
    f"apache-flink-libraries=={VERSION} --hash=sha256:38ece876553286b3a285cf344c2d2038f8a7ca10da5df54d5107250386d64151"
)
_PACKAGE_BYTES: Final = 329_139_814
_BY_HAND: Final = (
    "check the network and pip's settings; without a network, run "
    f"`pip download --no-deps apache-flink-libraries=={VERSION}` elsewhere, and name its folder in PIP_FIND_LINKS"
)


class Environment(NamedTuple):
    """Where Flink is on this machine."""

    classpath: str
    """For Java's `-cp`."""
    plugins: Path
    """The folder of its plugins: S3."""


def install(told: Callable[[str], None], progress: Progress | None = None) -> Environment:
    """Return where Flink is, after installing it if it is not there; `told` hears the size before.

    Raises:
        WorldError: no network, no pip, or a missing extra.
    """
    folder = cache_dir() / "flink" / VERSION
    home = folder / "pyflink"
    if not home.is_dir():
        with brought_by("local"):
            from filelock import FileLock  # noqa: PLC0415 - an optional extra
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / ".lock"):
            if not home.is_dir():
                told(f"installing Apache Flink {VERSION}: {_size_bytes() / 1e6:.0f} MB, once, into {cache_dir()}")
                _install_package(folder)
    jars = classpath(*pinned("flink"), progress=progress)
    s3 = Path(classpath(*pinned("flink-s3"), progress=progress))
    distribution = sorted(str(each) for each in home.glob("lib/*.jar") if "flink-scala" not in each.name)
    client = sorted(str(each) for each in home.glob("opt/flink-sql-client-*.jar"))
    return Environment(":".join([*distribution, *client, jars]), _plugins(folder, s3))


def _size_bytes() -> int:
    return _PACKAGE_BYTES + sum(jar.size for jar in (*pinned("flink"), *pinned("flink-s3")))


def _install_package(folder: Path) -> None:
    """Install the package beside, then move it into place: a folder of this name is whole."""
    if importlib.util.find_spec("pip") is None:
        raise WorldError(
            "Apache Flink is installed with pip, which this Python does not have",
            hint="run `python -m ensurepip`, and try again",
        )
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    wanted = partial / "requirements.txt"
    wanted.write_text(f"{_PACKAGE}\n")
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-cache-dir", "--no-compile"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(wanted), "--target", str(partial)]
    # pip shows the progress itself; stdout holds only the command's output.
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), check=False)
    if result.returncode:
        raise WorldError(f"pip cannot install Apache Flink {VERSION}, as it said above", hint=_BY_HAND)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _plugins(folder: Path, s3: Path) -> Path:
    """Return the folder of plugins: each is loaded apart from the rest, from a folder of its own."""
    plugins = folder / "plugins"
    plugin = plugins / "s3" / s3.name
    if not plugin.exists():
        plugin.parent.mkdir(parents=True, exist_ok=True)
        plugin.symlink_to(s3)
    return plugins
