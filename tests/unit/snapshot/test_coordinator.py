"""The coordinator ends a snapshot when all of it is published, whatever it sees of the checkpoint topic."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from support.snapshot_records import facts
from tailrace.core.checkpoint import (
    AcceptKey,
    Checkpoint,
    CheckpointKey,
    GapAccepted,
    SegmentKey,
    SegmentRecord,
    SegmentRef,
    SegmentState,
    ShardKey,
    ShardRecord,
    SnapshotControlKey,
    SnapshotKey,
    SnapshotRecord,
    SnapshotResult,
    TableKey,
    TableRecord,
    Write,
)
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.ports import ReadError, ReadFailure, TableFacts
from tailrace.core.shard import ShardRef
from tailrace.errors import WorldError
from tailrace.snapshot.coordinator import RETRY_MS, Coordinator
from tailrace.sources.dynamodb.policy import POLICY
from tailrace.sources.kinesis.policy import policy

ID, TABLE, STREAM = "1", "orders", "arn:stream/1"


def writes(*names: str, state: SegmentState = "done", is_repair: bool = False, **said: Any) -> tuple[Write, ...]:
    """The next writes for a snapshot of two segments, of which those named show."""
    return coordinator().next_writes(shown(*names, state=state, is_repair=is_repair, **said), now_ms=1, whole_ms=1)


def coordinator(**parts: Any) -> Coordinator:
    given: dict[str, Any] = {
        "lane_count": 1,
        "named_tables": (),
        "reads": lambda _: False,
        "policy": POLICY,
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
    assert coordinator().next_writes(state, now_ms=1, whole_ms=1) == ()
    state.apply(0, CheckpointKey(*tail), Checkpoint(table=TABLE, state="ended", sequence="1", created_ms=1, at_ms=1))
    assert len(coordinator().next_writes(state, now_ms=1, whole_ms=1)) == 1


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
    assert failing.next_writes(state, now_ms=1, whole_ms=1) == ()
    assert "Kafka is away" in caplog.text
    assert failing.next_writes(state, now_ms=2, whole_ms=2) == ()
    assert len(failing.next_writes(state, now_ms=1 + RETRY_MS, whole_ms=1 + RETRY_MS)) == 1


def stream_with_gap(*unfinished: str) -> CheckpointState:
    """A Kinesis stream whose only shard has a gap, beside snapshots of some of its tables that go on."""
    found = CheckpointState(1)
    shard = ShardRef("arn:aws:kinesis:us-east-1:123456789012:stream/cdc/1", "shard-1")
    found.apply(0, TableKey("cdc"), TableRecord(stream_arn=shard.stream, view_type=None, state="streaming", at_ms=1))
    found.apply(0, CheckpointKey(*shard), Checkpoint(table="cdc", state="gap", sequence="1", created_ms=1, at_ms=7))
    for table in unfinished:
        going_on = SnapshotRecord(id=ID, source="scan", reason="manual", segments=2, at_ms=1)
        found.apply(0, SnapshotKey(table), going_on)
    return found


def repairing(**parts: Any) -> Coordinator:
    given: dict[str, Any] = {
        "policy": policy(0),
        "reads": lambda entry: entry == "cdc",
        "resnapshots": lambda _: True,
        "begins_with_snapshot": lambda _: False,
        "tables_of": lambda _: ("orders",),
        "carried_tables": lambda _entry, _stream: ("orders", "users"),
        "facts": facts,
        "segment_count": lambda _: 1,
        "filter": None,
    }
    return coordinator(**given | parts)


def test_a_gap_of_a_stream_is_accepted_as_the_snapshots_of_all_its_tables_begin() -> None:
    begun = repairing().next_writes(stream_with_gap(), now_ms=9, whole_ms=9)
    (accepted,) = (write for write in begun if isinstance(write.key, AcceptKey))
    assert isinstance(accepted.record, GapAccepted)
    assert (accepted.key, [at_ms for _, at_ms in accepted.record.shards]) == (AcceptKey("cdc"), [7])
    snapshots = {write.key.table: write.record for write in begun if isinstance(write.key, SnapshotKey)}
    assert snapshots.keys() == {"orders", "users"}
    for record in snapshots.values():
        assert isinstance(record, SnapshotRecord)
        assert (record.reason, record.finds_deletes, record.stream) == ("gap", True, None)


def test_a_snapshot_that_goes_on_beside_a_gap_of_its_stream_is_cancelled_first() -> None:
    state = stream_with_gap("users")
    (cancelled,) = repairing().next_writes(state, now_ms=9, whole_ms=9)
    assert isinstance(cancelled.key, SnapshotControlKey)
    assert (cancelled.key.table, cancelled.record and getattr(cancelled.record, "order", None)) == ("users", "cancel")
    state.apply(0, cancelled.key, cancelled.record)
    assert repairing().next_writes(state, now_ms=9, whole_ms=9) == ()


@pytest.mark.parametrize("way", ["none is found", "they cannot be looked for", "one is not there"])
def test_a_gap_whose_tables_are_not_all_known_is_not_accepted(way: str, caplog: pytest.LogCaptureFixture) -> None:
    def denied(*_: object) -> tuple[str, ...]:
        raise ReadError("ListTables is denied", ReadFailure.DENIED)

    def gone(_table: str) -> TableFacts:
        raise ReadError("there is no such table", ReadFailure.GONE)

    ways: dict[str, dict[str, Any]] = {
        "none is found": {"carried_tables": lambda *_: ()},
        "they cannot be looked for": {"carried_tables": denied},
        "one is not there": {"facts": gone},
    }
    assert repairing(**ways[way]).next_writes(stream_with_gap(), now_ms=9, whole_ms=9) == ()
    assert "the gap of cdc could not be repaired, trying again: " in caplog.text


@pytest.mark.parametrize("state", ["gap", "streaming"])
def test_where_deletes_lie_is_noted_once_the_stream_that_carries_the_table_has_no_gap(state: Any) -> None:
    found = CheckpointState(1)
    found.apply(0, TableKey("cdc"), TableRecord(stream_arn=STREAM, view_type=None, state=state, at_ms=1))
    repair = SnapshotRecord(id=ID, source="scan", reason="gap", segments=2, at_ms=1, finds_deletes=True)
    found.apply(0, SnapshotKey(TABLE), repair)
    assert bool(repairing(resnapshots=lambda _: False).next_writes(found, now_ms=9, whole_ms=9)) == (
        state == "streaming"
    )
