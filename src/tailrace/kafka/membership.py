"""Membership of the pipeline's consumer group: Kafka's rebalances say which lanes are this worker's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import ConsumerGroupDescription

from tailrace.kafka import clients
from tailrace.kafka.checkpoint_topic import topic_name
from tailrace.kafka.client_factory import ClientFactory
from tailrace.kafka.group_member import GroupMember
from tailrace.kafka.watched_consumer import Place


class Membership:
    """One member of a group over the lanes. `poll` must be called often, from one thread; callbacks run in it."""

    def __init__(
        self,
        user: Mapping[str, str],
        pipeline: str,
        owner: str,
        *,
        on_assigned: Callable[[list[int]], None],
        on_revoked: Callable[[list[int]], None],
        on_lost: Callable[[list[int]], None],
        on_replaced: Callable[[], None] = lambda: None,
        group: str | None = None,
    ) -> None:
        """Make it; the callbacks are those of a `GroupMember`, with lanes. `group` None: the pipeline's own."""
        self._topic = topic_name(pipeline)
        self._member = GroupMember(
            user,
            group or pipeline,
            owner,
            on_assigned=lambda places: on_assigned(_lanes(places)),
            on_revoked=lambda places: on_revoked(_lanes(places)),
            on_lost=lambda places: on_lost(_lanes(places)),
            on_replaced=on_replaced,
        )

    def join(self) -> None:
        """Subscribe; lanes come with later polls."""
        self._member.subscribe([self._topic])

    def poll(self, timeout_s: float) -> None:
        """Keep the membership alive, as `GroupMember.poll` does."""
        self._member.poll(timeout_s)

    def leave(self) -> None:
        """Leave the group: the others get the lanes at once."""
        self._member.leave()


def snapshot_group(pipeline: str) -> str:
    """Return the group of the pipeline's snapshot workers."""
    return f"{pipeline}.snapshot"


def _lanes(places: list[Place]) -> list[int]:
    return [place.partition for place in places]


class Group(msgspec.Struct, frozen=True):
    """The pipeline's group at a moment, by the members' client ids."""

    members: tuple[str, ...]
    owners: Mapping[int, str]
    """Each lane's owner; a lane that nobody owns is left out."""


def describe(user: Mapping[str, str], pipeline: str, factory: ClientFactory = clients) -> Group:
    """Describe the group. Raises WorldError."""
    admin = factory.admin(user)  # kept until the answer is there: without its client a future never ends

    def ask() -> Future[ConsumerGroupDescription]:
        return admin.describe_consumer_groups([pipeline], request_timeout=admin.timeout_s)[pipeline]

    try:
        description = clients.answer(ask, admin.timeout_s)
    except KafkaException as error:
        raise clients.world_error(error, f"describing the consumer group {pipeline}", user) from error
    owners = {
        partition.partition: member.client_id
        for member in description.members
        for partition in member.assignment.topic_partitions
        if partition.topic == topic_name(pipeline)
    }
    return Group(tuple(sorted(member.client_id for member in description.members)), owners)
