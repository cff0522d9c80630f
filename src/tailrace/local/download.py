"""Downloads pinned jars from a Maven repository: each is moved into place only once its SHA-256 is the pinned one."""

from __future__ import annotations

import os
import ssl
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import certifi
import pooch
import requests
from jgo.maven import MavenContext

from tailrace.errors import WorldError

if TYPE_CHECKING:
    from tailrace.local.artifacts import Jar, Progress

_DOWNLOADS_AT_ONCE = 8
_RETRIES = 2
_TIMEOUT_S = 30
_CHUNK_BYTES = 1 << 16
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT", "AWS_CA_BUNDLE")
"""Variables that name a file of certificates to trust beside the system's."""


def download(jars: Sequence[Jar], folder: Path, progress: Progress | None) -> None:
    """Download `jars` to their paths below `folder`.

    Raises:
        WorldError: a file cannot be downloaded, or is not the pinned one.
    """
    pooch.get_logger().setLevel("ERROR")  # `progress` shows what is downloaded
    for jar in jars:
        (folder / jar.path).parent.mkdir(parents=True, exist_ok=True)  # pooch would race for a folder of several
    meter = _Meter(jars, progress)
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        certificates = Path(temporary, "certificates.pem")
        certificates.write_bytes(_trusted_certificates())
        hashes = {jar.path: f"sha256:{jar.sha256}" for jar in jars}
        cache = pooch.create(folder, _repository(), registry=hashes, retry_if_failed=_RETRIES)
        downloads = [pool.submit(_download_one, jar, cache, certificates, meter) for jar in jars]
        try:
            for each in downloads:
                each.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _download_one(jar: Jar, cache: pooch.Pooch, certificates: Path, meter: _Meter) -> None:
    downloader = pooch.HTTPDownloader(
        progressbar=_ProgressBar(jar, meter), chunk_size=_CHUNK_BYTES, timeout=_TIMEOUT_S, verify=str(certificates)
    )
    try:
        path = cache.fetch(jar.path, downloader=downloader)
    except requests.exceptions.SSLError as error:
        raise WorldError(
            f"cannot download {jar.file_name}: the certificate of the server, or of a proxy that inspects TLS, "
            "is not trusted",
            hint="add the certificate of who signed it to the system's, or name a PEM file with it in "
            "SSL_CERT_FILE, and run it again (what was fetched is kept)",
        ) from error
    except requests.RequestException as error:
        raise WorldError(
            f"cannot download {jar.file_name} ({type(error).__name__} in {1 + _RETRIES} attempts)",
            hint="check the network and HTTPS_PROXY and run it again (what was fetched is kept), "
            "or set TAILRACE_MAVEN_URL to a Maven repository that this machine reaches",
        ) from error
    except ValueError as error:  # how pooch reports another hash
        raise WorldError(
            f"the download of {jar.file_name} is not the pinned file (SHA-256 {jar.sha256} was expected) "
            "and was thrown away",
            hint="try again; if it goes on, a proxy or mirror between here and the repository alters files",
        ) from error
    Path(path).chmod(0o644)  # pooch leaves it to this user alone, but several may share a cache


def _repository() -> str:
    """Return the URL of the Maven repository: that of `TAILRACE_MAVEN_URL`, else the public one."""
    mirror = os.environ.get("TAILRACE_MAVEN_URL")
    (url,) = [mirror] if mirror else MavenContext().remote_repos.values()
    return url


def _trusted_certificates() -> bytes:
    """Return the certificates to trust: those of requests, of this system, and of the file that a usual variable names.

    A proxy that inspects TLS signs with a certificate that only the latter know.
    """
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


class _Meter:
    """Adds up the bytes of parallel downloads."""

    def __init__(self, jars: Sequence[Jar], progress: Progress | None) -> None:
        self._done = dict.fromkeys(jars, 0)
        self._total = sum(jar.size for jar in jars)
        self._progress = progress
        self._lock = threading.Lock()

    def report(self, jar: Jar, done: int) -> None:
        """Report that `done` bytes of `jar` are here."""
        with self._lock:
            self._done[jar] = done
            if self._progress:
                self._progress(sum(self._done.values()), self._total, jar.file_name)


class _ProgressBar:
    """The download of one jar, for the meter; what pooch takes for a progress bar."""

    def __init__(self, jar: Jar, meter: _Meter) -> None:
        self._jar = jar
        self._meter = meter
        self._done = 0

    @property
    def total(self) -> int:
        """The bytes of the whole file."""
        return self._jar.size

    @total.setter
    def total(self, _content_length: int) -> None:
        # pooch sets it at the start of each attempt: what a failed one counted is taken back.
        self._done = 0
        self._meter.report(self._jar, self._done)

    def update(self, count: int) -> None:
        """Count `count` more bytes: whole chunks, of which the last is shorter, and at last those of the whole file."""
        self._done = min(self._done + count, self._jar.size)
        self._meter.report(self._jar, self._done)

    def reset(self) -> None:
        """Do nothing: pooch calls it only to count the whole file again."""

    def close(self) -> None:
        """Do nothing: the meter outlives one file."""
