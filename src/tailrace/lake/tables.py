"""Opens the tables of a lake in Iceberg or Delta: where they are, and with which credentials, which may be renewed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa

from tailrace.aws.session import AwsSession
from tailrace.config.lake import PartitionBy, TableKind
from tailrace.config.lake_names import iceberg_name
from tailrace.errors import WorldError, excerpt
from tailrace.extras import brought_by
from tailrace.lake.agreed_types import AgreedTypes
from tailrace.lake.fitting import grown
from tailrace.lake.ledger import Ledger
from tailrace.lake.location import MaintainedLocation
from tailrace.lake.old_copies import CURRENT
from tailrace.lake.parquet_current import ParquetCurrent
from tailrace.lake.table_sink import ChangeTable


class OpenTable(Protocol):
    """Opens what a lake has of a table."""

    def __call__(self, table: str, kind: TableKind) -> ChangeTable:
        """Open the change log of a table, or its present state."""
        ...


_OWN_TABLES: Final = 2
"""Of a catalog in SQL, which pyiceberg makes one after the other without expecting that others do."""
_FILE_IO: Final = "pyiceberg.io.pyarrow.PyArrowFileIO"


def iceberg_tables(
    catalog: Mapping[str, str],
    namespace: str,
    columns: pa.Schema,
    partition_by: Sequence[PartitionBy],
    storage: Callable[[], Mapping[str, str]] = dict,
) -> OpenTable:
    """Return what opens tables of an Iceberg catalog.

    `catalog` has pyiceberg's properties: `type`, `uri`, `warehouse` and others; `storage` returns those of the files.
    Raises WorldError when pyiceberg is not installed.
    """
    with brought_by("lake-iceberg"):
        from pyiceberg.catalog import Catalog, load_catalog  # noqa: PLC0415 - an extra
        from pyiceberg.exceptions import NotInstalledError  # noqa: PLC0415 - an extra
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - an extra

        from tailrace.lake.iceberg_current import IcebergCurrent  # noqa: PLC0415 - an extra
        from tailrace.lake.iceberg_table import IcebergChanges  # noqa: PLC0415 - an extra
    opened: dict[str, Catalog] = {}
    """The one of the last credentials."""

    def opened_catalog() -> Catalog:
        properties = {**catalog, **storage(), "py-io-impl": _FILE_IO}
        key = repr(properties)
        if key not in opened:
            for each in opened.values():
                each.close()
            opened.clear()
            for attempt in range(_OWN_TABLES + 1):
                try:
                    opened[key] = load_catalog("tailrace", **properties)
                except SQLAlchemyError:  # another process has just made one of the catalog's own tables, or it is told
                    if attempt == _OWN_TABLES:
                        raise
                except (NotInstalledError, ModuleNotFoundError) as error:
                    raise WorldError(
                        f"the catalog needs a package that is not installed: {excerpt(str(error))}",
                        hint="install what pyiceberg has for it, e.g. pip install 'pyiceberg[sql-postgres]'",
                    ) from error
                else:
                    break
        return opened[key]

    def make(table: str, kind: TableKind) -> ChangeTable:
        name = namespace, f"{iceberg_name(table)}_{kind}"
        if kind == "current":
            return IcebergCurrent(opened_catalog, name, columns, of=table)
        return IcebergChanges(opened_catalog, name, columns, partition_by, of=table)

    return make


def delta_tables(
    location: MaintainedLocation,
    columns: pa.Schema,
    partition_by: Sequence[PartitionBy],
    storage: Callable[[], Mapping[str, str]] = dict,
) -> OpenTable:
    """Return what opens the tables of Delta under a location; `storage` returns the options of deltalake for it.

    Raises WorldError when deltalake is not installed.
    """
    with brought_by("lake-delta"):
        from tailrace.lake.delta_current import DeltaCurrent  # noqa: PLC0415 - an extra
        from tailrace.lake.delta_table import DeltaChanges  # noqa: PLC0415 - an extra

    def make(table: str, kind: TableKind) -> ChangeTable:
        folder = f"{table}_{kind}"
        uri = f"{location.uri}/{folder}"

        def store(name: str, file: Path) -> None:
            location.upload(f"{folder}/{name}", file)

        if kind == "current":
            return DeltaCurrent(uri, columns, storage)
        return DeltaChanges(uri, columns, store, storage, partition_by)

    return make


def parquet_tables(location: MaintainedLocation, columns: pa.Schema, *, file_bytes: int, keep_ms: int) -> OpenTable:
    """Return what opens the present states of tables in Parquet files; old copies are kept for `keep_ms`."""
    ledger, types = Ledger(location, CURRENT), AgreedTypes(location, f"types-{CURRENT}", grown)

    def make(table: str, kind: TableKind) -> ChangeTable:
        assert kind == "current"
        return ParquetCurrent(location, ledger, types, table, columns, file_bytes=file_bytes, keep_ms=keep_ms)

    return make


def iceberg_storage(session: AwsSession, endpoint_url: str | None) -> dict[str, str]:
    """Return pyiceberg's properties of S3 and Glue, with the credentials of this moment."""
    credentials = session.credentials()
    found = {
        "s3.region": session.region,
        "s3.access-key-id": credentials.access_key,
        "s3.secret-access-key": credentials.secret_key,
        "s3.session-token": credentials.token,
        "s3.endpoint": endpoint_url,
        "glue.region": session.region,
        "glue.access-key-id": credentials.access_key,
        "glue.secret-access-key": credentials.secret_key,
        "glue.session-token": credentials.token,
    }
    return {name: value for name, value in found.items() if value}


def delta_storage(session: AwsSession, endpoint_url: str | None) -> dict[str, str]:
    """Return deltalake's options of S3, with the credentials of this moment: commits are puts under free names."""
    credentials = session.credentials()
    found = {
        "aws_region": session.region,
        "aws_access_key_id": credentials.access_key,
        "aws_secret_access_key": credentials.secret_key,
        "aws_session_token": credentials.token,
        "aws_endpoint": endpoint_url,
        "aws_allow_http": "true" if (endpoint_url or "").startswith("http://") else None,
        "aws_conditional_put": "etag",
    }
    return {name: value for name, value in found.items() if value}
