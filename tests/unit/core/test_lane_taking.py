"""Taking a lane, losing it and giving it back."""

from __future__ import annotations

import itertools

import pytest

from support.lanes import (
    LANE_COUNT,
    NOW_MS,
    LaneUnderTest,
    checkpoint,
    checkpoints_in,
    is_claim,
    lineage,
    page,
    sequences_in,
    shards_of_lane,
)
from tailrace.core.checkpoint import Claim, ClaimKey, EnumeratorKey, PipelineKey, PipelineRecord, Write
from tailrace.core.lane import Lane, LaneState
from tailrace.core.lane_messages import (
    CheckpointStateChanged,
    CloseProducer,
    Committed,
    NoticeKind,
    OpenProducer,
    PageRead,
    ProducerLost,
    PublishLineage,
    Release,
    Released,
    Tick,
)
from tailrace.core.lane_options import LaneOptions
from tailrace.sources.dynamodb.policy import POLICY

A, B = itertools.islice(shards_of_lane(1), 2)


@pytest.fixture
def lane() -> LaneUnderTest:
    """Lane 1, with one shard, not taken yet."""
    under_test = LaneUnderTest(number=1)
    under_test.publish(A, lineage())
    return under_test


def test_a_lane_is_fenced_then_marked_as_taken_then_read_up_to_the_mark(lane: LaneUnderTest) -> None:
    assert lane.lane.state is LaneState.OPENING
    lane.open()
    assert lane.commit is not None
    assert [is_claim(write) for write in lane.commit.transaction.writes] == [True]
    lane.committed(seen=False)
    lane.wait(1_000)
    assert lane.reads == {}, "nothing is read before the claim shows"
    lane.see()
    assert lane.reads.keys() == {A}
    assert [notice.kind for notice in lane.notices] == [NoticeKind.TAKEN, NoticeKind.SHARD_BEGUN]


def test_what_a_predecessor_committed_late_is_seen_before_reading(lane: LaneUnderTest) -> None:
    lane.open()
    lane.committed(seen=False)
    lane.publish(A, checkpoint("open", 41))
    assert lane.reads == {}
    lane.see()
    assert lane.reads[A].position.sequence == "41"


def test_the_claim_of_another_taking_does_not_count(lane: LaneUnderTest) -> None:
    lane.open()
    lane.committed(seen=False)
    lane.checkpoint_state.apply(1, ClaimKey(), Claim(owner="worker-2", nonce="worker-2/1/7", at_ms=NOW_MS))
    lane.handle(CheckpointStateChanged())
    assert lane.lane.state is LaneState.CATCHING_UP


def test_a_claim_that_never_shows_makes_the_lane_be_taken_again(lane: LaneUnderTest) -> None:
    lane.open()
    lane.committed(seen=False)
    first = lane.lane.epoch
    assert any(isinstance(command, CloseProducer) for command in lane.wait(30_000))
    assert any(isinstance(command, OpenProducer) for command in lane.wait(10_000))
    assert lane.lane.epoch > first


def test_a_lane_without_shards_is_not_taken_until_it_has_one() -> None:
    lane = LaneUnderTest(number=1)
    assert lane.handle(CheckpointStateChanged()) == []
    assert lane.handle(Tick()) == []
    lane.publish(next(shards_of_lane(2)), lineage())
    assert lane.lane.state.name == "IDLE"
    lane.publish(A, lineage())
    assert lane.lane.state is LaneState.OPENING


def test_lane_0_is_taken_without_shards_and_waits_until_every_lane_shows_its_enumerator_record() -> None:
    lane = LaneUnderTest(number=0)
    lane.handle(CheckpointStateChanged())
    lane.open()
    commit = lane.committed(seen=False)
    enumerators = [write for write in commit.transaction.writes if isinstance(write.key, EnumeratorKey)]
    assert sorted(write.partition for write in enumerators) == list(range(LANE_COUNT))
    for write in lane.unseen:
        assert not lane.lane.is_enumerator
        lane.checkpoint_state.apply(write.partition, write.key, write.record)
        lane.handle(CheckpointStateChanged())
    assert lane.lane.is_enumerator


def test_only_the_owner_of_lane_0_is_the_enumerator(lane: LaneUnderTest) -> None:
    lane.take()
    assert not lane.lane.is_enumerator


def test_lineage_is_published_with_the_next_transaction() -> None:
    lane = LaneUnderTest(number=0)
    lane.handle(CheckpointStateChanged())
    lane.take()
    birth = Write(0, PipelineKey(), PipelineRecord(lanes=LANE_COUNT, created_ms=NOW_MS))
    lane.handle(PublishLineage(lane.lane.epoch, (birth,)))
    lane.wait(100)
    assert lane.committed().transaction.writes == (birth,)


