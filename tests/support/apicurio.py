"""Apicurio: a real schema registry with Confluent's API, which keeps its schemas when it is stopped or killed.

Source: https://www.apicur.io/registry/docs/apicurio-registry/3.0.x/
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from filelock import FileLock

from tailrace.local.artifacts import Jar, cache_dir, classpath
from tailrace.local.service import JavaService, free_ports

_ARCHIVE: Final = Jar(
    "io.apicurio",
    "apicurio-registry-app",
    "3.3.3",
    "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63",
    158577952,
    ending="-all.tar.gz",
)


class Apicurio(JavaService):
    """One server; up in some 5 s."""

    name = "apicurio"

    def __init__(self) -> None:
        self.port, self._management_port = free_ports(2)
        super().__init__(None)

    @property
    def url(self) -> str:
        """What clients of a schema registry take."""
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    def _arguments(self) -> list[str]:
        return [
            "-Xmx256m",
            f"-Djava.io.tmpdir={self.folder}",
            "-Dquarkus.http.host=127.0.0.1",
            f"-Dquarkus.http.port={self.port}",
            "-Dquarkus.management.host=127.0.0.1",
            f"-Dquarkus.management.port={self._management_port}",
            f"-Dapicurio.datasource.url=jdbc:h2:file:{self.folder}/schemas",
            "-jar",
            str(_unpacked() / "quarkus-run.jar"),
        ]

    def _is_ready(self, timeout_s: float) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(f"{self.url}/subjects", timeout=timeout_s):
                return True
        except (urllib.error.URLError, OSError):
            return False


def _unpacked() -> Path:
    """Return the folder of the program, unpacked into the cache once."""
    folder = cache_dir() / f"{_ARCHIVE.name}-{_ARCHIVE.version}-{_ARCHIVE.sha256[:8]}"
    if not folder.exists():
        archive = classpath(_ARCHIVE)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                with tempfile.TemporaryDirectory(dir=cache_dir()) as temporary:
                    with tarfile.open(archive) as tar:
                        tar.extractall(Path(temporary, "whole"), filter="data")
                    shutil.move(Path(temporary, "whole"), folder)
    return folder
