"""The coordinator ends a snapshot when all of it is published, whatever it sees of the checkpoint topic."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tailrace.core.checkpoint import (
    Checkpoint,
    CheckpointKey,
    SegmentKey,
    SegmentRecord,
    SegmentRef,
    SegmentState,
    ShardKey,
    ShardRecord,
    SnapshotKey,
    SnapshotRecord,
    SnapshotResult,
    TableKey,
    TableRecord,
    Write,
)
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.shard import ShardRef
from tailrace.errors import WorldError
from tailrace.snapshot.coordinator import RETRY_MS, Coordinator

ID, TABLE, STREAM = "1", "orders", "arn:stream/1"


def writes(*names: str, state: SegmentState = "done", is_repair: bool = False, **said: Any) -> tuple[Write, ...]:
    """The next writes for a snapshot of two segments, of which those named show."""
    return coordinator().next_writes(shown(*names, state=state, is_repair=is_repair, **said), now_ms=1)


def coordinator(**parts: Any) -> Coordinator:
    given: dict[str, Any] = {
        "lane_count": 1,
        "named_tables": (),
        "wants": lambda _: False,
        "topics_of": lambda _: ("t",),
    }
    given |= {"tables_of": lambda table: (table,), "end_offsets": lambda _: {"t": (7, 9)}, **parts}
    observer = SimpleNamespace(notice=lambda _: None)
    return Coordinator(cast(Any, SimpleNamespace(**given)), cast(Any, observer), lambda: 0.5)


def shown(*names: str, state: SegmentState = "done", is_repair: bool = False, **said: Any) -> CheckpointState:
    found = CheckpointState(1)
    found.apply(0, TableKey(TABLE), TableRecord(stream_arn=STREAM, view_type=None, state="streaming", at_ms=1))
    snapshot = SnapshotRecord(
        id=ID, source="scan", reason="gap", segments=2, at_ms=1, finds_deletes=is_repair, stream=STREAM, **said
    )
    found.apply(0, SnapshotKey(TABLE), snapshot)
    for name in names:
        record = SegmentRecord(table=TABLE, state=state, at_ms=1)
        found.apply(0, SegmentKey(SegmentRef(TABLE, ID, name)), record)
    return found


def test_a_snapshot_ends_when_all_of_its_segments_have() -> None:
    (write,) = writes("0", "1")
    assert isinstance(write.record, SnapshotResult)
    assert writes("0", "1", state="running") == ()


def test_segments_whose_partition_is_not_read_yet_are_waited_for() -> None:
    assert writes("0") == ()


def test_where_deletes_lie_is_noted_before_they_are_looked_for() -> None:
    (noted,) = writes(is_repair=True)
    assert isinstance(noted.record, SnapshotRecord)
    assert noted.record.offsets == {"t": (7, 9)}
    looked_for = writes("0", "1", is_repair=True, offsets={"t": (7, 9)})
    assert [write.key.segment.deletes_in for write in looked_for if isinstance(write.key, SegmentKey)] == [
        ("t", 0),
        ("t", 1),
    ]


def test_where_deletes_lie_is_noted_once_the_earlier_streams_have_ended() -> None:
    state, tail = shown(is_repair=True), ShardRef("arn:stream/0", "shard")
    lineage = ShardRecord(table=TABLE, parents=(), start="TRIM_HORIZON", seen_ms=1, initial=True)
    state.apply(0, ShardKey(*tail), lineage)
    assert coordinator().next_writes(state, now_ms=1) == ()
    state.apply(0, CheckpointKey(*tail), Checkpoint(table=TABLE, state="ended", sequence="1", created_ms=1, at_ms=1))
    assert len(coordinator().next_writes(state, now_ms=1)) == 1


def test_deletes_of_which_only_a_part_shows_are_waited_for() -> None:
    names = [SegmentRef.for_deletes(TABLE, ID, "t", partition).name for partition in range(2)]
    assert writes("0", "1", names[0], is_repair=True, offsets={"t": (7, 9)}) == ()
    assert len(writes("0", "1", *names, is_repair=True, offsets={"t": (7, 9)})) == 1


def test_a_step_that_fails_is_tried_again_later(caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([WorldError("Kafka is away"), {"t": (7, 9)}])

    def end_offsets(_topics: object) -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    failing, state = coordinator(end_offsets=end_offsets), shown(is_repair=True)
    assert failing.next_writes(state, now_ms=1) == ()
    assert "Kafka is away" in caplog.text
    assert failing.next_writes(state, now_ms=2) == ()
    assert len(failing.next_writes(state, now_ms=1 + RETRY_MS)) == 1
