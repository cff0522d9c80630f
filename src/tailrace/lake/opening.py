"""Opens what the file names: the location, and the tables there; and says what makes a lake another one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from tailrace.aws.errors import AwsKeys
from tailrace.aws.session import AwsSession, AwsSettings
from tailrace.config.lake import AZURE, GCS, S3, Lake
from tailrace.core.ports import ReadError
from tailrace.errors import UnreachableError
from tailrace.extras import brought_by
from tailrace.lake.bucket import Bucket
from tailrace.lake.location import Folder, MaintainedLocation

if TYPE_CHECKING:
    from tailrace.lake.tables import OpenTable

_KEYS: Final = AwsKeys(region="lake.region", profile="lake.profile", role_arn="lake.role_arn")


def open_location(lake: Lake) -> MaintainedLocation:
    """Return the location that the file names. Raises WorldError when it cannot be used."""
    if lake.location.startswith(S3):
        return Bucket(lake.location, _settings(lake))
    if lake.location.startswith(GCS):
        with brought_by("lake-gcs"):
            from tailrace.lake.gcs import GcsBucket  # noqa: PLC0415 - an extra
        return GcsBucket(lake.location, lake.endpoint_url)
    if lake.location.startswith(AZURE):
        with brought_by("lake-azure"):
            from tailrace.lake.azure import AzureContainer  # noqa: PLC0415 - an extra
        return AzureContainer(lake.location, lake.endpoint_url)
    return Folder(Path(unquote(urlsplit(lake.location).path)))


def open_tables(lake: Lake, name: str, location: MaintainedLocation) -> OpenTable:
    """Return what opens the tables of a lake that have marks; `name` is the pipeline's. Raises WorldError.

    They are those in Iceberg or Delta, and in Parquet the present states.
    """
    with brought_by("lake" if lake.format == "parquet" else f"lake-{lake.format}"):
        from tailrace.lake.columns import OUR_COLUMNS  # noqa: PLC0415 - pyarrow is an extra
        from tailrace.lake.tables import (  # noqa: PLC0415 - pyarrow is an extra
            delta_storage,
            delta_tables,
            iceberg_storage,
            iceberg_tables,
            parquet_tables,
        )
    if lake.format == "parquet":
        return parquet_tables(location, OUR_COLUMNS, file_bytes=lake.file.size_bytes, keep_ms=lake.current.keep_ms)
    session = AwsSession(_settings(lake)) if lake.location.startswith(S3) else None
    if lake.catalog is None:
        storage = partial(delta_storage, session, lake.endpoint_url) if session else dict
        return delta_tables(location, OUR_COLUMNS, lake.partitions, _telling(storage))
    storage = partial(iceberg_storage, session, lake.endpoint_url) if session else dict
    properties = {"warehouse": location.uri, **lake.catalog}
    namespace = properties.pop("namespace", "") or _namespace(name)
    return iceberg_tables(properties, namespace, OUR_COLUMNS, lake.partitions, _telling(storage))


def definition(lake: Lake, name: str, cluster_id: str) -> Mapping[str, str]:
    """Return what makes two lakes two: neither may write where the other does."""
    found = {
        "pipeline": name,
        "Kafka cluster": cluster_id,
        "format": lake.format if lake.engine == "tailrace" else f"{lake.format} of Flink",
        "partition_by": ", ".join(lake.partition_by),
    }
    if lake.catalog is not None:
        uri = re.sub(r"//[^/@]*@", "//", lake.catalog.get("uri", "")).partition("?")[0]  # no password
        told = (lake.catalog["type"], uri, lake.catalog.get("namespace", "") or _namespace(name))
        found["catalog"] = " ".join(part for part in told if part)
    return found


def _namespace(name: str) -> str:
    """Return the namespace of a pipeline's tables; a point in it would separate two."""
    return name.replace(".", "_")


def _settings(lake: Lake) -> AwsSettings:
    return AwsSettings(
        region=lake.region,
        profile=lake.profile,
        role_arn=lake.role_arn,
        endpoints={"s3": lake.endpoint_url} if lake.endpoint_url else {},
        keys=_KEYS,
    )


def _telling(storage: Callable[[], dict[str, str]]) -> Callable[[], Mapping[str, str]]:
    """Return a function that asks for credentials again and again, where one time may fail."""

    def told() -> Mapping[str, str]:
        try:
            return storage()
        except ReadError as error:
            raise UnreachableError(error.message, hint=error.hint) from error

    return told
