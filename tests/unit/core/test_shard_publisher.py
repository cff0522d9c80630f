"""One delivery of AWS Lambda: what is asked of the producer, and what is given back."""

from __future__ import annotations

from collections.abc import Sequence

from support.lanes import NOW_MS, TABLE, checkpoint, page, shards_of_lane
from tailrace.core.checkpoint import CheckpointKey, Claim, Method, MethodKey, MethodRecord, ShardClaimKey, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.claiming import CatchUp, ClaimCommand
from tailrace.core.lane_messages import (
    CloseProducer,
    Commit,
    Committed,
    OpenProducer,
    ProducerAnswer,
    ProducerLost,
    ProducerOpened,
    Refusal,
)
from tailrace.core.page import Page
from tailrace.core.shard_publisher import Failure, ShardPublisher
from tailrace.sources.dynamodb.policy import POLICY

LANES = 4
SHARD = next(shards_of_lane(1))
LOST = ProducerLost(0, fenced=False, reason="commit_transaction timed out")
FENCED = ProducerLost(0, fenced=True, reason="fenced")


class Sandbox:
    """Carries out a delivery's commands at once; `answers` are given to its next commits that hold changes."""

    def __init__(self, *, method: Method = "lambda", exact: bool = True, errors_fail: bool = False) -> None:
        self.checkpoint_state = CheckpointState(LANES)
        for lane in range(LANES):
            self.checkpoint_state.apply(lane, MethodKey(), MethodRecord(method=method, nonce="n", at_ms=NOW_MS))
        self.publisher = ShardPublisher(
            SHARD, "sandbox", self.checkpoint_state, table=TABLE, source=POLICY, errors_fail=errors_fail, exact=exact
        )
        self.committed: list[Commit] = []
        self.asked: list[type[ClaimCommand]] = []
        self.answers: list[ProducerLost] = []
        self.unseen: list[Write] = []
        self.hides_takings = False

    def publish(self, *pages: Page) -> Failure | None:
        """Publish pages to the end."""
        steps = self.publisher.publish(pages, NOW_MS)
        try:
            command = next(steps)
            while True:
                self.asked.append(type(command))
                command = steps.send(self._answer(command))
        except StopIteration as end:
            failure: Failure | None = end.value
            return failure

    def sequences(self) -> list[list[str]]:
        """Return the sequence numbers of each committed transaction that holds changes."""
        return [
            [record.origin.sequence for each in commit.transaction.pages for record in each.records]
            for commit in self.committed
            if commit.transaction.pages
        ]

    def writes(self) -> Sequence[Write]:
        """Return the checkpoint records of the last transaction."""
        return self.committed[-1].transaction.writes

    def _answer(self, command: ClaimCommand) -> ProducerAnswer | None:
        match command:
            case OpenProducer(epoch):
                return ProducerOpened(epoch)
            case Commit(epoch, transaction):
                if transaction.pages and self.answers:
                    return self.answers.pop(0)
                self.committed.append(command)
                self.unseen += transaction.writes
                return Committed(epoch)
            case CatchUp():
                for write in [] if self.hides_takings else self.unseen:
                    self.checkpoint_state.apply(write.partition, write.key, write.record)
                return None
            case _:
                return None


def test_a_shard_is_fenced_then_marked_as_taken_then_read_up_to_the_mark_before_anything_is_published() -> None:
    sandbox = Sandbox()
    assert sandbox.publish(page(SHARD, 1, 2)) is None
    assert sandbox.asked == [OpenProducer, Commit, CatchUp, Commit]
    claim, published = (commit.transaction.writes for commit in sandbox.committed)
    assert [type(write.key) for write in claim] == [ShardClaimKey]
    assert published == (Write(1, CheckpointKey(*SHARD), checkpoint("open", 2)),)


def test_a_shard_that_is_held_is_not_taken_again() -> None:
    sandbox = Sandbox()
    sandbox.publish(page(SHARD, 1))
    sandbox.asked.clear()
    sandbox.publish(page(SHARD, 2), page(SHARD, 3))
    assert sandbox.asked == [Commit, Commit]


