"""Exports are read one after the other."""

from __future__ import annotations

from support.checkpoints import view_of
from support.snapshot_records import ID, segment, snapshot
from tailrace.core.checkpoint import SegmentRef
from tailrace.core.ports import LoadedExport

LANES = 4
EXPORTS = (LoadedExport("full", 1000), LoadedExport("incremental", 2000, 1000))


def in_turn(*done: str) -> set[str]:
    names = ("0/a", "0/b", "1/a", "1/b")
    segments = [segment(each, LANES, state="done" if each in done else "running") for each in names]
    state = view_of(LANES, snapshot(source="export", exports=EXPORTS), *segments).snapshots
    is_in_turn = state.is_in_turn("orders")
    return {each for each in names if each not in done and is_in_turn(SegmentRef("orders", ID, each))}


def test_an_incremental_export_waits_for_the_whole_of_the_full_one() -> None:
    assert in_turn() == {"0/a", "0/b"}
    assert in_turn("0/a") == {"0/b"}
    assert in_turn("0/a", "0/b") == {"1/a", "1/b"}
    assert in_turn("0/a", "0/b", "1/b") == {"1/a"}
    assert in_turn("0/a", "0/b", "1/a", "1/b") == set()


def test_segments_of_other_snapshots_do_not_wait() -> None:
    state = view_of(LANES, snapshot(), segment("0", LANES), segment("1", LANES)).snapshots
    assert all(map(state.is_in_turn("orders"), state.segments_of("orders")))
