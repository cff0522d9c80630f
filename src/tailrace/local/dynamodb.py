"""DynamoDB Local: in memory, tables and streams, one shard a stream; needs no account and keeps nothing."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from tailrace.local.artifacts import classpath, pinned
from tailrace.local.service import JavaService, free_ports

REGION = "us-east-1"
# It accepts any credentials; AWS clients insist on some.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": REGION}

_READY_REQUEST_HEADERS = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Target": "DynamoDB_20120810.ListTables",
    "Authorization": f"AWS4-HMAC-SHA256 Credential=local/20250101/{REGION}/dynamodb/aws4_request, "
    "SignedHeaders=host, Signature=unchecked",
}


class DynamoDBLocal(JavaService):
    """One server on `port` (a free one by default); what it holds is lost when it stops."""

    name = "dynamodb"

    def __init__(self, *, port: int | None = None, folder: Path | None = None) -> None:
        self.port = port or free_ports(1)[0]
        super().__init__(folder)

    @property
    def endpoint_url(self) -> str:
        """What AWS clients take as `endpoint_url`."""
        return f"http://127.0.0.1:{self.port}"

    def _arguments(self) -> list[str]:
        return [
            "-Xmx256m",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            f"-Djava.io.tmpdir={self.folder}",  # where it unpacks its native library
            "-cp",
            classpath(*pinned("dynamodb")),
            "software.amazon.dynamodb.services.local.main.ServerRunner",
            *("-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(self.port)),
        ]

    def _is_ready(self, timeout_s: float) -> bool:
        request = urllib.request.Request(self.endpoint_url, data=b"{}", headers=_READY_REQUEST_HEADERS)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=timeout_s):
                return True
        except (urllib.error.URLError, OSError):
            return False
