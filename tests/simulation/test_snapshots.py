"""Snapshots of tables that change keep every promise, whatever happens to workers and operators meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulation.checkers import BrokenPromiseError
from simulation.long_snapshot import LongSnapshotWorld
from simulation.plain_loader import LoadOrder, PlainLoad
from simulation.runs import first_to_find, play, play_all
from simulation.snapshot_mutations import OF_SNAPSHOTS
from simulation.source import SNAPSHOTS
from simulation.world import HOUR_MS

SEEDS = (*range(80), 215)  # the last one replaces the consumer of a window, which is rare
PROCESSES = 2
MOST_SEEDS = 300
LONG_SEED = 1
PLAIN_SEED = 1

FOUND_BY: dict[str, int] = {
    "delete_resurrected": 3,
    "result_before_the_segments_end": 16,
    "rows_of_two_incarnations": 35,
    "second_child_unseen_by_the_barrier": 25,
    "snapshot_lane_without_a_fence": 11,
    "window_marked_after_the_read": 23,
}
"""A seed that finds the mutation: tried first. When it does so no longer, the first that does is looked for."""

TOO_RARE_HERE: dict[str, str] = {
    "rows_of_two_snapshots": (
        "tests/unit/snapshot/test_segments.py::"
        "test_what_was_read_for_a_snapshot_is_not_published_once_another_has_begun"
    ),
    "stale_check_of_committed_records": (
        "tests/simulation/test_window.py::test_a_window_of_committed_records_does_not_see_it"
    ),
}
"""Mutations that so few histories find that another test finds them instead."""

REACHED = {
    "rows",
    "stale",
    "deletes",
    "started by hand",
    "started by keys",
    "begun and not started",
    "pause",
    "run",
    "cancel",
    "worker without lanes",
    "read throttled",
    "read unavailable",
}
"""What some history meets."""


@pytest.mark.timeout(600)
def test_no_row_is_missing_repeated_older_than_what_it_follows_or_deleted(
    tell: Callable[[str], None],
) -> None:
    summary = play_all(SEEDS, PROCESSES, kind=SNAPSHOTS.name)
    tell("\n".join(summary.lines()))
    assert summary.histories == len(SEEDS)
    assert summary.broken == []
    met = {what.removeprefix("snapshot: ") for what in summary.coverage.events}
    assert REACHED - met == set()
    assert {
        "merge",
        "split",
        "kill",
        "table made again",
        "notice: gap",
        "replaced: window",
    } - summary.coverage.events.keys() == set()


@pytest.mark.timeout(120)
def test_a_snapshot_of_thirty_hours_is_right_although_the_stream_forgets_after_a_day() -> None:
    world = LongSnapshotWorld(LONG_SEED)
    world.run()
    assert world.took_ms >= 30 * HOUR_MS > world.retention_ms
    assert world.snapshot_checker.rows > 0
    assert {"kill", "snapshot: stale"} <= world.coverage.events.keys()
    assert world.forgotten > 0, "the stream forgot nothing meanwhile"


@pytest.mark.parametrize(
    ("order", "broken"),
    [
        ("scan, then stream from latest", "and its topic shows"),
        ("stream from trim horizon, then scan", " after "),
    ],
)
def test_a_plain_loader_does_not_pass_the_checker(order: LoadOrder, broken: str) -> None:
    PlainLoad(PLAIN_SEED, order, writes_a_second=0).run()
    found = set()
    for _ in range(2):
        with pytest.raises(BrokenPromiseError, match=broken) as raised:
            PlainLoad(PLAIN_SEED, order, writes_a_second=2).run()
        found.add(str(raised.value))
    assert len(found) == 1, "its seed determines it"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(OF_SNAPSHOTS - TOO_RARE_HERE.keys()))
def test_a_planted_fault_is_found(name: str) -> None:
    hint = FOUND_BY.get(name)
    found = first_to_find(name, range(MOST_SEEDS) if hint is None else (hint, *range(MOST_SEEDS)))
    assert found is not None, f"no history of {MOST_SEEDS} finds it"
    assert play(found.seed, kind=found.kind).broken is None, "the history is broken without the fault, too"
