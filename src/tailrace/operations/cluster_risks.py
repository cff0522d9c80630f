"""What the settings of brokers and topics put at risk: docs/guarantees.md says why each matters."""

from __future__ import annotations

from collections.abc import Mapping

from tailrace.kafka.topics import MAX_REPLICATION, Cluster, TopicState

_TRANSACTION_LOG = "__transaction_state"
_INTERNAL = (
    (_TRANSACTION_LOG, "transaction.state.log.replication.factor", "no lane can publish"),
    ("__consumer_offsets", "offsets.topic.replication.factor", "no worker can join its group"),
)
"""Kafka's own topics, made when they are first needed; the setting that says with how many replicas."""
_TIMESTAMP_LIMITS = ("message.timestamp.before.max.ms", "message.timestamp.difference.max.ms")
"""The second is the first's name before Kafka 3.6."""


def transactions_too_long(asked_ms: int, config: Mapping[str, str]) -> str | None:
    """Return, as a sentence, that a broker does not allow transactions of `asked_ms`;

    None if it does, or if unknown.
    """
    most_ms = config.get("transaction.max.timeout.ms")
    if most_ms is None or asked_ms <= int(most_ms):
        return None
    return (
        f"transactions may take {asked_ms} ms, but the brokers allow transaction.max.timeout.ms={most_ms} and would "
        f"refuse every lane; set transaction.timeout.ms to {most_ms} or less in the kafka section, or raise theirs"
    )


def internal_topics(config: Mapping[str, str], cluster: Cluster) -> tuple[str, ...]:
    """Return, as sentences, which internal topics Kafka cannot create because there are too few brokers."""
    return tuple(
        f"the brokers have {setting}={config[setting]}, and the cluster has {cluster.brokers} broker"
        f"{'s' * (cluster.brokers > 1)}: Kafka cannot make {topic}, so {without}; set it to {cluster.brokers} in the "
        "brokers' configuration, or start more brokers"
        for topic, setting, without in _INTERNAL
        if topic not in cluster.topics and int(config.get(setting, 1)) > cluster.brokers
    )


def broker_risks(config: Mapping[str, str], cluster: Cluster) -> tuple[str, ...]:
    """Return, as sentences, what a broker's properties put at risk. Unknown properties are skipped."""
    found = []
    if config.get("transaction.partition.verification.enable") == "false":
        found.append(
            "the brokers have transaction.partition.verification.enable=false: a write that comes late may stop all "
            "read_committed readers of its partition; set it to true"
        )
    if config.get("unclean.leader.election.enable") == "true":
        found.append(
            "the brokers have unclean.leader.election.enable=true: a leader that was not in sync may lack committed "
            "changes and checkpoints; set it to false"
        )
    log = cluster.topics.get(_TRANSACTION_LOG)
    if log is not None and log.replication < min(MAX_REPLICATION, cluster.brokers):
        found.append(
            f"{_TRANSACTION_LOG} has replication={log.replication} on {cluster.brokers} brokers: with one of them the "
            "outcomes of transactions would be lost; give it three replicas"
        )
    elif log is not None and log.replication >= MAX_REPLICATION and config.get("transaction.state.log.min.isr") == "1":
        found.append(
            "the brokers have transaction.state.log.min.isr=1: with one of them the outcomes of transactions may be "
            "lost; set it to 2"
        )
    return tuple(found)


def topic_risks(state: TopicState, config: Mapping[str, str], *, retention_ms: int, brokers: int) -> tuple[str, ...]:
    """Return, as sentences, what an existing topic's properties put at risk. Unknown properties are skipped.

    `retention_ms` is how long the source keeps the changes that the topic gets.
    """
    found = []
    if state.replication < min(MAX_REPLICATION, brokers):
        found.append(
            f"has replication={state.replication} on {brokers} brokers: what is committed may be lost with one of them"
        )
    elif state.replication >= MAX_REPLICATION and config.get("min.insync.replicas") == "1":
        found.append("has min.insync.replicas=1: what is committed may be lost with one broker; set it to 2")
    if config.get("unclean.leader.election.enable") == "true":
        found.append(
            "has unclean.leader.election.enable=true: a leader that was not in sync may lack what is committed; "
            "set it to false"
        )
    limit = next((config[name] for name in _TIMESTAMP_LIMITS if name in config), None)
    if limit is not None and int(limit) < retention_ms:
        found.append(
            f"has message.timestamp.before.max.ms={limit}: it refuses changes that are older, and the source keeps "
            f"them for {retention_ms} ms; raise it above"
        )
    return tuple(f"topic {state.name} {risk}" for risk in found)
