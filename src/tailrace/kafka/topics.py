"""Topics: make those that are missing, check those that are there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AclOperation, ConfigResource, NewPartitions, NewTopic, OffsetSpec

from tailrace.errors import UnreachableError, WorldError
from tailrace.kafka import clients
from tailrace.kafka.clients import Admin, LastingAdmin

MAX_REPLICATION = 3
LOOK_AGAIN_S = 60.0

BROKERS_AWAY = "wait until every broker is up; set `topics.replication` in the pipeline file if one is gone for good"
OTHER_TOPIC = "give one of them another topic, with `topic` or a `route` of `transform`, or leave it out with `exclude`"


def colliding(name: str, others: Iterable[str]) -> str | None:
    """Return a topic that Kafka does not let exist beside `name`: in names of metrics `.` and `_` are the same.

    Source: org.apache.kafka.common.internals.Topic.hasCollision
    """
    unified = name.replace(".", "_")
    return next((other for other in others if other != name and other.replace(".", "_") == unified), None)


class TopicSpec(msgspec.Struct, frozen=True):
    """What a topic should be like when it has to be made.

    `replication` None: three, or as many as there are brokers.
    """

    name: str
    partitions: int
    replication: int | None = None
    properties: Mapping[str, str] = {}


class TopicState(msgspec.Struct, frozen=True):
    """A topic as it is."""

    name: str
    partitions: int
    replication: int


class Cluster(msgspec.Struct, frozen=True):
    """A cluster as it is: every topic that this principal may see.

    `brokers` counts those that are down too, as far as they hold replicas: a restart must not cost new topics replicas.
    """

    id: str
    brokers: int
    any_broker: int
    topics: Mapping[str, TopicState]


def describe(admin: Admin, user: Mapping[str, str]) -> Cluster:
    """Describe the cluster. Raises WorldError when Kafka does not answer."""
    metadata = clients.metadata(admin, user)
    states = {
        name: TopicState(
            name, len(topic.partitions), min((len(p.replicas) for p in topic.partitions.values()), default=0)
        )
        for name, topic in metadata.topics.items()
    }
    every = [partition for topic in metadata.topics.values() for partition in topic.partitions.values()]
    brokers = metadata.brokers.keys() | {broker for partition in every for broker in partition.replicas}
    return Cluster(str(metadata.cluster_id), len(brokers), min(metadata.brokers), states)


def offsets_held(admin: Admin, user: Mapping[str, str], name: str) -> int:
    """Return how many offsets a topic holds, those of transaction markers too; 0 when there is no such topic."""
    state = describe(admin, user).topics.get(name)
    partitions = [TopicPartition(name, number) for number in range(state.partitions)] if state is not None else []
    held = 0
    try:
        for spec, sign in ((OffsetSpec.earliest(), -1), (OffsetSpec.latest(), 1)):  # type: ignore[no-untyped-call]
            futures = clients.offsets(admin, dict.fromkeys(partitions, spec))
            held += sign * sum(future.result() for future in futures.values())
    except KafkaException as error:
        raise clients.world_error(error, f"asking for the offsets of {name}", user) from error
    return held


def end_offsets(admin: Admin, user: Mapping[str, str], names: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Return the end offsets of topics, by partition, open transactions included. Raises WorldError."""
    return _offsets(admin, user, names, OffsetSpec.latest())  # type: ignore[no-untyped-call]


