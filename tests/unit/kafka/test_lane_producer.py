"""What the lane's producer makes of what its client does, without a broker."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation

from support.lanes import origin, page
from tailrace.core.checkpoint import Claim, ClaimKey, Write
from tailrace.core.lane_messages import Committed, ProducerLost, Refusal, Transaction
from tailrace.core.page import Outgoing, SetAside
from tailrace.core.shard import ShardRef
from tailrace.kafka import clients
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.kafka.topic_limits import TopicLimits

TRANSACTION = Transaction((), (Write(0, ClaimKey(), Claim(owner="someone", nonce="1", at_ms=0)),))


class Client:
    """A client of which each call does nothing, or what the test says."""

    def __init__(self) -> None:
        self.calls: dict[str, Callable[[], Any]] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *_, **__: self.calls.get(name, lambda: 0)()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client()
    monkeypatch.setattr(clients, "producer", lambda *_: client)
    return client


def producer(limits: TopicLimits | None = None, **properties: str) -> LaneProducer:
    return LaneProducer(
        "shop.lane-0",
        1,
        pipeline="shop",
        checkpoint_topic="shop.checkpoints",
        dead_letters_topic="letters",
        properties=properties,
        limits=limits,
    )


def fenced_while_reports_came() -> None:
    raise SystemError("returned a result with an exception set") from KafkaException(KafkaError(KafkaError._FENCED))


@pytest.mark.parametrize("call", ["flush", "commit_transaction"])
def test_a_fatal_error_that_comes_with_delivery_reports_is_told_as_itself(client: Client, call: str) -> None:
    lane = producer()
    client.calls["poll"] = client.calls[call] = fenced_while_reports_came
    lost = lane.commit(TRANSACTION)
    assert isinstance(lost, ProducerLost)
    assert lost.fenced
    lane.close()


def lost_its_error() -> None:
    raise SystemError("returned NULL without setting an exception")


def test_a_fatal_error_that_the_client_lost_is_asked_for_again(client: Client) -> None:
    def flush() -> None:
        def fenced() -> None:
            raise KafkaException(KafkaError(KafkaError._FENCED))

        client.calls["begin_transaction"] = fenced
        lost_its_error()

    client.calls["flush"] = flush
    lost = producer().commit(TRANSACTION)
    assert isinstance(lost, ProducerLost)
    assert lost.fenced


def test_an_error_that_the_client_lost_for_good_costs_the_producer(client: Client) -> None:
    client.calls["flush"] = lost_its_error
    lost = producer().commit(TRANSACTION)
    assert isinstance(lost, ProducerLost)
    assert not lost.fenced
    assert "the client lost its error" in lost.reason


@pytest.mark.parametrize(
    ("properties", "commit_s", "is_used_again"),
    [
        ({}, 0.79, True),
        ({}, 0.81, False),
        ({"retry.backoff.ms": "100"}, 0.1, False),
        ({"retry.backoff.ms": "5000", "retry.backoff.max.ms": "5000"}, 3.9, True),
        ({"retry.backoff.ms": "5000"}, 0.9, False),
    ],
)
def test_a_producer_is_used_again_only_if_its_commit_took_less_than_sending_it_again_would(
    client: Client, monkeypatch: pytest.MonkeyPatch, properties: dict[str, str], commit_s: float, is_used_again: bool
) -> None:
    now_s = 0.0

    def commit() -> None:
        nonlocal now_s
        now_s += commit_s

    client.calls["commit_transaction"] = commit
    monkeypatch.setattr(clients, "monotonic_s", lambda: now_s)
    lane = producer(None, **properties)
    assert isinstance(lane.commit(TRANSACTION), Committed)
    answer = lane.commit(TRANSACTION)
    assert isinstance(answer, Committed) == is_used_again
    if not is_used_again:
        assert isinstance(answer, ProducerLost)
        assert not answer.fenced
        assert "sent twice" in answer.reason


class StuckClient:
    """As librdkafka: one record of each batch goes out, and nothing behind a batch that failed.

    `refuses` are values that come back in one batch, when they are flushed.
    """

    def __init__(self, *refuses: bytes, buffer: int = 1_000) -> None:
        self.queue: list[tuple[Outgoing, Callable[..., None]]] = []
        self.flushes = 0
        self._refuses = refuses
        self._buffer = buffer
        self._has_failed = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *_, **__: None

    def produce(  # noqa: PLR0917 - the client's signature
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int = -1,
        callback: Callable[..., None] | None = None,
        on_delivery: Callable[..., None] | None = None,
        timestamp: int = 0,
        headers: object = None,
    ) -> None:
        if len(self.queue) >= self._buffer:
            raise BufferError
        report = callback or on_delivery or (lambda *_: None)
        self.queue.append((Outgoing(topic, key, value, None, timestamp, origin(1), max(0, partition)), report))

    def poll(self, timeout_s: float) -> None:
        if timeout_s:
            self.flush(timeout_s)

    def flush(self, _timeout_s: float) -> int:
        self.flushes += 1
        if not self._has_failed and any(record.value in self._refuses for record, _ in self.queue):
            self._has_failed = True
            for record, report in [each for each in self.queue if each[0].value in self._refuses]:
                report(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), Delivered(record))
                self.queue.remove((record, report))
        elif not self._has_failed:
            self.queue.clear()
        return len(self.queue)


class Delivered:
    def __init__(self, record: Outgoing) -> None:
        self._record = record

    def __getattr__(self, name: str) -> Callable[[], Any]:
        return lambda: getattr(self._record, name)


def transaction(*values: bytes, topic: str = "shop.orders") -> Transaction:
    whole = page(ShardRef("arn", "shard"), *range(len(values)))
    records = [
        Outgoing(topic, b"k", value, None, 0, change) for change, value in zip(whole.changes, values, strict=True)
    ]
    return Transaction((msgspec.structs.replace(whole, records=records),), ())


def stuck(monkeypatch: pytest.MonkeyPatch, *refuses: bytes, **options: Any) -> StuckClient:
    client = StuckClient(*refuses, **options)
    monkeypatch.setattr(clients, "producer", lambda *_: client)
    return client


LARGE = bytes(1_100_000)


@pytest.mark.parametrize("buffer", [1_000, 2])
def test_a_refusal_ends_the_wait_for_what_is_queued_behind_it_and_is_kept(
    monkeypatch: pytest.MonkeyPatch, buffer: int
) -> None:
    client = stuck(monkeypatch, LARGE, buffer=buffer)
    lost = producer().commit(transaction(b"1", LARGE, b"2", b"3"))
    assert isinstance(lost, ProducerLost)
    assert [(each.page, each.record, each.too_large) for each in lost.refusals] == [(0, 1, True)]
    assert client.queue, "the records behind it are never sent"
    assert client.flushes == 1, "nobody waits for them"


def test_a_record_that_comes_back_alone_is_the_one_that_is_too_large_and_several_are_sent_in_smaller_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits, values = TopicLimits({}), tuple(bytes([each]) * 100_000 for each in range(4))
    sizes, told = [], []
    for refused in (values, values[:2], values[:1]):
        stuck(monkeypatch, *refused)
        lane = producer(limits)
        lost = lane.commit(transaction(*values))
        assert isinstance(lost, ProducerLost)
        sizes.append(limits.batch_bytes)
        told.append((lost.learned, [each.record for each in lost.refusals]))
    assert told == [(True, []), (True, []), (False, [0])]
    assert sizes[0] == pytest.approx(200_000, rel=0.01)
    assert sizes[1] == sizes[2] == pytest.approx(100_000, rel=0.01)


def test_records_alike_of_two_topics_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = transaction(LARGE).pages
    other = transaction(LARGE, topic="shop.copies").pages[0].records
    both = Transaction((msgspec.structs.replace(whole, records=whole.records + other),), ())
    client = stuck(monkeypatch, LARGE)
    lane = producer()

    def flush(_timeout_s: float) -> int:
        record, report = client.queue[1]
        report(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), Delivered(record))
        return 2

    monkeypatch.setattr(client, "flush", flush)
    lost = lane.commit(both)
    assert isinstance(lost, ProducerLost)
    assert [each.record for each in lost.refusals] == [1]


def test_a_producer_whose_batches_are_larger_than_a_topic_takes_is_given_up_before_it_sends_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = TopicLimits({}, topics_of=lambda table: [f"shop.{table}"], describe=lambda _: {"shop.orders": 250_000})
    client = stuck(monkeypatch)
    lost = producer(limits).commit(transaction(b"1"))
    assert isinstance(lost, ProducerLost)
    assert (lost.learned, lost.fenced, lost.refusals) == (True, False, ())
    assert client.queue == []
    assert isinstance(producer(limits).commit(transaction(b"1")), Committed)


def test_a_dead_letter_takes_the_place_of_what_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = transaction(b"1", b"2", b"3").pages
    marks = {1: SetAside("too large"), 2: SetAside("too large", bare=True)}
    marked = msgspec.structs.replace(whole, set_aside=marks)
    client = stuck(monkeypatch, b"1")
    refused = producer().commit(Transaction((marked,), ()))
    assert isinstance(refused, ProducerLost)
    assert [(record.topic, record.value) for record, _ in client.queue] == [("letters", b"raw"), ("letters", None)]
    assert refused.refusals == (Refusal(0, 0, too_large=True, reason=refused.refusals[0].reason),)


@pytest.mark.parametrize(
    ("answer", "names_refusals"), [(KafkaError.TOPIC_AUTHORIZATION_FAILED, True), (KafkaError._TIMED_OUT, False)]
)
def test_only_an_answer_makes_a_refusal_of_rights(
    client: Client, monkeypatch: pytest.MonkeyPatch, answer: int, names_refusals: bool
) -> None:
    """A transaction is denied; the question for which topic is denied or not answered."""

    class Rights:
        timeout_s = 1.0

        def describe_topics(self, asked: TopicCollection, **_: object) -> dict[str, Future[object]]:
            return {name: self._answer(name) for name in asked.topic_names}

        def _answer(self, name: str) -> Future[object]:
            future: Future[object] = Future()
            if name == "shop.checkpoints":
                future.set_result(SimpleNamespace(authorized_operations={AclOperation.WRITE}))
            else:
                future.set_exception(KafkaException(KafkaError(answer)))
            return future

    def deny() -> None:
        raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))

    monkeypatch.setattr(clients, "admin", lambda *_: Rights())
    client.calls["begin_transaction"] = deny
    lost = producer().commit(Transaction((page(ShardRef("arn", "shard"), 1),), ()))
    assert isinstance(lost, ProducerLost)
    assert bool(lost.refusals) is names_refusals
