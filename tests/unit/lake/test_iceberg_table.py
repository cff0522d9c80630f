"""What only tables of Iceberg have: snapshots that expire and are rolled back, catalogs, parts that come later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import CommitTableResponse, Table

from support.lake_tables import BASE, DAY_MS, TOPIC_ID, Iceberg, duck, record, sink_of
from tailrace.config.lake import PartitionBy
from tailrace.errors import WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.table_sink import TableSink
from tailrace.lake.tables import iceberg_tables
from tailrace.sinks.contract import FencedError
from tailrace.sinks.progress import Position

ICEBERG = Iceberg()
PLACE, OTHER = Place("shop.orders", 0), Place("shop.orders", 1)


def _load(folder: Path) -> Table:
    return ICEBERG.catalog(folder).load_table("shop.orders_changes")


def _write(sink: TableSink, place: Place, offset: int, **image: Any) -> None:
    sink.claim(place, TOPIC_ID)
    sink.write(place, [record(place, offset, **image)])
    sink.commit_one(place, offset + 1)


def _offsets(folder: Path) -> list[int]:
    return [row["__offset"] for row in ICEBERG.rows(folder)]


def test_other_programs_commits_and_expired_snapshots_leave_the_position(tmp_path: Path) -> None:
    sink = sink_of(ICEBERG.table(tmp_path))
    _write(sink, PLACE, 0)
    for _ in range(2):  # such as compaction
        table = _load(tmp_path)
        table.append(table.scan().to_arrow().slice(0, 0))
    table = _load(tmp_path)
    table.maintenance.expire_snapshots().by_ids([each.snapshot_id for each in table.snapshots()[:-1]]).commit()
    assert len(_load(tmp_path).snapshots()) == 1
    assert sink.claim(PLACE, TOPIC_ID) == Position(1, TOPIC_ID)
    _write(sink, PLACE, 1)
    assert _offsets(tmp_path) == [0, 1]


def test_a_table_that_is_rolled_back_gets_its_rows_again(tmp_path: Path) -> None:
    sink = sink_of(ICEBERG.table(tmp_path))
    for offset in range(3):
        _write(sink, PLACE, offset)
    table = _load(tmp_path)
    table.manage_snapshots().set_current_snapshot(snapshot_id=table.snapshots()[0].snapshot_id).commit()
    assert _offsets(tmp_path) == [0]
    assert sink.claim(PLACE, TOPIC_ID) == Position(1, TOPIC_ID)


def test_a_rollback_to_where_positions_are_unknown_is_refused(tmp_path: Path) -> None:
    sink = sink_of(ICEBERG.table(tmp_path))
    _write(sink, PLACE, 0)
    table = _load(tmp_path)
    table.append(table.scan().to_arrow().slice(0, 0))
    _write(sink, PLACE, 1)
    table = _load(tmp_path)
    first, foreign, _ = table.snapshots()
    table.maintenance.expire_snapshots().by_id(first.snapshot_id).commit()
    _load(tmp_path).manage_snapshots().set_current_snapshot(snapshot_id=foreign.snapshot_id).commit()
    with pytest.raises(WorldError, match="rolled back"):
        sink.claim(PLACE, TOPIC_ID)


def test_retries_that_the_table_asks_for_do_not_pass_the_fence(tmp_path: Path) -> None:
    """pyiceberg would set a refused commit on top of the other writer's by itself."""
    zombie, sink = sink_of(ICEBERG.table(tmp_path)), sink_of(ICEBERG.table(tmp_path))
    sink.claim(PLACE, TOPIC_ID)
    with _load(tmp_path).transaction() as transaction:
        transaction.set_properties({"commit.retry.num-retries": "10"})
    zombie.claim(PLACE, TOPIC_ID)
    _write(sink, PLACE, 0)
    zombie.write(PLACE, [record(PLACE, 0)])
    with pytest.raises(FencedError):
        zombie.commit_one(PLACE, 1)
    assert _offsets(tmp_path) == [0]


def test_two_tables_of_one_name_are_refused(tmp_path: Path) -> None:
    """Points become underscores."""
    made = iceberg_tables(ICEBERG.properties(tmp_path), "shop", BASE, ())
    sink_of(made("eu.orders", "changes")).claim(PLACE, TOPIC_ID)
    with pytest.raises(
        WorldError, match=r"shop.eu_orders_changes has the changes of eu.orders, and those of eu_orders"
    ):
        made("eu_orders", "changes").find()


class _LosingCatalog(SqlCatalog):
    """It carries every other commit out, and answers that it is gone."""

    lost = 0

    def commit_table(self, table: Table, requirements: Any, updates: Any) -> CommitTableResponse:
        answer = super().commit_table(table, requirements, updates)
        type(self).lost += 1
        if self.lost % 2:
            raise OSError("connection reset by peer")
        return answer


class _Losing(Iceberg):
    catalog_type = _LosingCatalog


def test_answers_of_the_catalog_are_lost(tmp_path: Path) -> None:
    sink = sink_of(_Losing().table(tmp_path))
    for offset in range(3):
        _write(sink, PLACE, offset)
    assert _LosingCatalog.lost
    assert _offsets(tmp_path) == [0, 1, 2]


def test_parts_by_day_and_by_a_column_that_comes_later(tmp_path: Path) -> None:
    table = ICEBERG.table(tmp_path, [PartitionBy("__ts", "day"), PartitionBy("region", None)])
    sink = sink_of(table)
    _write(sink, PLACE, 0, name="a")
    sink.claim(OTHER, TOPIC_ID)
    sink.write(OTHER, [record(OTHER, each, region=region) for each, region in [(5, "eu"), (6, "us"), (7, "eu")]])
    sink.write(OTHER, [record(OTHER, 8)])
    sink.commit_one(OTHER, 9)
    where = _load(tmp_path).metadata_location
    condition = f"region = 'eu' OR __ts = epoch_ms({6 * DAY_MS})"
    query = f"SELECT __offset, region FROM iceberg_scan('{where}') WHERE {condition}"
    found = duck("avro", "iceberg").execute(query).fetchall()
    assert sorted(found) == [(5, "eu"), (6, "us"), (7, "eu")]
    partitions = _load(tmp_path).inspect.partitions().to_pylist()
    assert sorted((str(each["partition"]), each["record_count"]) for each in partitions) == [
        ("{'__ts_day': datetime.date(1970, 1, 1), 'region_value': None}", 1),
        ("{'__ts_day': datetime.date(1970, 1, 6), 'region_value': 'eu'}", 1),
        ("{'__ts_day': datetime.date(1970, 1, 7), 'region_value': 'us'}", 1),
        ("{'__ts_day': datetime.date(1970, 1, 8), 'region_value': 'eu'}", 1),
        ("{'__ts_day': datetime.date(1970, 1, 9), 'region_value': None}", 1),
    ]
