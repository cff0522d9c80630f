"""Histories of tables with commits of their own: at any moment a table is what its positions say, whatever happens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pytest

from support.table_histories import FORMATS, MISHAPS, TableHistory
from tailrace.config.lake import TableKind
from tailrace.errors import UnreachableError, WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.lake import delta_current, iceberg_current, present
from tailrace.lake.table_sink import ConflictError, Mark, TableSink, _Claimed
from tailrace.sinks.contract import FencedError

SEEDS = {"iceberg": 3, "delta": 4}
FAULTY_SEEDS = 20
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


def _apart(self: TableSink, place: Place, claimed: _Claimed, mark: Mark, files: Sequence[object]) -> None:
    """Commit the rows, and their position only then."""
    first = mark._replace(next_offset=claimed.mark.next_offset if claimed.mark else 0, batch="1")
    _commit(self, place, claimed, first, files)
    claimed.mark = first
    _commit(self, place, claimed, mark, [])


def _unchecked(self: TableSink, place: Place, claimed: _Claimed, mark: Mark, files: Sequence[object]) -> None:
    """Commit again after a lost answer, whether or not the table has the mark."""
    claimed.table.look()
    if claimed.table.mark(place) != claimed.mark:
        raise FencedError
    while True:
        try:
            claimed.table.commit(place, mark, files, claimed.rows.keys)
        except (ConflictError, UnreachableError):
            self._sleep(1.0)
            claimed.table.look()
        else:
            return


def _on_top(self: TableSink, place: Place, claimed: _Claimed, mark: Mark, files: Sequence[object]) -> None:
    """Commit on top of the table as it is by then, not as it was when the position was found."""
    commit = claimed.table.commit

    def after_another_look(*arguments: object) -> None:
        claimed.table.look()
        commit(*arguments)  # type: ignore[arg-type]

    with patch.object(claimed.table, "commit", after_another_look):
        _commit(self, place, claimed, mark, files)


def _oldest(rows: pa.Table, keys: Sequence[str], table: str) -> pa.Table:
    """Let the first change of a key count."""
    return _latest(rows.take(list(reversed(range(rows.num_rows)))), keys, table)


_commit, _latest = TableSink._commit, present.latest
FAULTS: dict[str, tuple[str, TableKind, object, str, object]] = {
    "rows apart from their position": ("delta", "changes", TableSink, "_commit", _apart),
    "rows merged apart from their position": ("iceberg", "current", TableSink, "_commit", _apart),
    "a lost answer taken for a failure": ("delta", "changes", TableSink, "_commit", _unchecked),
    "a commit to another state than was looked at": ("iceberg", "changes", TableSink, "_commit", _on_top),
    "deletes left out": ("delta", "current", delta_current, "DELETED", "?"),
    "deletes left out in Iceberg": ("iceberg", "current", iceberg_current, "present", lambda rows: rows),
    "older changes over newer ones": ("delta", "current", delta_current, "latest", _oldest),
    "older changes over newer ones in Iceberg": ("iceberg", "current", iceberg_current, "latest", _oldest),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, tmp_path: Path) -> None:
    name, kind, where, what, instead = FAULTS[fault]
    with patch.object(where, what, instead):
        assert any(_breaks(seed, name, kind, tmp_path) for seed in range(FAULTY_SEEDS))


def _breaks(seed: int, name: str, kind: TableKind, folder: Path) -> bool:
    try:
        return bool(history(seed, name, kind, folder).faults())
    except (AssertionError, WorldError):  # it does not come to an end, or a writer finds what cannot be
        return True
