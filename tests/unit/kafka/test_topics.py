"""Which failures of Kafka may pass, and how often it is asked for all of its topics."""

from __future__ import annotations

from concurrent.futures import Future
from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewTopic

from tailrace.errors import UnreachableError, WorldError
from tailrace.kafka import checkpoint_topic, clients, topics
from tailrace.kafka.clients import Admin, LastingAdmin
from tailrace.kafka.topics import Cluster, TopicKeeper, TopicSpec, TopicState
from tailrace.remedy_sentences import sentence


class FakeAdmin:
    """Makes every topic, or none."""

    timeout_s = 1.0

    def __init__(self, refusal: KafkaError | None = None) -> None:
        self.made: list[str] = []
        self.refusal = refusal

    def create_topics(self, new: list[NewTopic], **_: object) -> dict[str, Future[None]]:
        done: Future[None] = Future()
        if self.refusal is not None:
            done.set_exception(KafkaException(self.refusal))
        else:
            self.made += [topic.topic for topic in new]
            done.set_result(None)
        return {topic.topic: done for topic in new}


def test_many_tables_cost_one_question_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    admin, asked, now_s = FakeAdmin(), [0], [0.0]
    there: dict[str, TopicState] = {"shop.orders": TopicState("shop.orders", 6, 1)}

    def describe(*_: object) -> Cluster:
        asked[0] += 1
        return Cluster("abc", 1, 1, there)

    monkeypatch.setattr(topics, "describe", describe)
    lasting = LastingAdmin({}, make=lambda *_: cast(Admin, admin))
    keeper = TopicKeeper(lasting, {}, lambda: now_s[0])
    for _ in range(3):
        keeper.ensure(TopicSpec("shop.orders", 6))
        for number in range(100):
            keeper.ensure(TopicSpec(f"shop.table{number}", 6))
    assert asked == [1]
    assert admin.made == [f"shop.table{number}" for number in range(100)]
    now_s[0] = topics.LOOK_AGAIN_S
    there.clear()
    keeper.ensure(TopicSpec("shop.orders", 6))
    assert admin.made[-1] == "shop.orders", "deleted by hand, it is made again"


def test_an_admin_client_that_did_not_reach_kafka_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[FakeAdmin] = []

    def make(*_: object) -> Admin:
        made.append(FakeAdmin())
        return cast(Admin, made[-1])

    def describe(admin: object, _user: object) -> Cluster:
        if admin is made[0]:
            raise UnreachableError("asking Kafka for its topics failed")
        return Cluster("abc", 1, 1, {})

    monkeypatch.setattr(topics, "describe", describe)
    keeper = TopicKeeper(LastingAdmin({}, make=make), {})
    with pytest.raises(UnreachableError):
        keeper.ensure(TopicSpec("shop.orders", 6))
    keeper.ensure(TopicSpec("shop.orders", 6))
    keeper.ensure(TopicSpec("shop.users", 6))
    assert [admin.made for admin in made] == [[], ["shop.orders", "shop.users"]]


@pytest.mark.parametrize(("replication", "passes"), [(None, True), (1, True), (2, False)])
def test_brokers_that_take_no_replicas_yet_are_told_from_brokers_that_are_missing(
    monkeypatch: pytest.MonkeyPatch, replication: int | None, passes: bool
) -> None:
    monkeypatch.setattr(topics, "describe", lambda *_: Cluster("abc", 1, 1, {}))
    refusal = KafkaError(KafkaError.INVALID_REPLICATION_FACTOR, "All brokers are currently fenced.")
    admin = FakeAdmin(refusal)
    keeper = TopicKeeper(LastingAdmin({}, make=lambda *_: cast(Admin, admin)), {})
    spec = TopicSpec("shop.orders", 6, replication)
    with pytest.raises(WorldError, match=r"refuses to make topic shop\.orders: All brokers") as error:
        keeper.ensure(spec)
    assert isinstance(error.value, UnreachableError) is passes
    assert error.value.hint == (topics.BROKERS_AWAY if passes else "fix `topics` in the pipeline file")
    admin.refusal = None
    keeper.ensure(spec)
    assert admin.made == ["shop.orders"]


@pytest.mark.parametrize(
    ("code", "passes"),
    [
        (KafkaError._TRANSPORT, True),
        (KafkaError._TIMED_OUT, True),
        (KafkaError.NOT_CONTROLLER, True),
        (KafkaError._PARTIAL, True),
        (KafkaError._NOENT, True),
        (KafkaError.FENCED_LEADER_EPOCH, True),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, False),
        (KafkaError.POLICY_VIOLATION, False),
    ],
)
def test_a_failure_that_may_pass_is_told_apart(code: int, passes: bool) -> None:
    error = clients.world_error(KafkaError(code), "making topic shop.orders", {})
    assert isinstance(error, WorldError)
    assert isinstance(error, UnreachableError) is passes


@pytest.mark.parametrize(
    ("asked", "remedy"),
    [
        (32, "set `lanes: 16`, or stop every worker and run `tailrace rescale`"),
        (8, "set `lanes: 16`: lanes can only be added"),
    ],
)
def test_another_number_of_lanes_gets_advice_that_works(asked: int, remedy: str) -> None:
    with pytest.raises(WorldError) as error:
        checkpoint_topic.check_lanes("shop", asked, 16)
    assert error.value.remedy is not None
    assert sentence(error.value.remedy) == remedy


def test_an_answer_of_a_broker_that_has_just_started_is_asked_for_again() -> None:
    codes = [KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS]

    def ask() -> Future[str]:
        future: Future[str] = Future()
        if codes:
            future.set_exception(KafkaException(KafkaError(codes.pop(0))))
        else:
            future.set_result("known")
        return future

    assert clients.answer(ask, 60.0) == "known"


@pytest.mark.parametrize(
    ("code", "timeout_s", "hint"),
    [
        (KafkaError.NOT_COORDINATOR, 0.0, "the brokers are starting or electing"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, 60.0, "grant the principal Read on the consumer group"),
    ],
)
def test_only_a_refusal_of_rights_gets_a_hint_about_rights(code: int, timeout_s: float, hint: str) -> None:
    future: Future[str] = Future()
    future.set_exception(KafkaException(KafkaError(code)))
    with pytest.raises(KafkaException) as error:
        clients.answer(lambda: future, timeout_s)
    assert clients.world_error(error.value, "describing the consumer group shop", {}).hint.startswith(hint)


def test_topics_that_differ_in_dots_and_underscores_alone_collide() -> None:
    assert topics.colliding("shop.a_b", ["shop.a_b", "shop.b", "shop.a.b"]) == "shop.a.b"
    assert topics.colliding("shop.a_b", ["shop.a_b", "shop.a-b", "shop.ab"]) is None
