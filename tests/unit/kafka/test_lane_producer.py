"""What the lane's producer makes of what its client does, without a broker."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from tailrace.core.checkpoint import Taken, TakenKey, Write
from tailrace.core.lane_messages import Committed, ProducerLost, Transaction
from tailrace.kafka import clients, lane_producer
from tailrace.kafka.lane_producer import LaneProducer

TRANSACTION = Transaction((), (Write(0, TakenKey(), Taken(owner="someone", nonce="1", at_ms=0)),))


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


def producer(**properties: str) -> LaneProducer:
    return LaneProducer(
        "shop.lane-0",
        1,
        pipeline="shop",
        checkpoint_topic="shop.checkpoints",
        dead_letters_topic="letters",
        properties=properties,
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
    monkeypatch.setattr(lane_producer, "time", SimpleNamespace(monotonic=lambda: now_s))
    lane = producer(**properties)
    assert isinstance(lane.commit(TRANSACTION), Committed)
    answer = lane.commit(TRANSACTION)
    assert isinstance(answer, Committed) == is_used_again
    if not is_used_again:
        assert isinstance(answer, ProducerLost)
        assert not answer.fenced
        assert "sent twice" in answer.reason
