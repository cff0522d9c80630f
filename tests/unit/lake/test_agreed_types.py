"""Writers of a table agree on its types: what readers put together goes together."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from support.lake_items import by_duckdb, debezium, write
from tailrace.errors import WorldError
from tailrace.formats.debezium import DebeziumFormat
from tailrace.lake.agreed_types import AgreedTypes
from tailrace.lake.columns import TableColumns
from tailrace.lake.location import Folder

NINES = 10**38 - 1


def test_writers_that_saw_different_numbers_are_read_exactly(tmp_path: Path) -> None:
    """Without agreement DuckDB rounds: it reads both files as decimals without digits behind the point."""
    tables = []
    for offset, value in enumerate([NINES, Decimal("1.5"), "text"]):
        columns = TableColumns([DebeziumFormat])
        columns.append([debezium({"n": value}, offset)])
        columns.adopt(AgreedTypes(Folder(tmp_path / "lake")).agree("orders", columns.schema))
        tables.append(columns.take())
    assert [row["n"] for row in by_duckdb(write(tmp_path / "files", *tables))] == [str(NINES), "1.5", "text"]


def test_a_version_is_added_only_for_what_is_new(tmp_path: Path) -> None:
    location = Folder(tmp_path)
    first, second = AgreedTypes(location), AgreedTypes(location)
    a, b = (pa.schema([(name, pa.string())]) for name in "ab")
    assert first.newest("orders") is None
    assert first.agree("orders", a).names[-1:] == ["a"]
    assert second.agree("orders", b).names[-2:] == ["a", "b"]
    assert first.agree("orders", b).names[-2:] == ["a", "b"]
    assert second.agree("orders", a).names[-2:] == ["a", "b"]
    newest = AgreedTypes(location).newest("orders")
    assert newest is not None
    assert newest.names[-2:] == ["a", "b"]
    assert len(list(tmp_path.glob("_tailrace/types/orders/*.arrow"))) == 2


def test_a_damaged_version_is_told(tmp_path: Path) -> None:
    location = Folder(tmp_path)
    location.create("_tailrace/types/orders/00000000000000000001.arrow", b"damaged")
    with pytest.raises(WorldError, match="is not as it was written"):
        AgreedTypes(location).newest("orders")
