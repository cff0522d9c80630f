"""Histories of tables with commits of their own: at any moment a table is what its positions say, whatever happens."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest

from support.table_histories import FORMATS, MISHAPS, TableHistory
from tailrace.config.lake import TableKind
from tailrace.errors import UnreachableError, WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.lake import delta_current, iceberg_current, present
from tailrace.lake.table_sink import ChangeTable, ConflictError, TableSink, _Batch

SEEDS = {"iceberg": 3, "delta": 4}
FAULTY_SEEDS = range(12, 32)
"""What needs a rare order of events is found by the first of them."""
TABLES: list[tuple[str, TableKind]] = [
    ("iceberg", "changes"),
    ("iceberg", "current"),
    ("delta", "changes"),
    ("delta", "current"),
]


def history(seed: int, name: str, kind: TableKind, folder: Path) -> TableHistory:
    own = folder / str(seed)
    own.mkdir()
    made = TableHistory(seed, FORMATS[name], kind, own)
    made.run()
    return made


@pytest.mark.parametrize(("name", "kind"), TABLES)
def test_a_table_is_what_its_positions_say_at_any_moment(name: str, kind: TableKind, tmp_path: Path) -> None:
    fenced, met = 0, set()
    for seed in range(SEEDS[name]):
        found = history(seed, name, kind, tmp_path)
        assert found.faults() == [], f"seed {seed}"
        fenced += found.fenced
        met |= found.met
    assert fenced > 0
    assert met == set(MISHAPS)


# Planted faults


def _apart(self: TableSink, table: ChangeTable, batches: Mapping[Place, _Batch]) -> set[Place]:
    """Commit the rows, and their positions only then."""
    before = {place: self._claimed[place].mark for place in batches}
    rows = {
        place: _Batch(
            each.mark._replace(next_offset=at.next_offset if (at := before[place]) else 0, batch="1"), each.files
        )
        for place, each in batches.items()
    }
    done = _carried_out(self, table, rows)
    for place in done:
        self._claimed[place].mark = rows[place].mark
    return _carried_out(self, table, {place: _Batch(batches[place].mark, ()) for place in done})


def _unchecked(self: TableSink, table: ChangeTable, batches: Mapping[Place, _Batch]) -> set[Place]:
    """Commit again after a lost answer, whether or not the table has the marks."""
    table.look()
    mine = {place: each for place, each in batches.items() if table.mark(place) == self._claimed[place].mark}
    while mine:
        try:
            _send(self, table, mine)
        except (ConflictError, UnreachableError):
            self._sleep(1.0)
            table.look()
        else:
            break
    return set(mine)


def _all_along(self: TableSink, table: ChangeTable, batches: Mapping[Place, _Batch]) -> set[Place]:
    """Commit all partitions as soon as one of them is where this process left it."""
    while True:
        table.look()
        found = {place: table.mark(place) for place in batches}
        if any(found[place] == each.mark for place, each in batches.items()):
            return set(batches)
        if not any(found[place] == self._claimed[place].mark for place in batches):
            return set()
        with contextlib.suppress(ConflictError, UnreachableError):
            _send(self, table, batches)


def _on_top(self: TableSink, table: ChangeTable, batches: Mapping[Place, _Batch]) -> set[Place]:
    """Commit on top of the table as it is by then, not as it was when the positions were found."""
    commit = table.commit

    def after_another_look(*arguments: Any) -> None:
        table.look()
        commit(*arguments)

    with patch.object(table, "commit", after_another_look):
        return _carried_out(self, table, batches)


def _send(sink: TableSink, table: ChangeTable, batches: Mapping[Place, _Batch]) -> None:
    files = [file for each in batches.values() for file in each.files]
    table.commit({place: each.mark for place, each in batches.items()}, files, sink._keys(batches))


def _oldest(rows: pa.Table, keys: Sequence[str], table: str) -> pa.Table:
    """Let the first change of a key count."""
    return _latest(rows.take(list(reversed(range(rows.num_rows)))), keys, table)


_carried_out, _latest = TableSink._carried_out, present.latest
FAULTS: dict[str, tuple[str, TableKind, object, str, object]] = {
    "rows apart from their position": ("delta", "changes", TableSink, "_carried_out", _apart),
    "rows merged apart from their position": ("iceberg", "current", TableSink, "_carried_out", _apart),
    "a lost answer taken for a failure": ("delta", "changes", TableSink, "_carried_out", _unchecked),
    "a commit to another state than was looked at": ("iceberg", "changes", TableSink, "_carried_out", _on_top),
    "a partition of another in a commit of several": ("delta", "changes", TableSink, "_carried_out", _all_along),
    "deletes left out": ("delta", "current", delta_current, "DELETED", "?"),
    "deletes left out in Iceberg": ("iceberg", "current", iceberg_current, "present", lambda rows: rows),
    "older changes over newer ones": ("delta", "current", delta_current, "latest", _oldest),
    "older changes over newer ones in Iceberg": ("iceberg", "current", iceberg_current, "latest", _oldest),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, tmp_path: Path) -> None:
    name, kind, where, what, instead = FAULTS[fault]
    with patch.object(where, what, instead):
        assert any(_breaks(seed, name, kind, tmp_path) for seed in FAULTY_SEEDS)


def _breaks(seed: int, name: str, kind: TableKind, folder: Path) -> bool:
    try:
        return bool(history(seed, name, kind, folder).faults())
    except (AssertionError, WorldError):  # it does not come to an end, or a writer finds what cannot be
        return True
