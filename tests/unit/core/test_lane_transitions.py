"""The lane's whole transition table: what each event does in each state, and that nothing is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import msgspec
import pytest

from support.lanes import LaneUnderTest, lineage, page, shards_of_lane
from tailrace.core.checkpoint import PipelineKey, PipelineRecord, ShardKey, Write
from tailrace.core.lane import LaneState
from tailrace.core.lane_messages import (
    CheckpointStateChanged,
    Committed,
    EpochEvent,
    Event,
    PageRead,
    ProducerLost,
    ProducerOpened,
    PublishLineage,
    ReadFailed,
    Release,
    Tick,
)
from tailrace.core.ports import ReadFailure

SHARD = next(shards_of_lane(0))
"""A shard of lane 0: the enumerator's lane knows every event."""


def idle() -> LaneUnderTest:
    return LaneUnderTest(number=1)


def idle_with_work() -> LaneUnderTest:
    """A shard has come, and the lane has heard of nothing since."""
    lane = LaneUnderTest(number=1)
    shard = next(shards_of_lane(1))
    lane.checkpoint_state.apply(1, ShardKey(*shard), lineage())
    return lane


def opening() -> LaneUnderTest:
    lane = LaneUnderTest(number=0)
    lane.publish(SHARD, lineage())
    return lane


def taking() -> LaneUnderTest:
    lane = opening()
    lane.open()
    return lane


def catching_up() -> LaneUnderTest:
    lane = taking()
    lane.committed(seen=False)
    return lane


def active() -> LaneUnderTest:
    """The shard is being read, nothing waits to be published."""
    lane = catching_up()
    lane.see()
    return lane


def committing() -> LaneUnderTest:
    """A page is being published, and the shard is being read on."""
    lane = active()
    lane.read(SHARD, page(SHARD, 1, full=True))
    lane.wait(1_000)
    return lane


def backing_off() -> LaneUnderTest:
    lane = active()
    lane.lose()
    return lane


def releasing() -> LaneUnderTest:
    lane = committing()
    lane.handle(Release())
    return lane


def released() -> LaneUnderTest:
    lane = active()
    lane.handle(Release())
    return lane


SITUATIONS: dict[str, Callable[[], LaneUnderTest]] = {
    "IDLE": idle,
    "IDLE, with a shard": idle_with_work,
    "OPENING": opening,
    "TAKING": taking,
    "CATCHING_UP": catching_up,
    "ACTIVE": active,
    "ACTIVE, committing": committing,
    "BACKING_OFF": backing_off,
    "RELEASING": releasing,
    "RELEASED": released,
}


def _ticket(lane: LaneUnderTest) -> int:
    return lane.reads[SHARD].ticket if SHARD in lane.reads else 1


def _later(lane: LaneUnderTest) -> Event:
    lane.now_ms += 60_000
    return Tick()


def _lineage(lane: LaneUnderTest) -> Event:
    birth = Write(0, PipelineKey(), PipelineRecord(lanes=4, created_ms=0))
    return PublishLineage(lane.lane.epoch, (birth,))


EVENTS: dict[str, Callable[[LaneUnderTest], Event]] = {
    "Release": lambda lane: Release(),
    "Tick": lambda lane: Tick(),
    "Tick, a minute later": _later,
    "CheckpointStateChanged": lambda lane: CheckpointStateChanged(),
    "ProducerOpened": lambda lane: ProducerOpened(lane.lane.epoch),
    "Committed": lambda lane: Committed(lane.lane.epoch),
    "ProducerLost": lambda lane: ProducerLost(lane.lane.epoch, fenced=False, reason="test"),
    "PageRead": lambda lane: PageRead(lane.lane.epoch, _ticket(lane), page(SHARD, 7)),
    "ReadFailed": lambda lane: ReadFailed(lane.lane.epoch, _ticket(lane), SHARD, ReadFailure.THROTTLED, "slow"),
    "PublishLineage": _lineage,
}

