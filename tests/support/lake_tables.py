"""Tables of both formats on this machine: made with our code, read with DuckDB's."""

from __future__ import annotations

import copy
import functools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import duckdb
import duckdb_extensions
import pyarrow as pa
from confluent_kafka import Message
from pyiceberg.catalog.sql import SqlCatalog

from support.lake_rows import NothingSetAside
from support.seaweed import CREDENTIALS, REGION, Seaweed
from tailrace.config.lake import PartitionBy
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.columns import Refused
from tailrace.lake.delta_current import DeltaCurrent
from tailrace.lake.delta_table import DeltaChanges
from tailrace.lake.iceberg_current import IcebergCurrent
from tailrace.lake.iceberg_table import IcebergChanges
from tailrace.lake.location import Folder
from tailrace.lake.table_sink import ChangeTable, Mark, TableSink
from tailrace.lake.tables import parquet_tables

BASE = pa.schema(
    [
        ("__op", pa.string()),
        ("__ts", pa.timestamp("ms", "UTC")),
        ("__topic", pa.string()),
        ("__partition", pa.int32()),
        ("__offset", pa.int64()),
    ]
)
TOPIC_ID = "lVv0OZkzRMCZ8a9Y0wWzaw"
DAY_MS = 86_400_000
KEEP_MS = 3_600_000


class CurrentKind(Protocol):
    """A format of present states."""

    def current(self, folder: Path) -> ChangeTable: ...

    def current_rows(self, folder: Path) -> list[dict[str, Any]]: ...


class Kind(CurrentKind, Protocol):
    """A format."""

    def table(self, folder: Path, partition_by: Sequence[PartitionBy] = ()) -> ChangeTable: ...

    def rows(self, folder: Path) -> list[dict[str, Any]]: ...