def test_what_the_checkpoint_says_is_published_is_left_out() -> None:
    sandbox = Sandbox()
    sandbox.checkpoint_state.apply(1, CheckpointKey(*SHARD), checkpoint("open", 2))
    assert sandbox.publish(page(SHARD, 1, 2), page(SHARD, 2, 3)) is None
    assert sandbox.sequences() == [["3"]]


def test_of_a_shard_that_a_worker_ended_nothing_is_missing() -> None:
    sandbox = Sandbox()
    sandbox.checkpoint_state.apply(1, CheckpointKey(*SHARD), checkpoint("ended"))
    assert sandbox.publish(page(SHARD, 1)) is None
    assert sandbox.sequences() == []


def test_whoever_is_fenced_gives_the_batch_back_at_once() -> None:
    sandbox = Sandbox()
    sandbox.publish(page(SHARD, 1))
    sandbox.answers = [FENCED]
    failure = sandbox.publish(page(SHARD, 2))
    assert failure is not None
    assert failure.fenced
    assert sandbox.asked[-1] is CloseProducer
    assert sandbox.publisher.sequence == "1"


def test_an_unknown_outcome_drops_the_producer_and_takes_the_shard_anew() -> None:
    sandbox = Sandbox()
    sandbox.answers = [LOST]
    assert sandbox.publish(page(SHARD, 1)) is None
    assert sandbox.asked == [
        OpenProducer,
        Commit,
        CatchUp,
        Commit,
        CloseProducer,
        OpenProducer,
        Commit,
        CatchUp,
        Commit,
    ]


def test_a_broker_that_stays_away_is_not_asked_for_ever() -> None:
    sandbox = Sandbox()
    sandbox.answers = [LOST] * 10
    failure = sandbox.publish(page(SHARD, 1))
    assert failure == Failure(LOST.reason)


def test_a_claim_that_does_not_show_gives_the_batch_back() -> None:
    sandbox = Sandbox()
    sandbox.hides_takings = True
    failure = sandbox.publish(page(SHARD, 1))
    assert failure is not None
    assert failure.fenced
    assert sandbox.sequences() == []


def test_nothing_is_published_while_another_method_is_active() -> None:
    sandbox = Sandbox(method="worker")
    failure = sandbox.publish(page(SHARD, 1))
    assert failure is not None
    assert failure.inactive
    assert sandbox.sequences() == []


def test_a_record_that_is_too_large_becomes_a_dead_letter_and_the_rest_is_published() -> None:
    sandbox = Sandbox()
    sandbox.answers = [
        ProducerLost(0, fenced=False, reason="too large", refusals=(Refusal(0, 1, True, "shop.orders: too large"),))
    ]
    assert sandbox.publish(page(SHARD, 1, 2, 3)) is None
    (published,) = sandbox.committed[-1].transaction.pages
    assert published.set_aside.keys() == {1}


def test_with_errors_fail_what_comes_before_a_bad_record_is_published_and_the_rest_given_back() -> None:
    sandbox = Sandbox(errors_fail=True)
    assert sandbox.publish(page(SHARD, 1, stop="bad"), page(SHARD, 2)) == Failure("bad")
    assert sandbox.sequences() == [["1"]]


def test_without_a_shard_s_name_what_comes_again_is_published_again_without_a_checkpoint() -> None:
    sandbox = Sandbox(exact=False)
    for _ in range(2):
        assert sandbox.publish(page(SHARD, 1)) is None
    assert sandbox.sequences() == [["1"], ["1"]]
    assert sandbox.writes() == ()


def test_shards_that_ended_long_ago_are_forgotten() -> None:
    sandbox = Sandbox()
    *_, old = (shard for shard, _ in zip(shards_of_lane(1), range(5), strict=False))
    old_ms = NOW_MS - 2 * POLICY.retention_ms - 1
    sandbox.checkpoint_state.apply(1, CheckpointKey(*old), checkpoint("open", 1, at_ms=old_ms, table=TABLE))
    sandbox.checkpoint_state.apply(1, ShardClaimKey(*old), Claim(owner="gone", nonce="gone/1", at_ms=old_ms))
    sandbox.publish(page(SHARD, 1))
    assert Write(1, CheckpointKey(*old), None) in sandbox.writes()
    assert Write(1, ShardClaimKey(*old), None) in sandbox.writes()
