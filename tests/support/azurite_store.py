"""Azurite, Microsoft's stand-in for Azure Blob Storage: a real part for tests, where there is Node.js with npm."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest
from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.blob import ContainerClient
from filelock import FileLock

from tailrace.local.artifacts import cache_dir
from tailrace.local.service import LocalService, free_ports

CONTAINER: Final = "lake"
KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""That of the only account, as Azurite documents it."""
_PACKAGES: Final = Path(__file__).with_name("azurite")


class Azurite(LocalService):
    """Serves the container `CONTAINER`. Skips the test where it cannot be had."""

    name = "azurite"

    def __init__(self) -> None:
        self._program = _program()
        (self._port,) = free_ports(1)
        self.endpoint_url = f"http://127.0.0.1:{self._port}/devstoreaccount1"
        super().__init__(None)

    def _command(self) -> list[str]:
        where = ["--blobHost", "127.0.0.1", "--blobPort", str(self._port), "--location", str(self.folder)]
        return ["node", str(self._program), *where, "--silent", "--skipApiVersionCheck", "--disableTelemetry"]

    def _is_ready(self, timeout_s: float) -> bool:
        with ContainerClient(
            self.endpoint_url, CONTAINER, credential=KEY, connection_timeout=timeout_s, retry_total=0
        ) as container:
            try:
                container.create_container()
            except AzureError as error:
                return isinstance(error, ResourceExistsError)
        return True


def _program() -> Path:
    """Return where the program is in the cache, downloaded where it is missing: the packages with the pinned hashes."""
    if missing := [name for name in ("node", "npm") if shutil.which(name) is None]:
        pytest.skip(f"azurite needs {' and '.join(missing)}: install Node.js with npm, as .ci/run does")
    digest = sha256((_PACKAGES / "package-lock.json").read_bytes()).hexdigest()[:16]
    kept = cache_dir() / "npm" / f"azurite-{digest}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(kept.parent / ".lock"):
        if not kept.exists():
            with tempfile.TemporaryDirectory(dir=kept.parent) as temporary:
                folder = Path(temporary) / "azurite"
                shutil.copytree(_PACKAGES, folder)
                command = ["npm", "ci", "--ignore-scripts", "--omit=dev", "--no-fund", "--no-audit", "--silent"]
                subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
                folder.rename(kept)
    return kept / "node_modules/azurite/dist/src/blob/main.js"