def forgetful(admin: Admin, user: Mapping[str, str], names: Collection[str], since_ms: int) -> list[str]:
    """Return those of the topics that may have deleted records of a time or later, by their retention.

    Raises WorldError.
    """
    firsts = _offsets(admin, user, names, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
    found = _offsets(admin, user, names, OffsetSpec.for_timestamp(since_ms))
    ends = end_offsets(admin, user, names)
    return [
        name
        for name, partitions in firsts.items()
        if any(
            first > 0 and first >= (at if at >= 0 else end)
            for first, at, end in zip(partitions, found[name], ends[name], strict=True)
        )
    ]


def _offsets(
    admin: Admin, user: Mapping[str, str], names: Collection[str], wanted: OffsetSpec
) -> dict[str, tuple[int, ...]]:
    """Return the offsets of topics that exist, by partition; -1 where no record is as new as `wanted`."""
    states = describe(admin, user).topics
    asked = {
        TopicPartition(name, number): wanted
        for name in names
        for number in range(states[name].partitions if name in states else 0)
    }
    try:
        futures = clients.offsets(admin, asked)
        offsets = {(each.topic, each.partition): future.result() for each, future in futures.items()}
    except KafkaException as error:
        raise clients.world_error(error, "asking for the offsets of topics", user) from error
    return {
        name: tuple(offsets[name, number] for number in range(states[name].partitions))
        for name in names
        if name in states
    }


def ensure(admin: Admin, user: Mapping[str, str], specs: list[TopicSpec]) -> dict[str, TopicState]:
    """Make the topics that are missing, and give all of `specs` as they are. Another worker may make them meanwhile."""
    cluster = describe(admin, user)
    states = cluster.topics
    missing = [spec for spec in specs if spec.name not in states]
    if missing:
        _make(admin, user, missing, cluster.brokers)
        states = describe(admin, user).topics
    made_now = {
        spec.name: TopicState(spec.name, spec.partitions, replication_of(spec, cluster.brokers))
        for spec in missing
        if spec.name not in states  # metadata may lag behind for a moment
    }
    return {spec.name: states.get(spec.name) or made_now[spec.name] for spec in specs}


class TopicKeeper:
    """Makes topics that are missing, one by one; looks only once a minute which there are: that tells of all topics.

    Safe to call from many threads at once.
    """

    def __init__(
        self, admin: LastingAdmin, user: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._admin = admin
        self._user = user
        self._clock = clock
        self._looked_s: float | None = None
        self._brokers = 0
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def ensure(self, spec: TopicSpec) -> None:
        """Make the topic if it is missing. Raises WorldError, UnreachableError when it may help to ask again."""
        with self._lock, self._admin.use() as admin:
            if self._looked_s is None or self._clock() - self._looked_s >= LOOK_AGAIN_S:
                cluster = describe(admin, self._user)
                self._brokers, self._known = cluster.brokers, set(cluster.topics)
                self._looked_s = self._clock()
            if spec.name not in self._known:
                _make(admin, self._user, [spec], self._brokers)
                self._known.add(spec.name)


def replication_of(spec: TopicSpec, brokers: int) -> int:
    """Return the replication factor that a new topic gets."""
    return spec.replication or min(MAX_REPLICATION, brokers)


def properties_of(spec: TopicSpec, brokers: int) -> dict[str, str]:
    """Return the properties that a new topic gets."""
    durable = {"min.insync.replicas": "2"} if replication_of(spec, brokers) >= MAX_REPLICATION else {}
    return {**durable, **spec.properties}


def add_partitions(admin: Admin, user: Mapping[str, str], name: str, partitions: int) -> None:
    """Raise a topic's number of partitions. Raises WorldError."""
    new = NewPartitions(name, partitions)
    try:
        admin.create_partitions([new], request_timeout=admin.timeout_s)[name].result()
    except KafkaException as error:
        raise clients.world_error(error, f"adding partitions to {name}", user) from error


def delete(admin: Admin, user: Mapping[str, str], name: str) -> None:
    """Delete a topic; one that does not exist is no error. Raises WorldError."""
    try:
        admin.delete_topics([name])[name].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise clients.world_error(error, f"deleting {name}", user) from error


def config(admin: Admin, user: Mapping[str, str], name: str) -> dict[str, str]:
    """Return a topic's properties; none when this principal may not see them. Raises WorldError.

    None, too, while the broker that answers does not know the topic: metadata may lag behind for a moment.
    """
    return _config(admin, user, ConfigResource(ConfigResource.Type.TOPIC, name), f"the topic {name}")


def most_bytes(admin: Admin, user: Mapping[str, str], names: Collection[str]) -> dict[str, int | None]:
    """Return what each topic takes at a time, in bytes; None when this principal may not see it. Raises WorldError."""
    resources = {name: ConfigResource(ConfigResource.Type.TOPIC, name) for name in names}
    futures = admin.describe_configs(list(resources.values()), request_timeout=admin.timeout_s)
    return {
        name: _most_bytes(_entries(partial(futures.__getitem__, each), f"the topic {name}", user))
        for name, each in resources.items()
    }


def _most_bytes(config: Mapping[str, str]) -> int | None:
    """Return the largest record batch that a topic accepts: `max.message.bytes`, or a segment if that is smaller."""
    limits = [int(config[name]) for name in ("max.message.bytes", "segment.bytes") if name in config]
    return min(limits, default=None)


def broker_config(admin: Admin, user: Mapping[str, str], broker: int) -> dict[str, str]:
    """Return a broker's properties; none when this principal may not see them. Raises WorldError."""
    return _config(admin, user, ConfigResource(ConfigResource.Type.BROKER, str(broker)), f"broker {broker}")


def _config(admin: Admin, user: Mapping[str, str], resource: ConfigResource, what: str) -> dict[str, str]:
    def ask() -> Future[Any]:
        return admin.describe_configs([resource], request_timeout=admin.timeout_s)[resource]

    return _entries(ask, what, user, admin.timeout_s)


def _entries(
    ask: Callable[[], Future[Any]], what: str, user: Mapping[str, str], timeout_s: float = 0
) -> dict[str, str]:
    try:
        entries = clients.answer(ask, timeout_s)
    except KafkaException as error:
        if clients.is_denial(error.args[0]) or error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return {}
        raise clients.world_error(error, f"reading the settings of {what}", user) from error
    return {entry.name: entry.value for entry in entries.values() if entry.value is not None}


def without_right_to_write(admin: Admin, user: Mapping[str, str], names: Collection[str]) -> set[str]:
    """Return the topics of `names` that this principal may not write (KIP-430). Raises UnreachableError."""
    futures = admin.describe_topics(
        TopicCollection(list(names)),
        include_authorized_operations=True,
        request_timeout=admin.timeout_s,
    )
    return {name for name, future in futures.items() if not _may_write(name, future, user)}


def _may_write(name: str, future: Future[Any], user: Mapping[str, str]) -> bool:
    try:
        operations = future.result().authorized_operations
    except KafkaException as error:
        failure = clients.world_error(error, f"asking for the rights on {name}", user)
        if isinstance(failure, UnreachableError):  # silence is no refusal
            raise failure from error
        return False
    return AclOperation.WRITE in operations


def _make(admin: Admin, user: Mapping[str, str], specs: list[TopicSpec], brokers: int) -> None:
    futures = admin.create_topics([_new_topic(spec, brokers) for spec in specs], request_timeout=admin.timeout_s)
    for spec in specs:
        _await_made(spec, brokers, futures[spec.name], user)


def _new_topic(spec: TopicSpec, brokers: int) -> NewTopic:
    return NewTopic(
        spec.name,
        num_partitions=spec.partitions,
        replication_factor=replication_of(spec, brokers),
        config=properties_of(spec, brokers),
    )


def _await_made(spec: TopicSpec, brokers: int, future: Future[Any], user: Mapping[str, str]) -> None:
    try:
        future.result()
    except KafkaException as error:
        cause = error.args[0]
        if cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return
        refusal = f"Kafka refuses to make topic {spec.name}: {cause.str()}"
        if cause.code() == KafkaError.INVALID_REPLICATION_FACTOR and replication_of(spec, brokers) <= brokers:
            # There are enough brokers, but not all take replicas: they are down, or have just started.
            raise UnreachableError(refusal, hint=BROKERS_AWAY) from error
        if cause.code() in {KafkaError.INVALID_CONFIG, KafkaError.INVALID_REPLICATION_FACTOR}:
            raise WorldError(refusal, hint="fix `topics` in the pipeline file") from error
        if cause.code() == KafkaError.TOPIC_EXCEPTION:
            raise WorldError(refusal, hint=OTHER_TOPIC) from error
        raise clients.world_error(error, f"making topic {spec.name}", user) from error
