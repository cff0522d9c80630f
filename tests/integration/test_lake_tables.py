"""Change logs in Iceberg and Delta on a real S3: several writers at once, zombies, and what DuckDB then reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pyiceberg.catalog import load_catalog

from support.lake_tables import BASE, TOPIC_ID, close_sinks, query, record, sink_of
from support.names import unique
from support.seaweed import BUCKET, CREDENTIALS, REGION, Seaweed
from tailrace.aws.session import AwsSession, AwsSettings
from tailrace.config.lake import PartitionBy, TableKind
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.bucket import Bucket
from tailrace.lake.table_sink import ChangeTable
from tailrace.lake.tables import delta_storage, delta_tables, iceberg_storage, iceberg_tables
from tailrace.sinks.contract import FencedError
from tailrace.sinks.progress import Position

Make = Callable[..., ChangeTable]
Read = Callable[..., list[tuple[Any, ...]]]
BY_DAY = [PartitionBy("__ts", "day")]
WRITERS = 3
BATCHES = 3


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_sinks()


@pytest.fixture(params=["iceberg", "delta"])
def tables(request: pytest.FixtureRequest, seaweed: Seaweed, tmp_path: Path) -> tuple[Make, Read]:
    """Return what opens a table as a process does, and what reads it."""
    settings = AwsSettings(
        region=REGION,
        endpoints={"s3": seaweed.endpoint_url},
        access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    session, prefix = AwsSession(settings), f"s3://{BUCKET}/{unique('lake')}"
    if request.param == "delta":
        location = Bucket(prefix, settings)
        storage = partial(delta_storage, session, seaweed.endpoint_url)
        return (
            lambda kind="changes": delta_tables(location, BASE, BY_DAY, storage)("orders", kind),
            lambda columns, table="changes": _read(seaweed, f"delta_scan('{prefix}/orders_{table}')", columns),
        )
    catalog = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": prefix}
    files = partial(iceberg_storage, session, seaweed.endpoint_url)

    def make(kind: TableKind = "changes") -> ChangeTable:
        return iceberg_tables(catalog, "shop", BASE, BY_DAY, files)("orders", kind)

    def read(columns: str, table: str = "changes") -> list[tuple[Any, ...]]:
        found = load_catalog("tailrace", **catalog, **files()).load_table(f"shop.orders_{table}")
        return _read(seaweed, f"iceberg_scan('{found.metadata_location}')", columns)

    return make, read


def _read(seaweed: Seaweed, source: str, columns: str) -> list[tuple[Any, ...]]:
    return query(seaweed, f"SELECT {columns} FROM {source} ORDER BY ALL")


def test_each_change_once(tables: tuple[Make, Read]) -> None:
    """Each partition has two writers who take turns, each of which believes that it still has the partition."""
    make, read = tables
    fenced = []

    def work(partition: int) -> None:
        place, sinks = Place("shop.orders", partition), [sink_of(make()) for _ in range(2)]
        for offset in range(BATCHES):
            for sink in sinks:
                assert sink.claim(place, TOPIC_ID) == (Position(offset, TOPIC_ID) if offset else None)
                sink.write(place, [record(place, offset, name="x", size={f"p{partition}": "1"})])
            sinks[0].commit(place, offset + 1)
            with pytest.raises(FencedError):
                sinks[1].commit(place, offset + 1)
            fenced.append(offset)

    threads = [Thread(target=work, args=(each,)) for each in range(WRITERS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(fenced) == WRITERS * BATCHES
    expected = [(partition, offset, "x") for partition in range(WRITERS) for offset in range(BATCHES)]
    assert read("__partition, __offset, name") == expected
    assert read("count(*), count(size.p0), count(size.p1)") == [(WRITERS * BATCHES, BATCHES, BATCHES)]


def test_the_present_state(tables: tuple[Make, Read]) -> None:
    make, read = tables
    place, sink = Place("shop.orders", 0), sink_of(make("current"), keys=["id"])
    sink.claim(place, TOPIC_ID)
    changes = [("c", "1"), ("c", "2"), ("u", "1"), ("d", "2"), ("r", "3")]
    for offset, (op, key) in enumerate(changes):
        sink.write(place, [record(place, offset, __op=op, id=key, name=f"{op}{offset}")])
        if offset % 2:
            sink.commit(place, offset + 1)
    sink.commit(place, len(changes))
    assert read("id, name, __offset", "current") == [("1", "u2", 2), ("3", "r4", 4)]
    assert sink_of(make("current"), keys=["id"]).claim(place, TOPIC_ID) == Position(len(changes), TOPIC_ID)