def test_a_new_lane_never_takes_an_answer_meant_for_the_one_before() -> None:
    epochs = itertools.count(1)
    before = LaneUnderTest(number=1)
    before.lane = Lane(1, "w", before.checkpoint_state, LaneOptions(POLICY), epochs=epochs, jitter=lambda: 0.0)
    before.publish(A, lineage())
    after = Lane(1, "w", before.checkpoint_state, LaneOptions(POLICY), epochs=epochs, jitter=lambda: 0.0)
    after.handle(CheckpointStateChanged(), NOW_MS)
    assert after.handle(Committed(before.lane.epoch), NOW_MS) == []
    assert after.state is LaneState.OPENING


# Losing


def test_a_lost_lane_drops_all_it_has_read_and_resumes_from_what_is_committed(lane: LaneUnderTest) -> None:
    lane.take()
    lane.read(A, page(A, 1, 2, full=True))
    lane.wait(1_000)
    assert lane.is_committing()
    lane.read(A, page(A, 3, full=True))
    lane.lose()
    assert lane.lane.commit_buffer.size_bytes == 0
    lane.publish(A, checkpoint("open", 2))  # the transaction of unknown outcome was carried out after all
    lane.take()
    assert lane.reads[A].position.sequence == "2"
    lane.read(A, page(A, 3))
    lane.wait(100)
    assert sequences_in(lane.committed()) == [3]


def test_a_lost_lane_publishes_again_what_was_not_carried_out(lane: LaneUnderTest) -> None:
    lane.take()
    lane.read(A, page(A, 1, 2))
    lane.wait(100)
    lane.lose()
    lane.take()
    assert lane.reads[A].position.kind == "TRIM_HORIZON"


def test_a_page_read_before_the_loss_is_ignored_after_it(lane: LaneUnderTest) -> None:
    lane.take()
    before = lane.reads[A]
    lane.lose()
    lane.take()
    lane.handle(PageRead(before.epoch, before.ticket, page(A, 1)))
    assert not lane.lane.commit_buffer.has_waiting


def test_losses_in_a_row_are_retaken_slower_and_slower_until_a_commit(lane: LaneUnderTest) -> None:
    pauses = []
    for _ in range(12):
        lane.lose()
        assert lane.lane.wake_at_ms is not None
        pauses.append(lane.lane.wake_at_ms - lane.now_ms)
        lane.wait(pauses[-1])
        assert lane.lane.state is LaneState.OPENING
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (100, 10_000)
    lane.take()
    lane.read(A, page(A, 1))
    lane.wait(100)
    lane.committed()
    lane.lose()
    assert lane.lane.wake_at_ms == lane.now_ms + 100


def test_a_fenced_lane_waits_to_hear_whether_it_went_to_another_worker(lane: LaneUnderTest) -> None:
    lane.take()
    lane.lose(fenced=True)
    assert lane.lane.wake_at_ms == lane.now_ms + LaneOptions(POLICY).fenced_pause_ms


# Giving back


def test_release_waits_for_the_producer_call_under_way_only(lane: LaneUnderTest) -> None:
    lane.take()
    lane.read(A, page(A, 1, full=True))
    lane.wait(1_000)
    assert lane.handle(Release()) == []
    assert lane.handle(Committed(lane.lane.epoch))[-1] == Released()
    assert lane.lane.wake_at_ms is None


def test_release_does_not_wait_for_reads_or_for_what_is_not_being_committed(lane: LaneUnderTest) -> None:
    lane.take()
    lane.read(A, page(A, 1, full=True))
    assert lane.reads
    assert lane.handle(Release()) == [CloseProducer(lane.lane.epoch), Released()]


def test_a_lane_that_is_given_back_while_it_is_lost_is_not_taken_again(lane: LaneUnderTest) -> None:
    lane.take()
    lane.read(A, page(A, 1))
    lane.wait(100)
    lane.handle(Release())
    lost = ProducerLost(lane.lane.epoch, fenced=True, reason="fenced")
    assert lane.handle(lost) == [CloseProducer(lane.lane.epoch), Released()]
    assert lane.handle(CheckpointStateChanged()) == []


# Shards that are done


def test_checkpoints_without_lineage_are_left_alone(lane: LaneUnderTest) -> None:
    lane.publish(B, checkpoint("open", 9))
    lane.take()
    lane.read(A, page(A, 10))
    lane.wait(100)
    assert checkpoints_in(lane.committed()).keys() == {A}, "Lambda left B: the enumerator has not listed it yet"
    lane.publish(B, lineage())
    assert lane.reads[B].position.sequence == "9"


def test_a_lane_is_not_taken_for_checkpoints_without_lineage() -> None:
    lane = LaneUnderTest(number=1)
    lane.publish(A, checkpoint("ended", 9))
    assert lane.lane.state is LaneState.IDLE


def test_lineage_taken_back_while_the_end_is_being_committed_does_no_harm(lane: LaneUnderTest) -> None:
    lane.take()
    lane.read(A, page(A, 1, end=True))
    lane.wait(100)
    assert lane.is_committing()
    lane.publish(A, checkpoint("ended", 1))
    lane.publish(A, None)
    lane.committed()
    lane.wait(100)
    assert not lane.is_committing()
    assert lane.lane.shard_states == {}
