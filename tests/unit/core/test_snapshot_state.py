"""When a snapshot has ended, and what is ordered of it."""

from __future__ import annotations

from typing import Any

from support.checkpoints import BORN_MS, view_of
from support.snapshot_records import control, segment, segments, snapshot
from tailrace.core.checkpoint import Write

LANES = 4


def have_ended(*writes: Write, **fields: Any) -> bool:
    return view_of(LANES, snapshot(**fields), *writes).snapshots.have_ended("orders")


def test_it_has_ended_once_each_segment_is_done_or_cancelled() -> None:
    done = segments(LANES, 3, state="done")
    assert have_ended(*done, segment(3, LANES, state="done"))
    assert have_ended(*done, segment(3, LANES, state="cancelled"))
    for state in ("running", "failed"):
        assert not have_ended(*done, segment(3, LANES, state=state))


def test_a_segment_that_was_not_read_yet_has_not_ended() -> None:
    assert not have_ended(*segments(LANES, 3, state="done"))
    assert not have_ended()


def test_deletes_are_segments_too() -> None:
    rows, offsets = segments(LANES, 4, state="done"), {"t": (5, 7)}
    first, second = (segment(f"deletes:t/{number}", LANES, state="done") for number in range(2))
    assert have_ended(*rows, offsets=offsets)
    assert not have_ended(*rows, first, offsets=offsets)
    assert have_ended(*rows, first, second, offsets=offsets)


def test_what_is_cancelled_in_part_is_cancelled_whatever_is_ordered_then() -> None:
    orders = [control("cancel"), control("pause", at_ms=BORN_MS + 1)]
    running = view_of(LANES, snapshot(), *segments(LANES), *orders).snapshots
    assert running.order_of("orders") == "pause"
    begun = view_of(LANES, snapshot(), *segments(LANES), segment(2, LANES, state="cancelled"), *orders).snapshots
    assert begun.order_of("orders") == "cancel"
    assert (begun.cancelling, begun.running) == (["orders"], [])


def test_a_segment_that_was_deleted_counts_no_more() -> None:
    deleted = [Write(each.partition, each.key, None) for each in segments(LANES)]
    state = view_of(LANES, snapshot(), *segments(LANES, state="done"), *deleted).snapshots
    assert state.counts_of("orders").total() == 0
    assert not list(state.leftovers(BORN_MS + 1))
