"""Where a partition is resumed, what is missing of it, and when its batch is committed."""

from __future__ import annotations

import pytest

from tailrace.sinks.progress import Extent, Limits, Obstacle, OpenBatch, Position, has_all, resume_offset

LIMITS = Limits(size_bytes=1_000, age_ms=60_000)


@pytest.mark.parametrize(
    ("position", "extent", "offset"),
    [
        (None, Extent(0, 0, "a"), 0),
        (None, Extent(0, 9, "a"), 0),
        (None, Extent(7, 9, "a"), 7),
        (Position(8, "a"), Extent(7, 9, "a"), 8),
        (Position(7, "a"), Extent(7, 9, "a"), 7),
        (Position(9, "a"), Extent(9, 9, "a"), 9),
        (Position(6, "a"), Extent(7, 9, "a"), Obstacle.DELETED),
        (Position(6, "a"), Extent(9, 9, "a"), Obstacle.DELETED),
        (Position(10, "a"), Extent(7, 9, "a"), Obstacle.BEYOND_END),
        (Position(1, "a"), Extent(0, 0, "a"), Obstacle.BEYOND_END),
        (Position(8, "a"), Extent(7, 9, "b"), Obstacle.RECREATED),
        (Position(6, "a"), Extent(7, 9, "b"), Obstacle.RECREATED),
    ],
)
def test_a_partition_goes_on_where_the_target_is_or_says_why_not(
    position: Position | None, extent: Extent, offset: int | Obstacle
) -> None:
    assert resume_offset(position, extent) == offset


@pytest.mark.parametrize(
    ("position", "extent", "whole"),
    [
        (None, Extent(0, 0, "a"), True),
        (None, Extent(5, 5, "a"), True),
        (None, Extent(0, 5, "a"), False),
        (Position(4, "a"), Extent(0, 5, "a"), False),
        (Position(5, "a"), Extent(0, 5, "a"), True),
        (Position(6, "a"), Extent(0, 5, "a"), True),
    ],
)
def test_the_target_has_all_up_to_the_end_that_was_asked_for(
    position: Position | None, extent: Extent, whole: bool
) -> None:
    assert has_all(position, extent) == whole


def test_a_batch_is_due_when_it_is_large() -> None:
    batch = OpenBatch(10)
    batch.add(1, 999)
    assert not batch.is_due(11, LIMITS, now_ms=0)
    batch.add(1, 1)
    assert batch.is_due(12, LIMITS, now_ms=0)


def test_a_batch_is_due_when_its_first_record_is_old() -> None:
    batch = OpenBatch(10)
    assert not batch.is_due(10, LIMITS, now_ms=500_000)
    batch.add(1, 1)
    assert not batch.is_due(11, LIMITS, now_ms=1_000_000)
    batch.add(1, 1)
    assert not batch.is_due(12, LIMITS, now_ms=1_059_999)
    assert batch.is_due(12, LIMITS, now_ms=1_060_000)


def test_a_position_that_moved_over_markers_alone_is_due_in_its_time() -> None:
    batch = OpenBatch(10)
    assert not batch.is_due(11, LIMITS, now_ms=0)
    assert batch.is_due(11, LIMITS, now_ms=60_000)
    batch.committed_to(11)
    assert not batch.is_due(11, LIMITS, now_ms=500_000)


def test_after_a_commit_the_next_batch_begins_empty_and_young() -> None:
    batch = OpenBatch(10)
    batch.add(3, 1_000)
    assert batch.is_due(13, LIMITS, now_ms=0)
    batch.committed_to(13)
    assert (batch.committed, batch.count, batch.size_bytes) == (13, 0, 0)
    batch.add(1, 1)
    assert not batch.is_due(14, LIMITS, now_ms=90_000)
    assert batch.is_due(14, LIMITS, now_ms=150_000)