TABLE: dict[str, dict[str, str]] = {
    "IDLE": {
        "Release": "RELEASED: Released",
        "Tick": "IDLE",
        "Tick, a minute later": "IDLE",
        "CheckpointStateChanged": "IDLE",
        "ProducerOpened": "IDLE",
        "Committed": "IDLE",
        "ProducerLost": "IDLE",
        "PageRead": "IDLE",
        "ReadFailed": "IDLE",
        "PublishLineage": "IDLE",
    },
    "IDLE, with a shard": {
        "Release": "RELEASED: Released",
        "Tick": "OPENING: OpenProducer",
        "Tick, a minute later": "OPENING: OpenProducer",
        "CheckpointStateChanged": "OPENING: OpenProducer",
        "ProducerOpened": "OPENING: OpenProducer",
        "Committed": "OPENING: OpenProducer",
        "ProducerLost": "OPENING: OpenProducer",
        "PageRead": "OPENING: OpenProducer",
        "ReadFailed": "OPENING: OpenProducer",
        "PublishLineage": "OPENING: OpenProducer",
    },
    "OPENING": {
        "Release": "RELEASING",
        "Tick": "OPENING",
        "Tick, a minute later": "OPENING",
        "CheckpointStateChanged": "OPENING",
        "ProducerOpened": "TAKING: Commit",
        "Committed": "OPENING",
        "ProducerLost": "BACKING_OFF: CloseProducer, Notice",
        "PageRead": "OPENING",
        "ReadFailed": "OPENING",
        "PublishLineage": "OPENING",
    },
    "TAKING": {
        "Release": "RELEASING",
        "Tick": "TAKING",
        "Tick, a minute later": "TAKING",
        "CheckpointStateChanged": "TAKING",
        "ProducerOpened": "TAKING",
        "Committed": "CATCHING_UP",
        "ProducerLost": "BACKING_OFF: CloseProducer, Notice",
        "PageRead": "TAKING",
        "ReadFailed": "TAKING",
        "PublishLineage": "TAKING",
    },
    "CATCHING_UP": {
        "Release": "RELEASED: CloseProducer, Released",
        "Tick": "CATCHING_UP",
        "Tick, a minute later": "BACKING_OFF: CloseProducer, Notice",
        "CheckpointStateChanged": "CATCHING_UP",
        "ProducerOpened": "CATCHING_UP",
        "Committed": "CATCHING_UP",
        "ProducerLost": "BACKING_OFF: CloseProducer, Notice",
        "PageRead": "CATCHING_UP",
        "ReadFailed": "CATCHING_UP",
        "PublishLineage": "CATCHING_UP",
    },
    "ACTIVE": {
        "Release": "RELEASED: CloseProducer, Released",
        "Tick": "ACTIVE",
        "Tick, a minute later": "ACTIVE",
        "CheckpointStateChanged": "ACTIVE",
        "ProducerOpened": "ACTIVE",
        "Committed": "ACTIVE",
        "ProducerLost": "BACKING_OFF: CloseProducer, Notice",
        "PageRead": "ACTIVE",
        "ReadFailed": "ACTIVE: Notice",
        "PublishLineage": "ACTIVE",
    },
    "ACTIVE, committing": {
        "Release": "RELEASING",
        "Tick": "ACTIVE",
        "Tick, a minute later": "ACTIVE",
        "CheckpointStateChanged": "ACTIVE",
        "ProducerOpened": "ACTIVE",
        "Committed": "ACTIVE",
        "ProducerLost": "BACKING_OFF: CloseProducer, Notice",
        "PageRead": "ACTIVE",
        "ReadFailed": "ACTIVE: Notice",
        "PublishLineage": "ACTIVE",
    },
    "BACKING_OFF": {
        "Release": "RELEASED: Released",
        "Tick": "BACKING_OFF",
        "Tick, a minute later": "OPENING: OpenProducer",
        "CheckpointStateChanged": "BACKING_OFF",
        "ProducerOpened": "BACKING_OFF",
        "Committed": "BACKING_OFF",
        "ProducerLost": "BACKING_OFF",
        "PageRead": "BACKING_OFF",
        "ReadFailed": "BACKING_OFF",
        "PublishLineage": "BACKING_OFF",
    },
    "RELEASING": {
        "Release": "RELEASING",
        "Tick": "RELEASING",
        "Tick, a minute later": "RELEASING",
        "CheckpointStateChanged": "RELEASING",
        "ProducerOpened": "RELEASED: CloseProducer, Released",
        "Committed": "RELEASED: CloseProducer, Released",
        "ProducerLost": "RELEASED: CloseProducer, Released",
        "PageRead": "RELEASING",
        "ReadFailed": "RELEASING",
        "PublishLineage": "RELEASING",
    },
    "RELEASED": {
        "Release": "RELEASED",
        "Tick": "RELEASED",
        "Tick, a minute later": "RELEASED",
        "CheckpointStateChanged": "RELEASED",
        "ProducerOpened": "RELEASED",
        "Committed": "RELEASED",
        "ProducerLost": "RELEASED",
        "PageRead": "RELEASED",
        "ReadFailed": "RELEASED",
        "PublishLineage": "RELEASED",
    },
}
"""Situation, event: the state that follows, and the commands."""


@pytest.mark.parametrize(("situation", "event"), [(s, e) for s, row in TABLE.items() for e in row])
def test_what_an_event_does(situation: str, event: str) -> None:
    lane = SITUATIONS[situation]()
    assert lane.lane.state.name == situation.split(",", maxsplit=1)[0]
    commands = lane.handle(EVENTS[event](lane))
    named = ", ".join(type(command).__name__ for command in commands)
    assert lane.lane.state.name + (f": {named}" if named else "") == TABLE[situation][event]


def test_no_state_and_no_event_is_left_out() -> None:
    assert {situation.split(",", maxsplit=1)[0] for situation in SITUATIONS} == {state.name for state in LaneState}
    assert {event.split(",", maxsplit=1)[0] for event in EVENTS} == {kind.__name__ for kind in get_args(Event)}
    assert TABLE.keys() == SITUATIONS.keys()
    assert all(row.keys() == EVENTS.keys() for row in TABLE.values())


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("event", [ProducerOpened, Committed, ProducerLost, PageRead, ReadFailed, PublishLineage])
def test_an_answer_from_an_earlier_taking_does_nothing(situation: str, event: type[EpochEvent]) -> None:
    lane = SITUATIONS[situation]()
    state = lane.lane.state
    asked = EVENTS[event.__name__](lane)
    stale = msgspec.structs.replace(asked, epoch=lane.lane.epoch - 1)
    assert lane.handle(stale) == []
    assert lane.lane.state is state
    assert not lane.lane.commit_buffer.has_waiting
