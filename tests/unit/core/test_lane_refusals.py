"""What the broker refuses: a record for its size is set aside, a topic pauses the shards that need it."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from support.lanes import LaneUnderTest, checkpoints_in, lineage, origin, outgoing, page, sequences_in, shards_of_lane
from tailrace.core.lane_messages import NoticeKind, ProducerLost, Refusal
from tailrace.core.lane_options import LaneOptions
from tailrace.core.page import Page, SetAside
from tailrace.core.shard_state import Phase
from tailrace.sources.dynamodb.policy import POLICY

A, B = itertools.islice(shards_of_lane(1), 2)


def claim(options: LaneOptions | None = None) -> LaneUnderTest:
    lane = LaneUnderTest(1, options)
    lane.publish(A, lineage())
    lane.publish(B, lineage())
    lane.take()
    return lane


def too_large(record: int) -> Refusal:
    return Refusal(page=0, record=record, too_large=True, reason="too large")


def refused_topic(of_page: int = 0) -> Refusal:
    return Refusal(page=of_page, record=0, too_large=False, reason="no right to write")


def sent(lane: LaneUnderTest, *sequences: int) -> Page:
    """Read a page of A, and give it as it goes to the broker."""
    lane.read(A, page(A, *sequences))
    lane.wait(100)
    assert lane.commit is not None
    return lane.commit.transaction.pages[0]


def test_a_refused_record_is_set_aside_and_its_page_sent_again_at_once() -> None:
    lane = claim()
    sent(lane, 1, 2, 3)
    lane.lose(too_large(1))
    assert lane.lane.state.name == "OPENING", "it is taken again without a pause"
    lane.take()
    again = sent(lane, 1, 2, 3)
    assert {index: mark.bare for index, mark in again.set_aside.items()} == {1: False}
    assert sequences_in(lane.committed()) == [1, 2, 3]
    assert len(lane.told(NoticeKind.SET_ASIDE)) == 1


def test_when_the_next_batches_will_be_smaller_the_lane_is_taken_again_at_once_and_nothing_is_set_aside() -> None:
    lane = claim()
    sent(lane, 1, 2)
    lane.handle(ProducerLost(lane.lane.epoch, fenced=False, reason="too large together", learned=True))
    assert lane.lane.state.name == "OPENING"
    lane.take()
    assert sent(lane, 1, 2).set_aside == {}


def marked(*sequences: int, at: int) -> Page:
    """A page of A, one of its records known to be too large before it is sent."""
    return msgspec.structs.replace(page(A, *sequences), set_aside={at: SetAside("too large")})


def test_what_is_known_to_be_too_large_is_set_aside_before_it_is_sent_and_told_once() -> None:
    lane = claim()
    for _ in range(2):
        lane.read(A, marked(1, 2, 3, at=1))
        lane.wait(100)
        assert lane.commit is not None
        assert lane.commit.transaction.pages[0].set_aside.keys() == {1}
        lane.lose()
        lane.take()
    assert len(lane.told(NoticeKind.SET_ASIDE)) == 1
    lane.read(A, marked(1, 2, 3, at=1))
    lane.wait(100)
    lane.committed()
    assert sent(lane, 4, 5).set_aside == {}, "what is published is forgotten"


def test_what_is_known_to_be_too_large_stops_its_shard_before_it_when_errors_fail() -> None:
    lane = claim(LaneOptions(POLICY, errors_fail=True))
    lane.read(A, marked(1, 2, 3, at=1))
    lane.wait(100)
    commit = lane.committed()
    assert sequences_in(commit) == [1]
    assert commit.transaction.pages[0].set_aside == {}
    stopped = checkpoints_in(commit)[A]
    assert stopped is not None
    assert (stopped.state, stopped.detail) == ("failed", "too large")


def test_a_dead_letter_that_is_too_large_itself_goes_bare() -> None:
    lane = claim()
    sent(lane, 1)
    lane.lose(too_large(0))
    lane.take()
    sent(lane, 1)
    lane.lose(too_large(0))
    lane.take()
    mark = sent(lane, 1).set_aside[0]
    assert mark.bare
    assert len(lane.told(NoticeKind.SET_ASIDE)) == 1


def test_a_letter_that_is_refused_even_bare_pauses_its_shard_and_no_other() -> None:
    lane = claim()
    for _ in range(3):
        sent(lane, 1)
        lane.lose(too_large(0))
        lane.take()
    assert lane.reads.keys() == {B}
    assert len(lane.told(NoticeKind.TOPIC_REFUSED)) == 1
    lane.read(B, page(B, 1))
    lane.wait(100)
    assert sequences_in(lane.committed()) == [1]
    lane.wait(LaneOptions(POLICY).refused_backoff.max_ms)
    assert A in lane.reads


def test_what_was_learned_is_forgotten_once_it_is_published() -> None:
    lane = claim()
    sent(lane, 1, 2)
    lane.lose(too_large(0), too_large(1))
    lane.take()
    sent(lane, 1)
    lane.committed()
    lane.lose()
    lane.take()
    assert sent(lane, 2, 3).set_aside.keys() == {0}, "the record that is not published yet is still set aside"
    lane.committed()
    assert sent(lane, 4).set_aside == {}


def test_a_record_too_large_stops_its_shard_before_it_when_errors_fail() -> None:
    lane = claim(LaneOptions(POLICY, errors_fail=True))
    sent(lane, 1, 2, 3)
    lane.lose(too_large(1))
    lane.take()
    sent(lane, 1, 2, 3)
    commit = lane.committed()
    assert sequences_in(commit) == [1]
    stopped = checkpoints_in(commit)[A]
    assert stopped is not None
    assert (stopped.state, stopped.sequence, stopped.detail) == ("failed", "1", "too large")
    assert lane.phase(A) is Phase.FAILED
    assert B in lane.reads


def test_a_topic_that_is_refused_pauses_its_shards_longer_and_longer_and_the_others_go_on() -> None:
    lane = claim()
    pauses = []
    for _ in range(8):
        sent(lane, 1)
        refused_at_ms = lane.now_ms
        lane.lose(refused_topic())
        lane.take()
        assert lane.phase(A) is Phase.READY
        assert B in lane.reads
        pauses.append(lane.lane.shard_states[A].next_read_ms - refused_at_ms)
        lane.wait(pauses[-1])
    assert pauses == sorted(pauses)
    assert pauses[-1] <= LaneOptions(POLICY).refused_backoff.max_ms
    assert len(lane.told(NoticeKind.TOPIC_REFUSED)) == 8
    sent(lane, 1)
    lane.committed()
    sent_after = lane.lane.shard_states[A].next_read_ms - lane.now_ms
    assert sent_after < 1_000, "a topic that takes records again is written as before"


def test_many_refusals_of_one_page_count_once() -> None:
    lane = claim()
    sent(lane, 1, 2)
    lane.lose(refused_topic(), Refusal(0, 1, too_large=False, reason="no right to write"))
    assert len(lane.told(NoticeKind.TOPIC_REFUSED)) == 1


@pytest.mark.parametrize("times", [1, 5])
def test_a_refused_topic_costs_the_lane_a_pause_before_it_is_taken_again(times: int) -> None:
    lane = claim()
    for _ in range(times):
        lane.lose(refused_topic()) if lane.is_committing() else lane.lose()
        assert lane.lane.wake_at_ms is not None
        assert lane.lane.wake_at_ms > lane.now_ms
        lane.take()


def test_of_several_records_of_one_change_only_the_large_one_is_set_aside() -> None:
    lane = claim()
    first, second = origin(1), origin(2)
    records = [outgoing(change) for change in (first, first, first, second)]
    several = msgspec.structs.replace(page(A, 1, 2), changes=[first, second], records=records)
    lane.read(A, several)
    lane.wait(100)
    lane.lose(too_large(1))
    lane.take()
    lane.read(A, several)
    lane.wait(100)
    assert lane.commit is not None
    assert lane.commit.transaction.pages[0].set_aside.keys() == {1}
    assert sequences_in(lane.committed()) == [1, 1, 1, 2]
