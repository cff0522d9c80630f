"""Which settings of brokers and topics are told of, and that the defaults of Kafka are not."""

from __future__ import annotations

import pytest

from tailrace.kafka.topics import Cluster, TopicState
from tailrace.operations import cluster_risks

DAY_MS = 24 * 3_600_000
DEFAULTS = {
    "transaction.partition.verification.enable": "true",
    "unclean.leader.election.enable": "false",
    "transaction.state.log.min.isr": "2",
    "min.insync.replicas": "2",
    "message.timestamp.before.max.ms": str(2**63 - 1),
}


def cluster(brokers: int, log: int | None) -> Cluster:
    states = {"__transaction_state": TopicState("__transaction_state", 50, log)} if log else {}
    return Cluster("id", brokers, 1, states)


@pytest.mark.parametrize("config", [DEFAULTS, {}], ids=["Kafka's defaults", "nothing is known"])
@pytest.mark.parametrize(("brokers", "replication"), [(1, 1), (2, 2), (3, 3), (9, 3)])
def test_the_defaults_and_what_is_not_known_put_nothing_at_risk(
    config: dict[str, str], brokers: int, replication: int
) -> None:
    assert cluster_risks.broker_risks(config, cluster(brokers, replication)) == ()
    assert cluster_risks.broker_risks(config, cluster(brokers, None)) == ()
    assert (
        cluster_risks.topic_risks(TopicState("t", 6, replication), config, retention_ms=DAY_MS, brokers=brokers) == ()
    )


@pytest.mark.parametrize(
    ("name", "value", "replication"),
    [
        ("transaction.partition.verification.enable", "false", 3),
        ("unclean.leader.election.enable", "true", 3),
        ("transaction.state.log.min.isr", "1", 3),
        ("__transaction_state has replication", "1", 1),
    ],
)
def test_each_setting_of_the_brokers_that_puts_a_promise_at_risk_is_named(
    name: str, value: str, replication: int
) -> None:
    (risk,) = cluster_risks.broker_risks({**DEFAULTS, name: value}, cluster(3, replication))
    assert f"{name}={value}" in risk


@pytest.mark.parametrize(
    ("name", "value", "replication"),
    [
        ("min.insync.replicas", "1", 3),
        ("unclean.leader.election.enable", "true", 3),
        ("message.timestamp.before.max.ms", str(DAY_MS - 1), 3),
        ("replication", "1", 1),
    ],
)
def test_each_setting_of_a_topic_that_puts_a_promise_at_risk_is_named(name: str, value: str, replication: int) -> None:
    config = {**DEFAULTS, name: value}
    (risk,) = cluster_risks.topic_risks(TopicState("t", 6, replication), config, retention_ms=DAY_MS, brokers=3)
    assert f"topic t has {name}={value}" in risk


def test_the_limit_of_timestamps_had_another_name_before() -> None:
    config = {"message.timestamp.difference.max.ms": "60000"}
    (risk,) = cluster_risks.topic_risks(TopicState("t", 6, 3), config, retention_ms=DAY_MS, brokers=3)
    assert "60000" in risk


@pytest.mark.parametrize(("asked_ms", "is_too_long"), [(20_000, False), (20_001, True)])
def test_transactions_may_take_as_long_as_the_brokers_allow(asked_ms: int, is_too_long: bool) -> None:
    told = cluster_risks.transactions_too_long(asked_ms, {"transaction.max.timeout.ms": "20000"})
    assert (told is not None) == is_too_long
    assert cluster_risks.transactions_too_long(asked_ms, {}) is None


def test_a_topic_of_kafkas_own_that_needs_more_brokers_is_named_with_its_setting() -> None:
    config = {"transaction.state.log.replication.factor": "3", "offsets.topic.replication.factor": "3"}
    log, offsets = cluster_risks.internal_topics(config, cluster(1, None))
    assert log.startswith("the brokers have transaction.state.log.replication.factor=3, and the cluster has 1 broker:")
    assert offsets.startswith("the brokers have offsets.topic.replication.factor=3, and the cluster has 1 broker:")
    assert len(cluster_risks.internal_topics(config, cluster(2, 1))) == 1, "what is there need not be made"
    assert cluster_risks.internal_topics(config, cluster(3, None)) == ()
    assert cluster_risks.internal_topics({}, cluster(1, None)) == ()
