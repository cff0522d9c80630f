"""Membership of the pipeline's consumer group: Kafka's rebalance says which lanes are this worker's.

The group's consumer reads nothing: its partitions are paused. Assignment is cooperative-sticky (KIP-429): lanes that
stay are not interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from threading import Thread
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ConsumerGroupDescription

from tailrace.kafka import clients
from tailrace.kafka.checkpoint_topic import topic_name
from tailrace.kafka.client_watch import ClientWatch
from tailrace.kafka.clients import Admin

SESSION_TIMEOUT_MS = 10_000
"""A worker silent for so long has lost its lanes. Fencing keeps exactly-once at any value; this bounds the wait."""

_FATAL = {
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError._FATAL,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
}


class Membership:
    """One member of the group `<pipeline>`. `poll` must be called often, from one thread; callbacks run in it."""

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
    ) -> None:
        """Make it; `on_revoked` may block until the lanes are given back, `on_lost` need not.

        `on_replaced` hears each time that the group did not know the client and a new one joins in its place.
        """
        self._user = user
        self._pipeline = pipeline
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._on_lost = on_lost
        self._properties = {
            "group.id": pipeline,
            "client.id": owner,
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": user.get("session.timeout.ms", SESSION_TIMEOUT_MS),
            "heartbeat.interval.ms": user.get("heartbeat.interval.ms", SESSION_TIMEOUT_MS // 5),
        }
        self._held: set[int] = set()
        self._consumer = clients.consumer(user, self._properties)
        self._watch: ClientWatch[str] = ClientWatch(
            user, f"member of the group {pipeline}", on_replaced, ask=self._ask_for_group, behind=self._is_unknown
        )

    def join(self) -> None:
        """Subscribe; lanes come with later polls."""
        self._consumer.subscribe(
            [topic_name(self._pipeline)], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def poll(self, timeout_s: float) -> None:
        """Keep the membership alive, with a new client if the group does not know this one.

        Raises WorldError when the group refuses this worker, StalledError when it does not know the new ones either.
        """
        if self._watch.must_replace():
            self._rejoin()
        message = self._consumer.poll(timeout_s)
        error = message.error() if message is not None else None
        if error is None:
            return
        if error.code() in _FATAL:
            raise clients.world_error(error, f"joining the consumer group {self._pipeline}", self._user)
        clients.tell(error)

    def leave(self) -> None:
        """Leave the group: the others get the lanes at once."""
        self._consumer.close()

    def _rejoin(self) -> None:
        dropped, self._consumer = self._consumer, clients.consumer(self._user, self._properties)
        clients.drop(dropped)
        lost, self._held = self._held, set()
        if lost:
            self._on_lost(sorted(lost))
        self.join()

    def _ask_for_group(self, admin: Admin) -> dict[str, Future[Any]]:
        """Ask in a thread, as the call blocks."""
        members: Future[Any] = Future()

        def ask() -> None:
            try:
                members.set_result(admin.members_of(self._pipeline))
            except Exception as error:  # the watch takes it for no answer
                members.set_exception(error)

        Thread(target=ask, name="group", daemon=True).start()
        return {self._pipeline: members}

    def _is_unknown(self, members: dict[str, Any]) -> dict[str, int]:
        """Return the group if it does not know this member: its heartbeats and attempts to join have failed."""
        mine = self._consumer.memberid()
        return {group: 0 for group, known in members.items() if mine not in known}

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        consumer.pause(partitions)
        lanes = [partition.partition for partition in partitions]
        self._held.update(lanes)
        self._on_assigned(lanes)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_back(consumer, partitions, self._on_revoked)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_back(consumer, partitions, self._on_lost)

    def _give_back(
        self, consumer: Consumer, partitions: list[TopicPartition], tell: Callable[[list[int]], None]
    ) -> None:
        if consumer is self._consumer:  # what the one that was dropped gives back may have come to the new one
            lanes = [partition.partition for partition in partitions]
            self._held.difference_update(lanes)
            tell(lanes)
        consumer.incremental_unassign(partitions)


class Group(msgspec.Struct, frozen=True):
    """The pipeline's group at a moment, by the members' client ids."""

    members: tuple[str, ...]
    owners: Mapping[int, str]
    """Each lane's owner; a lane that nobody owns is left out."""


def describe(user: Mapping[str, str], pipeline: str) -> Group:
    """Describe the group. Raises WorldError."""
    admin = clients.admin(user)  # kept until the answer is there: without its client a future never ends

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
