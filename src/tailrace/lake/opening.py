"""Opens the location that the file names, and says what makes a lake another one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from tailrace.aws.errors import AwsKeys
from tailrace.aws.session import AwsSettings
from tailrace.config.lake import S3, Lake
from tailrace.lake.bucket import Bucket
from tailrace.lake.location import Folder, Location

_KEYS: Final = AwsKeys(region="lake.region", profile="lake.profile", role_arn="lake.role_arn")


def open_location(lake: Lake) -> Location:
    """Return the location that the file names. Raises WorldError when it cannot be used."""
    if not lake.location.startswith(S3):
        return Folder(Path(unquote(urlsplit(lake.location).path)))
    settings = AwsSettings(
        region=lake.region,
        profile=lake.profile,
        role_arn=lake.role_arn,
        endpoints={"s3": lake.endpoint_url} if lake.endpoint_url else {},
        keys=_KEYS,
    )
    return Bucket(lake.location, settings)


def definition(lake: Lake, name: str, cluster_id: str) -> Mapping[str, str]:
    """Return what makes two lakes two: neither may write where the other does."""
    return {
        "pipeline": name,
        "Kafka cluster": cluster_id,
        "format": lake.format,
        "partition_by": ", ".join(lake.partition_by),
    }
