"""kinesis-local, another stand-in for Kinesis Data Streams: a real part for tests, where there is Node.js with npm.

Unlike AWS it closes shards with an EndingSequenceNumber below their start, has no initial-response in SubscribeToShard,
knows no limits on reading, and refuses whatever is impossible as InvalidArgumentException.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

import pytest
from filelock import FileLock

from tailrace.local.artifacts import cache_dir
from tailrace.local.dynamodb import REGION
from tailrace.local.service import LocalService, free_ports

VERSION: Final = "0.6.2"
SHA256: Final = "7f450e244b3c609b640b22ab005c9fdeaeb6e49d72403a3b6ebd9c3270b32cb5"
_SHARD_LIMIT: Final = 10_000
_HEADERS: Final = {
    "Content-Type": "application/x-amz-json-1.1",
    "X-Amz-Target": "Kinesis_20131202.ListStreams",
    "X-Amz-Date": "20250101T000000Z",
    "Authorization": f"AWS4-HMAC-SHA256 Credential=local/20250101/{REGION}/kinesis/aws4_request, "
    "SignedHeaders=host, Signature=unchecked",
}
_CHANGES: Final = (
    *("CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS", "UPDATE_SHARD_COUNT", "UPDATE_STREAM_MODE"),
    *("REGISTER_STREAM_CONSUMER", "DEREGISTER_STREAM_CONSUMER"),
)


class KinesisLocal(LocalService):
    """One server on a free port; what it holds is lost when it stops. Skips the test where it cannot be had."""

    name = "kinesis"

    def __init__(self) -> None:
        self._program = program()
        self._port, self._tls_port = free_ports(2)
        super().__init__(None)

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _command(self) -> list[str]:
        settings = {
            "KINESIS_MOCK_PLAIN_PORT": str(self._port),
            "KINESIS_MOCK_TLS_PORT": str(self._tls_port),
            "KINESIS_MOCK_CERT_PATH": str(self._program.with_name("server.json")),
            "SHARD_LIMIT": str(_SHARD_LIMIT),
            **{f"{change}_DURATION": "10ms" for change in _CHANGES},
        }
        return ["env", *(f"{name}={value}" for name, value in settings.items()), "node", str(self._program)]

    def _is_ready(self, timeout_s: float) -> bool:
        request = urllib.request.Request(self.endpoint_url, data=b"{}", headers=_HEADERS)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=timeout_s):
                return True
        except (urllib.error.URLError, OSError):
            return False


def program() -> Path:
    """Return where the program is in the cache, downloaded where it is missing: the file with the pinned hash."""
    if missing := [name for name in ("node", "npm") if shutil.which(name) is None]:
        pytest.skip(f"kinesis-local needs {' and '.join(missing)}: install Node.js with npm, as .ci/run does")
    folder = cache_dir() / "npm"
    kept = folder / f"kinesis-local-{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not kept.exists():
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                _download(Path(temporary)).rename(kept)
    return kept / "main.js"


def _download(folder: Path) -> Path:
    """Download the package into `folder` and return the folder that it was unpacked to."""
    command = ["npm", "pack", f"kinesis-local@{VERSION}", "--silent", "--pack-destination", str(folder)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    (package,) = folder.glob("*.tgz")
    found = hashlib.sha256(package.read_bytes()).hexdigest()
    assert found == SHA256, f"kinesis-local {VERSION} was downloaded with another SHA-256: {found}"
    with tarfile.open(package) as opened:
        opened.extractall(folder, filter="data")
    return folder / "package"
