"""Exports and changes join without a hole, or the missing incremental exports are named."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.checkpoints import BORN_MS, checkpoint, shard, stream, table, view_of
from tailrace.core.checkpoint import (
    AcceptKey,
    GapAccepted,
    ShardKey,
    ShardRecord,
    SnapshotRecord,
    Start,
    Write,
)
from tailrace.core.export_coverage import (
    WINDOW_MAX_MS,
    WINDOW_MIN_MS,
    Window,
    counts_from_ms,
    covered_since_ms,
    since_ms,
    windows_to_fill,
)
from tailrace.core.ports import ExportFacts, LoadedExport
from tailrace.core.shard import ShardRef, lane_of
from tailrace.errors import WorldError
from tailrace.sources.dynamodb.policy import POLICY

LANES = 4
HOUR_MS = 3_600_000
A, B = shard(1), shard(2)
MARGIN_MS = POLICY.clock_skew_ms + 1000


def listed(shard: ShardRef, start: Start = "TRIM_HORIZON", *, initial: bool = True, seen_ms: int = BORN_MS) -> Write:
    record = ShardRecord(table="orders", parents=(), start=start, seen_ms=seen_ms, initial=initial)
    return Write(lane_of(shard, LANES), ShardKey(*shard), record)


def covered(*writes: Write) -> int:
    return covered_since_ms(view_of(LANES, *writes), "orders")


def export(exported_ms: int, from_ms: int | None = None) -> ExportFacts:
    return ExportFacts(f"s3://bucket/{exported_ms}", "arn", exported_ms, from_ms, 1, 1, ())


def loaded(*exported_ms: int) -> SnapshotRecord:
    exports = tuple(LoadedExport(str(each), each) for each in exported_ms)
    return SnapshotRecord(id="1", source="export", reason="manual", segments=1, at_ms=BORN_MS, exports=exports)


def test_changes_are_covered_since_the_first_listing() -> None:
    assert covered(table(), listed(A), listed(B)) == BORN_MS


def test_a_later_child_does_not_move_it() -> None:
    assert covered(table(), listed(A), listed(B, initial=False, seen_ms=BORN_MS + HOUR_MS)) == BORN_MS


def test_when_the_first_listing_is_forgotten_it_was_before_all_that_is_left() -> None:
    children = [listed(each, initial=False, seen_ms=BORN_MS + more) for each, more in ((A, HOUR_MS), (B, 2 * HOUR_MS))]
    assert covered(table(), *children) == BORN_MS + HOUR_MS


def test_a_shard_that_begins_at_latest_is_covered_since_its_first_read() -> None:
    latest, ended = listed(A, "LATEST"), listed(B, "END")
    begun = checkpoint(A, LANES, begun_ms=BORN_MS + 5000, at_ms=BORN_MS + HOUR_MS)
    earlier_version = checkpoint(A, LANES, at_ms=BORN_MS + HOUR_MS)

    assert covered(table(), latest, ended, begun) == BORN_MS + 5000
    assert covered(table(), latest, ended, earlier_version) == BORN_MS + HOUR_MS
    with pytest.raises(WorldError, match=r"shardId-0+1 of table orders has not been read yet: .*; wait until"):
        covered(table(), latest, ended)


def test_an_accepted_gap_moves_it_forward() -> None:
    gap_ms = BORN_MS + HOUR_MS
    accepted = GapAccepted(shards=((A, gap_ms),), stream_arn=None, at_ms=gap_ms + 1000)
    gap = checkpoint(A, LANES, state="gap", at_ms=gap_ms)

    assert covered(table(), listed(A), gap, Write(0, AcceptKey("orders"), accepted)) == gap_ms + 1000


def test_a_replaced_stream_counts_from_its_own_listing() -> None:
    new = stream(label="2026-02-02T00:00:00.000")
    child = listed(ShardRef(new, "shardId-1"), seen_ms=BORN_MS + HOUR_MS)

    assert covered(table(stream_arn=new), listed(A), child) == BORN_MS + HOUR_MS


@pytest.mark.parametrize(
    ("writes", "sentence"),
    [
        ([], "no worker has listed its stream"),
        ([table()], "no worker has listed its stream"),
        ([table(state="off"), listed(A)], "no worker has listed its stream"),
        ([table(), listed(A), checkpoint(A, LANES, state="gap")], "table orders has a gap"),
        ([table(state="gap", next_stream_arn="x"), listed(A)], "table orders has a gap"),
    ],
)
def test_nothing_is_certain_of_a_table_that_does_not_stream(writes: list[Write], sentence: str) -> None:
    with pytest.raises(WorldError, match=sentence):
        covered(*writes)


def test_exports_join_when_each_begins_before_the_end_of_those_before_it() -> None:
    assert since_ms([export(1000)], None) == 1000
    assert since_ms([export(1000), export(2000, 900), export(3000, 2000)], None) == 3000
    assert since_ms([export(3000), export(2000, 900)], None) == 3000
    assert since_ms([export(2000, 1000)], loaded(1000)) == 2000
    assert since_ms([export(900)], loaded(1000)) == 900


@pytest.mark.parametrize(
    ("exports", "published", "sentence"),
    [
        ([export(2000, 1000)], None, "holds changes only, and no export was loaded before it; name the full"),
        ([export(2000, 1000)], loaded(), "holds changes only, and no export was loaded before it"),
        ([export(5000, 4000)], loaded(500, 1000), "begins 3 s after the end of what is loaded before it"),
        ([export(1000), export(5000, 4000)], None, "begins 3 s after the end of what is loaded before it"),
        ([export(1000), export(2000)], None, "s3://bucket/2000 is a full one, and follows another"),
    ],
)
def test_exports_that_do_not_join_are_refused(
    exports: list[ExportFacts], published: SnapshotRecord | None, sentence: str
) -> None:
    with pytest.raises(WorldError, match=sentence):
        since_ms(exports, published)


def test_nothing_is_missing_when_the_export_is_newer_than_the_first_listing() -> None:
    assert windows_to_fill(BORN_MS + MARGIN_MS, BORN_MS, POLICY) == ()
    assert windows_to_fill(BORN_MS + MARGIN_MS - 1, BORN_MS, POLICY) != ()


def test_a_short_hole_is_filled_by_the_shortest_export_that_there_is() -> None:
    covered_ms = BORN_MS + 10_000
    end_ms = covered_ms + MARGIN_MS

    assert windows_to_fill(BORN_MS, covered_ms, POLICY) == (Window(end_ms - WINDOW_MIN_MS, end_ms),)


def test_a_long_hole_takes_several_exports() -> None:
    windows = windows_to_fill(BORN_MS, BORN_MS + 3 * WINDOW_MAX_MS, POLICY)

    assert len(windows) == 4
    assert windows[0].from_ms == BORN_MS


@settings(deadline=None)
@given(st.integers(0, 2 * 10**12), st.integers(-(10**9), 10**10))
def test_the_missing_exports_leave_no_hole_and_are_ones_that_aws_makes(until_ms: int, later_ms: int) -> None:
    covered_ms = max(0, until_ms + later_ms)
    windows = windows_to_fill(until_ms, covered_ms, POLICY)

    if not windows:
        assert counts_from_ms(until_ms, POLICY) >= covered_ms
        return
    made = [export(each.to_ms, each.from_ms) for each in windows]
    assert windows_to_fill(since_ms([export(until_ms), *made], None), covered_ms, POLICY) == ()
    for each in windows:
        assert WINDOW_MIN_MS <= each.to_ms - each.from_ms <= WINDOW_MAX_MS
        assert each.from_ms % 1000 == each.to_ms % 1000 == 0
