"""Accepting gaps: exactly those that the operator was told of, said plainly."""

from __future__ import annotations

import pytest

from support.checkpoints import BORN_MS, checkpoint, lineage, shard, stream, table, view_of
from tailrace.core.checkpoint import AcceptKey, GapAccepted, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.shard import ShardRef
from tailrace.errors import WorldError
from tailrace.operations.accept_gap import gaps_of
from tailrace.sources.dynamodb.policy import POLICY
from tailrace.sources.kinesis.policy import policy as kinesis_policy

LANES = 4
NOW_MS = BORN_MS + 1


def gap(shard: ShardRef, **fields: object) -> list[Write]:
    return [lineage(shard, LANES), checkpoint(shard, LANES, state="gap", **fields)]


def accepted(checkpoint_state: CheckpointState, acceptance: GapAccepted) -> CheckpointState:
    checkpoint_state.apply(0, AcceptKey("orders"), acceptance)
    return checkpoint_state


def test_all_shards_that_stand_at_a_gap_are_accepted_at_once_and_the_table_goes_on() -> None:
    checkpoint_state = view_of(
        LANES, table(), *gap(shard(1)), *gap(shard(2), at_ms=BORN_MS + 5), lineage(shard(3), LANES)
    )
    assert checkpoint_state.is_stopped("orders")
    found = gaps_of(checkpoint_state, "orders", POLICY, NOW_MS)
    assert found.acceptance.shards == ((shard(1), BORN_MS), (shard(2), BORN_MS + 5))
    assert [loss.shard for loss in found.losses] == [shard(1).shard_id, shard(2).shard_id]
    assert not accepted(checkpoint_state, found.acceptance).is_stopped("orders")


def test_what_is_lost_is_told_from_where() -> None:
    checkpoint_state = view_of(
        LANES,
        table(),
        *gap(shard(1)),
        *gap(shard(2), sequence="17", created_ms=1_767_225_600_000, detail="it is trimmed"),
    )
    first, second = gaps_of(checkpoint_state, "orders", POLICY, NOW_MS).losses
    end = "up to the oldest change that its stream still has"
    assert first.words == f"what was changed in shard {shard(1).shard_id} from its first change {end}"
    assert second.words == (
        f"what was changed in shard {shard(2).shard_id} after 2026-01-01T00:00:00Z (sequence number 17) {end}"
    )
    assert second.detail == "it is trimmed"


def test_a_replaced_stream_is_accepted_by_its_successor() -> None:
    later = stream(label="2026-02-02T00:00:00.000")
    checkpoint_state = view_of(LANES, table(state="gap", detail="switched off and on", next_stream_arn=later))
    found = gaps_of(checkpoint_state, "orders", POLICY, NOW_MS)
    assert found.acceptance.stream_arn == later
    assert [loss.words for loss in found.losses] == [
        f"what was changed in table orders between the end of the stream {stream()} and {later}"
    ]


def test_where_a_replaced_stream_is_gone_all_that_was_unread_went_with_it() -> None:
    later = stream(label="2026-02-02T00:00:00.000")
    checkpoint_state = view_of(LANES, table(state="gap", detail="created again", next_stream_arn=later))
    (loss,) = gaps_of(checkpoint_state, "orders", kinesis_policy(0), NOW_MS).losses
    assert loss.words == f"what was not published of the stream {stream()} when {later} replaced it"


def test_a_shard_that_was_not_read_for_too_long_is_accepted_with_the_gap_and_named() -> None:
    checkpoint_state = view_of(
        LANES,
        table(),
        *gap(shard(1)),
        lineage(shard(2), LANES),
        checkpoint(shard(2), LANES, sequence="17"),
        lineage(shard(3), LANES),
        lineage(shard(4), LANES, parents=(shard(2),)),
        lineage(shard(5), LANES),
        checkpoint(shard(5), LANES, at_ms=BORN_MS + 60_000),
    )
    losses = gaps_of(checkpoint_state, "orders", POLICY, BORN_MS + POLICY.retention_ms + 1).losses
    assert [loss.shard for loss in losses] == [shard(number).shard_id for number in (1, 2, 3)], "4 waits, 5 was read"
    assert losses[1].words == f"what the stream may have trimmed of shard {shard(2).shard_id} unread"
    assert losses[1].detail == "not read since 2023-11-14T22:13:20Z, longer than the stream keeps changes"


def test_a_second_gap_does_not_take_back_what_was_accepted_before() -> None:
    checkpoint_state = view_of(LANES, table(), *gap(shard(1)))
    checkpoint_state = accepted(checkpoint_state, gaps_of(checkpoint_state, "orders", POLICY, NOW_MS).acceptance)
    for write in gap(shard(2)):
        checkpoint_state.apply(write.partition, write.key, write.record)
    found = gaps_of(checkpoint_state, "orders", POLICY, NOW_MS)
    assert [loss.shard for loss in found.losses] == [shard(2).shard_id]
    assert found.acceptance.shards == ((shard(1), BORN_MS), (shard(2), BORN_MS))


def test_a_later_gap_of_the_same_shard_is_another_gap() -> None:
    checkpoint_state = view_of(LANES, table(), *gap(shard(1)))
    checkpoint_state = accepted(checkpoint_state, gaps_of(checkpoint_state, "orders", POLICY, NOW_MS).acceptance)
    later = checkpoint(shard(1), LANES, state="gap", at_ms=NOW_MS)
    checkpoint_state.apply(later.partition, later.key, later.record)
    assert gaps_of(checkpoint_state, "orders", POLICY, NOW_MS).acceptance.shards == ((shard(1), NOW_MS),)


def test_gaps_of_other_tables_are_left_alone() -> None:
    users = shard(1, "users")
    checkpoint_state = view_of(
        LANES, table(), *gap(shard(1)), table("users"), lineage(users, LANES, table="users"),
        checkpoint(users, LANES, table="users", state="gap"),
    )  # fmt: skip
    assert gaps_of(checkpoint_state, "orders", POLICY, NOW_MS).acceptance.shards == ((shard(1), BORN_MS),)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("orders", "table orders has no gap; `tailrace status` shows where it stands"),
        ("order", "the pipeline has no table order; its tables are: orders"),
    ],
)
def test_there_must_be_a_gap(name: str, sentence: str) -> None:
    checkpoint_state = view_of(LANES, table(), lineage(shard(1), LANES), checkpoint(shard(1), LANES))
    with pytest.raises(WorldError) as refused:
        gaps_of(checkpoint_state, name, POLICY, NOW_MS)
    assert str(refused.value) == sentence


def test_an_accepted_gap_is_not_accepted_again() -> None:
    checkpoint_state = view_of(LANES, table(), *gap(shard(1)))
    checkpoint_state = accepted(checkpoint_state, gaps_of(checkpoint_state, "orders", POLICY, NOW_MS).acceptance)
    with pytest.raises(WorldError, match="has no gap that is not accepted already"):
        gaps_of(checkpoint_state, "orders", POLICY, NOW_MS)
