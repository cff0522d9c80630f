"""The watch asks without waiting, takes silence for nothing, and does not rely on a client that got no answer."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from tailrace.core.stall import PATIENCE_MS
from tailrace.errors import StalledError
from tailrace.kafka import client_watch, clients
from tailrace.kafka.client_watch import ClientWatch
from tailrace.kafka.clients import Admin

LOOKS = round(sum(PATIENCE_MS) / 1000 / client_watch.PAUSE_S) + 10


class Broker:
    """Answers what it is set to answer, one `PAUSE_S` after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        self.admins: list[object] = []
        self.asked_by: list[object] = []
        self.answers: list[int | None] = []
        """How far behind the client is found to be, the last for ever; None: no answer comes."""
        self.replaced = 0
        monkeypatch.setattr(clients, "monotonic_s", lambda: self.now_s)
        monkeypatch.setattr(clients, "admin", self._make_admin)
        self.watch: ClientWatch[str] = ClientWatch({}, "follower", self._replaced, ask=self._ask, behind=self._behind)

    def look(self) -> bool:
        self.now_s += client_watch.PAUSE_S
        assert not self.watch.must_replace(), "it asks first"
        return self.watch.must_replace()

    def look_often(self) -> None:
        for _ in range(LOOKS):
            self.look()

    def _replaced(self) -> None:
        self.replaced += 1

    def _make_admin(self, *_: object) -> object:
        self.admins.append(object())
        return self.admins[-1]

    def _ask(self, admin: Admin) -> dict[str, Future[Any]]:
        self.asked_by.append(admin)
        answer: Future[Any] = Future()
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if found is None:
            answer.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
        else:
            answer.set_result(found)
        return {"topic [0]": answer}

    def _behind(self, answers: dict[str, int]) -> dict[str, int]:
        return {place: 5 for place, behind in answers.items() if behind}


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    return Broker(monkeypatch)


def test_a_client_that_stays_behind_is_replaced_until_that_does_not_help(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.answers = [1]
    with pytest.raises(StalledError, match=r"the follower has stopped \(topic \[0\]\) although Kafka answers"):
        broker.look_often()
    assert broker.replaced == len(PATIENCE_MS) - 1
    assert [record.getMessage() for record in caplog.records] == ["client replaced"] * broker.replaced
    assert len(broker.admins) == 1


def test_silence_replaces_nothing_but_the_client_that_asks(broker: Broker) -> None:
    broker.answers = [None]
    assert not any(broker.look() for _ in range(LOOKS))
    assert len(broker.admins) == LOOKS


def test_the_client_that_asks_is_not_used_again_when_one_partition_fails(broker: Broker) -> None:
    """After an election it may never learn who leads a partition: who waits for all ends would wait forever."""

    def ask(admin: Admin) -> dict[str, Future[Any]]:
        asked.append(admin)
        whole, failed = Future[Any](), Future[Any]()
        whole.set_result(0)
        failed.set_exception(KafkaException(KafkaError(KafkaError.FENCED_LEADER_EPOCH)))
        return {"topic [0]": whole, "topic [1]": failed}

    asked: list[Admin] = []
    watch: ClientWatch[str] = ClientWatch({}, "follower", ask=ask, behind=lambda _: {})
    for _ in range(6):
        broker.now_s += client_watch.PAUSE_S
        assert not watch.must_replace()
    assert len(set(map(id, asked))) == len(asked) == 3


def test_the_time_of_an_outage_is_not_counted(broker: Broker) -> None:
    broker.answers = [*[1] * 5, *[None] * LOOKS, *[1] * 5, 0]
    assert not any(broker.look() for _ in range(LOOKS + 20))


def test_no_answer_yet_is_waited_for_without_asking_again(broker: Broker) -> None:
    answer: Future[Any] = Future()
    asked: list[object] = []

    def ask(admin: Admin) -> dict[str, Future[Any]]:
        asked.append(admin)
        return {"topic [0]": answer}

    slow: ClientWatch[str] = ClientWatch({}, "follower", ask=ask, behind=lambda _: {})
    for _ in range(10):
        broker.now_s += client_watch.PAUSE_S
        assert not slow.must_replace()
    assert len(asked) == 1
