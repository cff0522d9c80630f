"""How far a snapshot is: its phase, its share, its rates, and what has failed."""

from __future__ import annotations

import pytest

from support.checkpoints import BORN_MS, view_of
from support.snapshot_records import control, facts, result, segment, segments, snapshot
from tailrace.core.checkpoint import SegmentRef, Write
from tailrace.operations.snapshot_estimate import estimate_keys, estimate_scan
from tailrace.operations.snapshot_status import SnapshotStatus, snapshots_of
from tailrace.remedy import ResumeSnapshot

LANES = 4


def status(*writes: Write) -> SnapshotStatus:
    (found,) = snapshots_of(view_of(LANES, *writes).snapshots)
    return found


@pytest.mark.parametrize(
    ("writes", "phase"),
    [
        ([], "running"),
        ([control("pause")], "paused"),
        ([control("pause"), control("run")], "running"),
        ([control("cancel")], "cancelling"),
        ([control("cancel"), result(outcome="cancelled")], "cancelled"),
        ([result()], "done"),
        ([control("pause", snapshot_id="another")], "running"),
    ],
)
def test_the_phase_follows_from_the_orders_and_the_result(writes: list[Write], phase: str) -> None:
    assert status(snapshot(), *segments(LANES), *writes).phase == phase


def test_the_table_that_was_started_later_waits_if_the_file_says_so() -> None:
    first = [snapshot(), *segments(LANES)]
    second = [snapshot("users", id="s2"), *segments(LANES, table="users", snapshot_id="s2")]

    def phases(*writes: Write) -> dict[str, str]:
        found = snapshots_of(view_of(LANES, *second, *first, *writes).snapshots, 1)
        return {each.table: each.phase for each in found}

    assert phases() == {"orders": "running", "users": "waiting"}
    assert phases(control("pause")) == {"orders": "paused", "users": "running"}
    assert phases(result()) == {"orders": "done", "users": "running"}
    assert phases(*segments(LANES, state="done")) == {"orders": "running", "users": "waiting"}
    failed = [segment(0, LANES, state="failed"), *(segment(number, LANES, state="done") for number in (1, 2, 3))]
    assert phases(*failed) == {"orders": "running", "users": "running"}
    resumed = control("run", at_ms=BORN_MS + 1)
    assert phases(*failed, resumed) == {"orders": "running", "users": "waiting"}


def test_the_share_of_a_scan_follows_from_the_read_capacity_that_it_used() -> None:
    writes = segments(LANES, rows=10, size_bytes=3_000_000, read_units=128.0, at_ms=BORN_MS + 10_000)
    found = status(snapshot(item_count=10_000, size_bytes=4 * 4096 * 256, filter="item.a"), *writes)
    assert found.share == pytest.approx(0.5)
    assert (found.rows, found.size_bytes, found.read_units) == (40, 12_000_000, 512)
    assert found.rows_per_s == 4
    assert found.read_units_per_s == pytest.approx(51.2)
    assert found.time_left_s == pytest.approx(10)


def test_the_share_is_one_only_when_all_is_read() -> None:
    busy = segments(LANES, rows=1_000, read_units=10_000.0, at_ms=BORN_MS + 1_000)
    assert status(snapshot(item_count=100, size_bytes=4096), *busy).share == 0.99
    done = segments(LANES, rows=1_000, state="done", at_ms=BORN_MS + 1_000)
    assert status(snapshot(item_count=100, size_bytes=4096), *done).share == 1


def test_a_table_of_unknown_size_is_counted_by_segments() -> None:
    assert status(snapshot(), *segments(LANES)).share is None
    assert status(snapshot(), *segments(LANES), segment(0, LANES, state="done")).share == 0.25


def test_the_share_of_keys_is_exact() -> None:
    some = [segment(0, LANES, keys=("a", "b")), segment(1, LANES, keys=("c",), state="done"), segment(2, LANES)]
    assert status(snapshot(source="keys", segments=3, item_count=8), *some).share == 0.75


def test_the_share_of_an_export_follows_from_its_rows() -> None:
    some = segments(LANES, rows=20, stale=5)
    assert status(snapshot(source="export", item_count=200), *some).share == 0.5


def test_what_failed_is_told_with_its_reason_and_a_remedy() -> None:
    failed = [segment(number, LANES, state="failed", detail=f"because {number}") for number in range(12)]
    found = status(snapshot(segments=16), *segments(LANES, 16), *failed)
    assert found.segments_failed == 12
    assert [each.detail for each in found.failed] == [f"because {number}" for number in range(10)]
    assert (found.severity, found.remedy) == ("error", ResumeSnapshot("orders"))


def test_partitions_that_are_searched_for_deletes_are_counted_apart() -> None:
    name = SegmentRef.for_deletes("orders", "s1", "shop.orders", 0).name
    rows = segments(LANES, state="done", rows=5)
    found = status(snapshot(finds_deletes=True), *rows, segment(name, LANES, deletes=3))
    assert (found.segments_done, found.partitions, found.partitions_done, found.deletes) == (4, 1, 0, 3)
    assert (found.share, found.phase) == (1, "running")


def test_a_snapshot_that_has_ended_keeps_its_totals() -> None:
    found = status(snapshot(item_count=10), result(at_ms=BORN_MS + 2_000, rows=8, stale=2, read_units=4.0))
    assert (found.rows, found.stale, found.segments_done, found.share) == (8, 2, 4, 1)
    assert (found.rows_per_s, found.time_left_s, found.ended_ms) == (5, None, BORN_MS + 2_000)


def test_what_a_scan_takes() -> None:
    table = facts(item_count=1_000_000, size_bytes=4096 * 8_000_000)
    found = estimate_scan(table, 1_000)
    assert (found.items, found.read_units, found.seconds, found.usd) == (1_000_000, 8_000_000, 8_000, 1.0)
    assert estimate_scan(facts(), 10).seconds == 0


def test_what_keys_take() -> None:
    table = facts(item_count=100, size_bytes=100 * 5_000)
    found = estimate_keys(table, 10, 5)
    assert (found.items, found.size_bytes, found.read_units, found.seconds) == (10, 50_000, 20, 4)
    assert estimate_keys(facts(), 10, 5).read_units == 10
