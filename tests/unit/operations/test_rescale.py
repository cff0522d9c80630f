"""Moving lanes: every shard's records go where the new number of lanes has them, and nothing else moves."""

from __future__ import annotations

import json
import random

import pytest

from support.checkpoints import BORN_MS, birth, checkpoint, lineage, shard, table, view_of
from tailrace.core.checkpoint import (
    Claim,
    ClaimKey,
    IgnoredRecord,
    PipelineKey,
    PipelineRecord,
    ShardClaimKey,
    TopicKey,
    TopicRecord,
    Write,
)
from tailrace.core.checkpoint_bytes import decode
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.shard import lane_of
from tailrace.errors import WorldError
from tailrace.kafka.checkpoint_topic import check_rescaled
from tailrace.operations.rescale import moves

OLD, NEW = 4, 6
SHARDS = [shard(number) for number in range(40)]
TAKEN = Claim(owner="host:1:a", nonce="n", at_ms=1)
STATE = [
    birth(OLD),
    table(),
    *(Write(lane, ClaimKey(), TAKEN) for lane in range(OLD)),
    *(lineage(each, OLD) for each in SHARDS),
    *(checkpoint(each, OLD, sequence=str(number)) for number, each in enumerate(SHARDS)),
]


def held(writes: list[Write]) -> list[dict[TopicKey, TopicRecord]]:
    lanes: list[dict[TopicKey, TopicRecord]] = [{} for _ in range(NEW)]
    for write in writes:
        if write.record is None:
            del lanes[write.partition][write.key]
        else:
            lanes[write.partition][write.key] = write.record
    return lanes


def all_moves() -> list[Write]:
    return [write for lane in range(OLD) for write in moves(lane, held(STATE)[lane], NEW)]


def marks(lanes: int, *partitions: int) -> list[Write]:
    return [Write(each, PipelineKey(), PipelineRecord(lanes=lanes, created_ms=BORN_MS)) for each in partitions]


def test_afterwards_every_shard_is_in_its_new_lane_with_the_same_checkpoint() -> None:
    checkpoint_state = view_of(NEW, *STATE, *all_moves())
    assert checkpoint_state.shards == view_of(OLD, *STATE).shards
    assert checkpoint_state.checkpoints == view_of(OLD, *STATE).checkpoints
    for each in SHARDS:
        assert each in checkpoint_state.shards_of(lane_of(each, NEW))
        assert each in checkpoint_state.checkpoints_of(lane_of(each, NEW))


def test_nothing_is_left_where_it_was() -> None:
    for lane, records in enumerate(held([*STATE, *all_moves()])):
        assert moves(lane, records, NEW) == ()


def test_only_shards_move() -> None:
    assert {type(write.key).__name__ for write in all_moves()} == {"ShardKey", "CheckpointKey"}


def test_whatever_follows_a_shard_moves_with_it_though_this_version_cannot_read_it() -> None:
    def written(key: list[object], value: bytes, lane: int) -> Write:
        unread, record = decode(json.dumps(key).encode(), value, "here")
        return Write(lane, unread, record)

    windows = [written(["?window", each], b"digests", lane_of(each, OLD)) for each in SHARDS]
    notes = [written(["?note"], b"\xff", lane) for lane in range(OLD)]
    claims = [ShardClaimKey(*each).write(TAKEN, OLD) for each in SHARDS]
    before = held([*STATE, *windows, *notes, *claims])
    after = held([*STATE, *windows, *notes, *claims, *(w for n in range(OLD) for w in moves(n, before[n], NEW))])
    for each, window in zip(SHARDS, windows, strict=True):
        lanes = [lane for lane, records in enumerate(after) if records.get(window.key) == IgnoredRecord(b"digests")]
        assert (
            lanes == [lane_of(each, NEW)] == [n for n, records in enumerate(after) if ShardClaimKey(*each) in records]
        )
    assert [notes[0].key in records for records in after] == [True] * OLD + [False] * (NEW - OLD)


def test_moving_again_moves_nothing_twice() -> None:
    some = [write for lane in (1, 3) for write in moves(lane, held(STATE)[lane], NEW)]
    state = held([*STATE, *some])
    rest = [write for lane in range(NEW) for write in moves(lane, state[lane], NEW)]
    assert view_of(NEW, *STATE, *some, *rest).checkpoints == view_of(OLD, *STATE).checkpoints


@pytest.mark.parametrize("seed", range(20))
def test_the_order_among_partitions_does_not_matter_to_a_reader(seed: int) -> None:
    """A follower reads partitions in any order among each other: the tombstone in the old lane may come last."""
    queues = [[write for write in (*STATE, *all_moves()) if write.partition == lane] for lane in range(NEW)]
    draw = random.Random(seed)
    checkpoint_state = CheckpointState(NEW)
    while remaining := [queue for queue in queues if queue]:
        write = draw.choice(remaining).pop(0)
        checkpoint_state.apply(write.partition, write.key, write.record)
    assert checkpoint_state.checkpoints == view_of(OLD, *STATE).checkpoints


@pytest.mark.parametrize(
    ("lanes", "writes", "is_refused"),
    [
        pytest.param(OLD, [birth(OLD)], False, id="never rescaled"),
        pytest.param(NEW, [birth(OLD)], True, id="partitions added, nothing moved"),
        pytest.param(NEW, [birth(OLD), *marks(NEW, 1, 2)], True, id="some lanes moved"),
        pytest.param(NEW, [birth(OLD), *marks(NEW, 1, 2, 3, 0)], False, id="all moved"),
        pytest.param(OLD, [birth(OLD), *marks(NEW, 2)], True, id="an old worker that takes a moved lane"),
        pytest.param(OLD, [], False, id="nothing published yet"),
    ],
)
def test_no_worker_goes_on_with_another_number_of_lanes(lanes: int, writes: list[Write], is_refused: bool) -> None:
    checkpoint_state = view_of(lanes, *writes)
    assert checkpoint_state.is_rescaled == is_refused
    if is_refused:
        with pytest.raises(WorldError, match="run `tailrace rescale` again"):
            check_rescaled("shop", checkpoint_state)
