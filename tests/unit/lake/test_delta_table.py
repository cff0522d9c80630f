"""What only tables of Delta have: a first version, parts as columns, transactions that could be forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from support.lake_tables import DAY_MS, TOPIC_ID, Delta, duck, record, sink_of
from tailrace.config.lake import PartitionBy
from tailrace.errors import WorldError
from tailrace.kafka.watched_consumer import Place

DELTA = Delta()
PLACE = Place("shop.orders", 0)


def test_a_table_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds none, and is overtaken by others who make it and add columns, does not make it again."""
    create = DeltaTable.create

    def overtaken(*arguments: Any, **options: Any) -> DeltaTable:
        monkeypatch.undo()
        sink = sink_of(DELTA.table(tmp_path))
        sink.claim(PLACE, TOPIC_ID)
        sink.write(PLACE, [record(PLACE, 0, name="a")])
        sink.commit_one(PLACE, 1)
        return create(*arguments, **options)

    monkeypatch.setattr(DeltaTable, "create", overtaken)
    DELTA.table(tmp_path).look()
    assert [row["name"] for row in DELTA.rows(tmp_path)] == ["a"]


def test_parts_are_columns_of_their_own(tmp_path: Path) -> None:
    sink = sink_of(DELTA.table(tmp_path, [PartitionBy("__ts", "day"), PartitionBy("region", None)]))
    sink.claim(PLACE, TOPIC_ID)
    sink.write(PLACE, [record(PLACE, each, region=region) for each, region in [(5, "eu/1"), (6, "us"), (7, "eu/1")]])
    sink.write(PLACE, [record(PLACE, 8)])
    sink.commit_one(PLACE, 9)
    found = duck("delta").execute(
        "SELECT tailrace_ts_day, tailrace_by_region, __offset, epoch_ms(__ts), region "
        f"FROM delta_scan('file://{tmp_path}/orders_changes') ORDER BY __offset"
    )
    assert found.fetchall() == [
        ("1970-01-06", "eu/1", 5, 5 * DAY_MS, "eu/1"),
        ("1970-01-07", "us", 6, 6 * DAY_MS, "us"),
        ("1970-01-08", "eu/1", 7, 7 * DAY_MS, "eu/1"),
        ("1970-01-09", None, 8, 8 * DAY_MS, None),
    ]


def test_a_table_that_forgets_positions_is_refused(tmp_path: Path) -> None:
    table = DELTA.table(tmp_path)
    table.look()
    DeltaTable(tmp_path / "orders_changes").alter.set_table_properties(
        {"delta.setTransactionRetentionDuration": "interval 30 days"}, raise_if_not_exists=False
    )
    with pytest.raises(WorldError, match="forgets"):
        table.look()
