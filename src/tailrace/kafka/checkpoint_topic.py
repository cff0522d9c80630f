"""The checkpoint topic `<name>.checkpoints`: made, checked, and followed by every worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from tailrace.core.checkpoint import ActiveMethod, Method, TopicKey, TopicRecord
from tailrace.core.checkpoint_bytes import decode
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.errors import FormatVersionError, UnderSwitchError, WorldError
from tailrace.kafka import clients, topics
from tailrace.kafka.client_factory import ClientFactory
from tailrace.kafka.clients import Admin
from tailrace.kafka.topics import TopicSpec
from tailrace.kafka.watched_consumer import COMMITTED, WatchedConsumer
from tailrace.remedy import AwaitSwitch, FinishRescale, RunPipeline, SetLanes, SwitchSource, SwitchTo

_POLL_S = 0.5
_LOOK_AHEAD_S = 60.0
_LOOK_AHEAD_POLL_S = 0.5
_MEETS_ENDS = {"fetch.wait.max.ms": 0}
"""An end is only met by a fetch that finds nothing. One that waits for data, as they do, never does in a lane that is
written to all the time."""
_FATAL = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
}


def topic_name(pipeline: str) -> str:
    """Return the name of a pipeline's checkpoint topic."""
    return f"{pipeline}.checkpoints"


def spec(pipeline: str, lanes: int, replication: int | None) -> TopicSpec:
    """Return what the topic must be like: compacted, a partition for each lane.

    Kafka compacts a segment only once it is closed, and whoever starts reads it all before: small ones, then. The
    size is the smallest that Confluent Cloud allows.
    """
    return TopicSpec(
        topic_name(pipeline), lanes, replication, {"cleanup.policy": "compact", "segment.bytes": "52428800"}
    )


def check_lanes(pipeline: str, asked: int, partitions: int) -> None:
    """Refuse another number of lanes than the topic has: a shard would have two lanes that do not fence each other."""
    if asked != partitions:
        raise WorldError(
            f"the file asks for {asked} lanes, but {topic_name(pipeline)} has {partitions}",
            remedy=SetLanes(partitions, or_rescale=asked > partitions),
        )


def ensure(admin: Admin, user: Mapping[str, str], pipeline: str, lanes: int, replication: int | None) -> None:
    """Make the topic if it is missing; raise WorldError if it has another number of lanes or is not compacted."""
    state = topics.ensure(admin, user, [spec(pipeline, lanes, replication)])[topic_name(pipeline)]
    check(admin, user, pipeline, lanes, state.partitions)


def check(admin: Admin, user: Mapping[str, str], pipeline: str, lanes: int, partitions: int) -> None:
    """Raise WorldError if the topic, which exists, has another number of lanes or is not compacted."""
    check_lanes(pipeline, lanes, partitions)
    policy = topics.config(admin, user, topic_name(pipeline)).get("cleanup.policy", "compact")
    if policy != "compact":
        raise WorldError(
            f"{topic_name(pipeline)} has cleanup.policy={policy}: Kafka would delete checkpoints",
            hint=f"set it to compact: kafka-configs --alter --topic {topic_name(pipeline)} "
            "--add-config cleanup.policy=compact",
        )


def existing_lanes(admin: Admin, user: Mapping[str, str], pipeline: str) -> int:
    """Return the number of lanes of a pipeline that exists. Raises WorldError when it does not."""
    state = topics.describe(admin, user).topics.get(topic_name(pipeline))
    if state is None:
        raise WorldError(
            f"the pipeline {pipeline} does not exist yet: Kafka has no topic {topic_name(pipeline)}",
            remedy=RunPipeline(),
        )
    return state.partitions


def check_rescaled(pipeline: str, checkpoint_state: CheckpointState) -> None:
    """Raise WorldError when the number of lanes is not the pipeline's: shards are in other lanes than it says.

    A worker asks at its start and again whenever the checkpoint state changes, before a lane can be its own: a rescale
    leaves its mark in each lane as it moves the lane's shards.
    """
    if checkpoint_state.is_rescaled:
        raise WorldError(
            f"the pipeline {pipeline} was rescaled from {checkpoint_state.lane_count} lanes, or is being rescaled",
            remedy=FinishRescale(),
        )


def check_method(pipeline: str, method: Method, mine: ActiveMethod) -> None:
    """Raise WorldError when another method publishes: its producers and ours would not fence each other."""
    if method == mine:
        return
    if method == "none":
        raise UnderSwitchError(
            f"the pipeline {pipeline} is being switched to another method, so the {mine} may not publish",
            remedy=AwaitSwitch(),
        )
    raise WorldError(
        f"the pipeline {pipeline} is served by the method {method}, so the {mine} may not publish",
        remedy=SwitchTo(mine),
    )


def check_source(pipeline: str, checkpoint_state: CheckpointState, mine: str) -> None:
    """Raise WorldError when the pipeline was switched to another kind of source than the file's."""
    switched_to = checkpoint_state.source_type
    if switched_to is not None and switched_to != mine:
        raise WorldError(
            f"the pipeline {pipeline} was switched to `source.type: {switched_to}`, and the file has {mine}",
            remedy=SwitchSource(),
        )


class Followed(NamedTuple):
    """One committed record of the topic."""

    partition: int
    key: TopicKey
    record: TopicRecord | None


