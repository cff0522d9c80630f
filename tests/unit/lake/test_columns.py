"""The columns of the lake: what DuckDB and pyarrow read again is what the items were."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.lake_items import Record, by_duckdb, by_pyarrow, debezium, dynamodb_json, shows, write
from tailrace.formats.debezium import DebeziumFormat
from tailrace.formats.dynamodb_json import DynamoDBJsonFormat
from tailrace.lake.column_types import Column, read_type
from tailrace.lake.columns import TableColumns, unite

D = Decimal
NINES = 10**38 - 1

numbers = st.one_of(
    st.integers(-(10**20), 10**20),
    st.integers(-NINES, NINES),
    st.builds(lambda digits, exponent: D(digits).scaleb(exponent), st.integers(-(10**9), 10**9), st.integers(-12, 3)),
    st.builds(lambda digits, exponent: D(f"{digits}E{exponent}"), st.integers(-NINES, NINES), st.integers(-130, 87)),
)
names = st.one_of(
    st.sampled_from(["a", "A", "b", "ä", "x.y", "__op", "__OP", "_a", "a__json", "with space", "'\"`", "\u017f", "S"]),
    st.text(st.characters(codec="utf-8"), max_size=4),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(st.characters(codec="utf-8"), max_size=4))
nested = st.recursive(
    scalars, lambda of: st.one_of(st.lists(of, max_size=3), st.dictionaries(names, of, max_size=3)), max_leaves=6
)
items = st.dictionaries(names, nested, max_size=4)


def made(*records: Record, known: pa.Schema | None = None, **options: Any) -> TableColumns:
    columns = TableColumns([DebeziumFormat], known=known, **options)
    assert columns.append(records) == []
    return columns


@given(st.lists(st.lists(items, max_size=4), min_size=1, max_size=4))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_items_are_read_back(batches: list[list[dict[str, Any]]]) -> None:
    """Of one writer, whose files have what was known when each was made."""
    columns = TableColumns([DebeziumFormat])
    kept: list[dict[str, Any]] = []
    tables = []
    offset = 0
    for batch in batches:
        for half in (batch[:2], batch[2:]):
            records = [debezium(item, offset + index) for index, item in enumerate(half)]
            refused = {each.message for each in columns.append(records)}
            kept += [item for item, record in zip(half, records, strict=True) if record not in refused]
            offset += len(half)
        tables.append(columns.take())
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder), *tables)
        for rows in (by_duckdb(paths), by_pyarrow(paths, tables[-1].schema)):
            assert len(rows) == len(kept)
            for row, item in zip(rows, kept, strict=True):
                assert shows(row, item), (row, item)


binaries = st.binary(max_size=3)
sets = st.one_of(
    st.sets(st.text(max_size=3), min_size=1, max_size=3),
    st.sets(st.integers(-99, 99), min_size=1, max_size=3),
    st.sets(binaries, min_size=1, max_size=3),
)
typed_items = st.dictionaries(names, st.one_of(nested, binaries, sets), max_size=4)


@given(st.lists(typed_items, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_read_together_is_as_what_is_read_one_by_one(batch: list[dict[str, Any]]) -> None:
    """Once their columns are known, rows are read together where that is possible: from the third time on."""
    for form, record in ((DebeziumFormat, debezium), (DynamoDBJsonFormat, dynamodb_json)):
        records = [record(item, offset) for offset, item in enumerate(batch)]
        columns = TableColumns([form])
        columns.append(records)
        refused, one_by_one = columns.append(records), columns.take()
        assert [each.message for each in columns.append(records)] == [each.message for each in refused]
        together = columns.take()
        assert together.schema == one_by_one.schema
        assert together.to_pylist() == one_by_one.slice(len(one_by_one) // 2).to_pylist()


@given(st.lists(st.one_of(nested, binaries, sets), max_size=6), st.integers(0, 6), st.booleans())
def test_values_seen_together_widen_a_column_as_one_by_one(values: list[Any], cut: int, fixed: bool) -> None:
    one_by_one, together = Column(), Column()
    for value in values[:cut]:
        one_by_one.see(value)
    together.see_all(values[:cut])
    if fixed and one_by_one.is_decided:
        one_by_one, together = (read_type(each.type, fixed=True) for each in (one_by_one, together))
    for value in values[cut:]:
        one_by_one.see(value)
    together.see_all(values[cut:])
    assert together.is_decided == one_by_one.is_decided
    if together.is_decided:
        assert together.type == one_by_one.type


def test_dynamodb_items_of_known_columns_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    item = {"pk": "a", "n": D("1.50"), "big": 10**25, "tags": {"b", "a"}, "m": {"x": [1, None]}, "gone": None}
    columns = TableColumns([DynamoDBJsonFormat])
    records = [dynamodb_json(item, offset) for offset in range(3)]
    assert columns.append(records) == columns.append(records) == []
    monkeypatch.setattr(DynamoDBJsonFormat, "attributes", None)
    assert columns.append(records) == []
    rows = columns.take().to_pylist()
    assert rows[6:] == rows[:3]
    assert shows(rows[4], item)


@given(st.lists(st.lists(items, min_size=1, max_size=3), min_size=2, max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_writers_that_agree_are_read_together(batches: list[list[dict[str, Any]]]) -> None:
    """Each partition has its own writer; all have read before the first has written."""
    agreed: pa.Schema | None = None
    kept: list[dict[str, Any]] = []
    writers = []
    for number, batch in enumerate(batches):
        columns = TableColumns([DebeziumFormat])
        records = [debezium(item, number * 10 + index) for index, item in enumerate(batch)]
        refused = {each.message for each in columns.append(records)}
        kept += [item for item, record in zip(batch, records, strict=True) if record not in refused]
        writers.append(columns)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for columns in writers:
            agreed = unite([each for each in (agreed, columns.schema) if each is not None])
            assert agreed is not None
            columns.adopt(agreed)
            assert unite([agreed, columns.schema]) == agreed
            table = columns.take()
            assert table.schema == agreed
            paths += write(Path(folder), table)
        rows = sorted(by_duckdb(paths), key=lambda row: row["__offset"])
        assert len(rows) == len(kept)
        for row, item in zip(rows, kept, strict=True):
            assert shows(row, item), (row, item)