@functools.cache
def duck(*extensions: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for each in extensions:
        duckdb_extensions.import_extension(each)
        connection.execute(f"LOAD {each}")
    return connection


class Iceberg:
    """Tables of a catalog in SQLite."""

    catalog_type = SqlCatalog

    def catalog(self, folder: Path) -> SqlCatalog:
        properties = self.properties(folder)
        return self.catalog_type("lake", uri=properties["uri"], warehouse=properties["warehouse"])

    def properties(self, folder: Path) -> dict[str, str]:
        return {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}/warehouse"}

    def table(self, folder: Path, partition_by: Sequence[PartitionBy] = ()) -> ChangeTable:
        return IcebergChanges(lambda: self.catalog(folder), ("shop", "orders_changes"), BASE, partition_by, of="orders")

    def current(self, folder: Path) -> ChangeTable:
        return IcebergCurrent(lambda: self.catalog(folder), ("shop", "orders_current"), BASE, of="orders")

    def rows(self, folder: Path) -> list[dict[str, Any]]:
        return self._scan(folder, "shop.orders_changes")

    def current_rows(self, folder: Path) -> list[dict[str, Any]]:
        return self._scan(folder, "shop.orders_current")

    def _scan(self, folder: Path, table: str) -> list[dict[str, Any]]:
        where = self.catalog(folder).load_table(table).metadata_location
        return _read(duck("avro", "iceberg"), f"iceberg_scan('{where}')")


class Delta:
    """Tables in a folder."""

    def table(self, folder: Path, partition_by: Sequence[PartitionBy] = ()) -> ChangeTable:
        where = folder / "orders_changes"
        return DeltaChanges(
            f"file://{where}", BASE, lambda name, file: shutil.copy(file, where / name), dict, partition_by
        )

    def current(self, folder: Path) -> ChangeTable:
        return DeltaCurrent(f"file://{folder}/orders_current", BASE)

    def current_rows(self, folder: Path) -> list[dict[str, Any]]:
        return _read(duck("delta"), f"delta_scan('file://{folder}/orders_current')")

    def rows(self, folder: Path) -> list[dict[str, Any]]:
        return _read(duck("delta"), f"delta_scan('file://{folder}/orders_changes')")


class Parquet:
    """The present state in Parquet files of a folder."""

    def current(self, folder: Path) -> ChangeTable:
        return parquet_tables(Folder(folder), BASE, file_bytes=2_500, keep_ms=KEEP_MS)("orders", "current")

    def current_rows(self, folder: Path) -> list[dict[str, Any]]:
        duck().execute(files_of_current(str(folder), "shop.orders"))
        return _read(duck(), "read_parquet(getvariable('files'), union_by_name = true)")


def files_of_current(location: str, topic: str) -> str:
    """Return what docs/lake.md tells readers to ask DuckDB first: it sets `files`."""
    return _documented("SET VARIABLE steps", "SELECT * FROM read_parquet(getvariable", location, topic)


def present_by_pyarrow(uri: str, topic: str) -> pa.Table:
    """Return the present state as docs/lake.md tells readers to find it with pyarrow."""
    found: dict[str, Any] = {}
    exec(_documented("import json, pyarrow.fs", "```", uri, topic), found)
    return found["present"]


def _documented(begin: str, end: str, location: str, topic: str) -> str:
    said = (Path(__file__).parents[2] / "docs/lake.md").read_text()
    start = said.index(begin)
    return said[start : said.index(end, start)].replace("s3://analytics/shop", location).replace("shop.orders", topic)


def query(seaweed: Seaweed, sql: str) -> list[tuple[Any, ...]]:
    """Ask DuckDB about tables in an S3."""
    connection = duck("httpfs", "avro", "iceberg", "delta")
    connection.execute(
        f"CREATE OR REPLACE SECRET (TYPE s3, KEY_ID '{CREDENTIALS['AWS_ACCESS_KEY_ID']}', "
        f"SECRET '{CREDENTIALS['AWS_SECRET_ACCESS_KEY']}', REGION '{REGION}', URL_STYLE 'path', USE_SSL false, "
        f"ENDPOINT '{seaweed.endpoint_url.removeprefix('http://')}')"
    )
    return connection.execute(sql).fetchall()


def _read(connection: duckdb.DuckDBPyConnection, source: str) -> list[dict[str, Any]]:
    found = connection.execute(f"SELECT * FROM {source} ORDER BY __partition, __offset").arrow().read_all()
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


KINDS: list[Kind] = [Iceberg(), Delta()]
CURRENT_KINDS: list[CurrentKind] = [*KINDS, Parquet()]


class JsonRows:
    """Rows with the columns of the values' JSON; numbers are decimals."""

    def __init__(self, types: dict[str, pa.DataType] | None = None, keys: Sequence[str] = ()) -> None:
        self.keys = tuple(keys)
        self._rows: list[dict[str, Any]] = []
        self._types = types or {}

    @property
    def size_bytes(self) -> int:
        return 100 * len(self._rows)

    @property
    def schema(self) -> pa.Schema:
        return BASE

    def settle(self) -> None:
        pass

    def adopt(self, agreed: pa.Schema) -> None:
        pass

    def append(self, messages: Sequence[Message]) -> list[Refused]:
        for record in messages:
            image = json.loads(record.value() or b"{}", parse_int=Decimal, parse_float=Decimal)
            ts = datetime.fromtimestamp(record.timestamp()[1] / 1_000, UTC)
            ours = {"__op": "c", "__ts": ts, "__topic": record.topic(), "__partition": record.partition()}
            self._rows.append({**ours, "__offset": record.offset(), **image})
        return []

    def widened(self) -> list[str]:
        return []

    def take(self) -> pa.Table:
        rows, self._rows = self._rows, []
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: pa.array([row.get(name) for row in rows], self._types.get(name)) for name in names}
        columns |= {field.name: columns[field.name].cast(field.type) for field in BASE}
        return pa.table(columns)


def record(place: Place, offset: int, **image: Any) -> Message:
    """Return a change, one a day."""
    value = json.dumps(image).encode()
    return Message(
        topic=place.topic, partition=place.partition, offset=offset, value=value, timestamp=(1, DAY_MS * offset)
    )


_made: list[TableSink] = []


def close_sinks() -> None:
    """Close all that `sink_of` has made."""
    while _made:
        _made.pop().close()


def sink_of(
    table: ChangeTable,
    types: dict[str, pa.DataType] | None = None,
    sleep: Callable[[float], None] = lambda _: None,
    keys: Sequence[str] = (),
) -> TableSink:
    """Return a sink that writes all topics to one table."""
    clock = _clock()
    sink = TableSink(
        lambda _: table,
        identity="lake",
        make_rows=lambda _topic, _known: JsonRows(types, keys),
        set_aside=NothingSetAside(),
        file_bytes=1 << 20,
        sleep=sleep,
        now_s=lambda: next(clock),
    )
    _made.append(sink)
    return sink


def _clock() -> Iterator[float]:
    now_s = 0.0
    while True:
        yield now_s
        now_s += 20


class Hooked:
    """A table whose commits a test meets: `hook` is given what carries one out, in place of it."""

    def __init__(self, table: ChangeTable, hook: Callable[[Callable[[], None]], None]) -> None:
        self._table = table
        self._hook = hook

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def commit(self, marks: Mapping[Place, Mark], files: Sequence[object], keys: Sequence[str]) -> None:
        looked_at = copy.copy(self._table)  # it goes on from what was seen, however late it is carried out
        self._hook(lambda: looked_at.commit(marks, files, keys))