class Follower:
    """Reads partitions from the beginning, committed records only, in the order of each partition."""

    def __init__(
        self,
        user: Mapping[str, str],
        pipeline: str,
        lanes: Iterable[int],
        *,
        to_end: bool = False,
        on_replaced: Callable[[], None] = lambda: None,
        factory: ClientFactory = clients,
    ) -> None:
        """Begin to read `lanes`. `to_end`: the caller waits for `has_reached_end`.

        `on_replaced` hears each time that the client had stopped and a new one goes on in its place.
        """
        self._user = user
        self._factory = factory
        self._topic = topic_name(pipeline)
        self._at_end: set[int] = set()
        self._lanes: set[int] = set()
        self._properties = {
            "group.id": f"{pipeline}.follower",  # required by the client; nothing joins or commits
            **COMMITTED,
            **(_MEETS_ENDS if to_end else {}),
        }
        self._consumer = WatchedConsumer(user, self._properties, f"follower of {self._topic}", on_replaced, factory)
        clients.learn_leaders(self._consumer.client, self._topic)
        self.follow(lanes)

    def follow(self, lanes: Iterable[int]) -> None:
        """Read these lanes too."""
        new = sorted(set(lanes) - self._lanes)
        self._lanes.update(new)
        if new:
            self._consumer.assign(TopicPartition(self._topic, lane, OFFSET_BEGINNING) for lane in new)

    @property
    def has_reached_end(self) -> bool:
        """Every partition was read up to what was its end at some moment."""
        return not self.unread

    @property
    def unread(self) -> set[int]:
        """The partitions that were not read to an end yet."""
        return self._lanes - self._at_end

    @property
    def whole_s(self) -> float | None:
        """Up to when, by the factory's clock, all committed records of all partitions were surely read."""
        return self._consumer.whole_s

    def poll(self, timeout_s: float) -> list[Followed]:
        """Return the next records; none when nothing came in time. Raises WorldError when the topic cannot be read.

        A client that has stopped while the topic goes on is replaced; StalledError is raised when that does not help.

        Of the records of a key only the last is given, as if the topic had been compacted: decoding all of them is
        most of what a start costs. A record that is not Tailrace's own raises WorldError too, unless a later one of
        its key replaces it: so it can be taken back.
        """
        try:
            messages = self._consumer.read(timeout_s)
        except KafkaException as error:
            raise clients.world_error(error, f"reading {self._topic}", self._user) from error
        last: dict[tuple[int, bytes | None], Message] = {}
        for message in messages:
            refusal = message.error()
            partition = message.partition() or 0
            if refusal is None:
                place = partition, clients.as_bytes(message.key())
                last.pop(place, None)
                last[place] = message
            elif refusal.code() == KafkaError._PARTITION_EOF:
                self._at_end.add(partition)
            elif refusal.code() in _FATAL:
                raise clients.world_error(refusal, f"reading {self._topic}", self._user)
            else:
                clients.tell(refusal)
        followed = (self._followed(partition, key, message) for (partition, key), message in last.items())
        return [record for record in followed if record is not None]

    def read_until(
        self,
        condition: Callable[[], bool],
        take: Callable[[int, TopicKey, TopicRecord | None], None],
        timeout_s: float,
    ) -> bool:
        """Hand every record to `take` until `condition` holds; return whether it did in time. Raises as `poll` does."""
        deadline_s = self._factory.monotonic_s() + timeout_s
        while not condition():
            left_s = deadline_s - self._factory.monotonic_s()
            if left_s <= 0:
                return False
            for followed in self.poll(min(_POLL_S, left_s)):
                take(*followed)
        return True

    def _followed(self, partition: int, key: bytes | None, message: Message) -> Followed | None:
        offset, value = message.offset() or 0, clients.as_bytes(message.value())
        try:
            return Followed(partition, *decode(key, value, f"{self._topic}, partition {partition}, offset {offset}"))
        except FormatVersionError:
            raise
        except WorldError:
            if value is not None and not self._is_replaced(partition, key, offset):
                raise
            return None

    def _is_replaced(self, partition: int, key: bytes | None, offset: int) -> bool:
        """Read on to the partition's end: tell whether a later record has this key."""
        consumer = self._factory.consumer(self._user, self._properties | _MEETS_ENDS)
        deadline_s = self._factory.monotonic_s() + _LOOK_AHEAD_S
        try:
            consumer.assign([TopicPartition(self._topic, partition, offset + 1)])
            while self._factory.monotonic_s() < deadline_s:
                message = consumer.poll(_LOOK_AHEAD_POLL_S)
                refusal = message.error() if message is not None else None
                if refusal is not None and refusal.code() == KafkaError._PARTITION_EOF:
                    return False
                if message is not None and refusal is None and clients.as_bytes(message.key()) == key:
                    return True
        finally:
            consumer.close()
        return False

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()


def read_checkpoint_state(
    user: Mapping[str, str],
    pipeline: str,
    lane_count: int,
    timeout_s: float = 30.0,
    *,
    lanes: Iterable[int] | None = None,
    factory: ClientFactory = clients,
) -> CheckpointState:
    """Read the topic once, up to its present end; all of it, or only some lanes.

    Raises WorldError when that takes longer than `timeout_s`, or a rescale is unfinished.
    """
    follower = Follower(user, pipeline, range(lane_count) if lanes is None else lanes, to_end=True, factory=factory)
    checkpoint_state = CheckpointState(lane_count)
    try:
        if not follower.read_until(lambda: follower.has_reached_end, checkpoint_state.apply, timeout_s):
            unread = ", ".join(map(str, sorted(follower.unread)))
            raise WorldError(
                f"{topic_name(pipeline)} could not be read to its end within {timeout_s:.0f} s",
                hint=f"check that its partitions have leaders, above all {unread}",
            )
    finally:
        follower.close()
    check_rescaled(pipeline, checkpoint_state)
    return checkpoint_state
