"""A member of a consumer group that reads nothing: Kafka's rebalances say which partitions are this process's.

The group's consumer only shares out the work, so its partitions are paused and it commits no offsets. Assignment is
cooperative-sticky (KIP-429): partitions that stay are not interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from threading import Thread
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from tailrace.kafka import clients
from tailrace.kafka.client_watch import ClientWatch
from tailrace.kafka.clients import Admin
from tailrace.kafka.watched_consumer import Place

SESSION_TIMEOUT_MS = 10_000
"""A member silent for so long has lost its partitions. What it held is fenced at any value; this bounds the wait."""

_FATAL = {
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError._FATAL,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
}


class GroupMember:
    """One member of a group. `poll` must be called often, from one thread; callbacks run in it."""

    def __init__(
        self,
        user: Mapping[str, str],
        group: str,
        client_id: str,
        *,
        on_assigned: Callable[[list[Place]], None],
        on_revoked: Callable[[list[Place]], None],
        on_lost: Callable[[list[Place]], None],
        on_replaced: Callable[[], None] = lambda: None,
    ) -> None:
        """Make it; `on_revoked` may block until the partitions are given back, `on_lost` need not.

        `on_replaced` hears each time that the group did not know the client and a new one joins in its place.
        """
        self._user = user
        self._group = group
        self._topics: list[str] = []
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._on_lost = on_lost
        self._properties = {
            "group.id": group,
            "client.id": client_id,
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": user.get("session.timeout.ms", SESSION_TIMEOUT_MS),
            "heartbeat.interval.ms": user.get("heartbeat.interval.ms", SESSION_TIMEOUT_MS // 5),
        }
        self._held: set[Place] = set()
        self._consumer = clients.consumer(user, self._properties)
        self._watch: ClientWatch[str] = ClientWatch(
            user, f"member of the group {group}", on_replaced, ask=self._ask_for_group, behind=self._is_unknown
        )

    def subscribe(self, topics: Iterable[str]) -> None:
        """Take part in these topics, and in no others from now on; their partitions come with later polls."""
        self._topics = sorted(topics)
        self._consumer.subscribe(self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def poll(self, timeout_s: float) -> None:
        """Keep the membership alive, with a new client if the group does not know this one.

        Raises WorldError when the group refuses this member, StalledError when it does not know the new ones either.
        """
        if self._watch.must_replace():
            self._rejoin()
        message = self._consumer.poll(timeout_s)
        error = message.error() if message is not None else None
        if error is None:
            return
        if error.code() in _FATAL:
            raise clients.world_error(error, f"joining the consumer group {self._group}", self._user)
        clients.tell(error)

    def leave(self) -> None:
        """Leave the group: the others get the partitions at once."""
        self._consumer.close()

    def _rejoin(self) -> None:
        dropped, self._consumer = self._consumer, clients.consumer(self._user, self._properties)
        clients.drop(dropped)
        lost, self._held = self._held, set()
        if lost:
            self._on_lost(sorted(lost))
        self.subscribe(self._topics)

    def _ask_for_group(self, admin: Admin) -> dict[str, Future[Any]]:
        """Ask in a thread, as the call blocks."""
        members: Future[Any] = Future()

        def ask() -> None:
            try:
                members.set_result(admin.members_of(self._group))
            except Exception as error:  # the watch takes it for no answer
                members.set_exception(error)

        Thread(target=ask, name="group", daemon=True).start()
        return {self._group: members}

    def _is_unknown(self, members: dict[str, Any]) -> dict[str, int]:
        """Return the group if it does not know this member: its heartbeats and attempts to join have failed."""
        mine = self._consumer.memberid()
        return {group: 0 for group, known in members.items() if mine not in known}

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        consumer.pause(partitions)
        places = [Place(each.topic, each.partition) for each in partitions]
        self._held.update(places)
        self._on_assigned(places)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_back(consumer, partitions, self._on_revoked)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_back(consumer, partitions, self._on_lost)

    def _give_back(
        self, consumer: Consumer, partitions: list[TopicPartition], tell: Callable[[list[Place]], None]
    ) -> None:
        if consumer is self._consumer:  # what the one that was dropped gives back may have come to the new one
            places = [Place(each.topic, each.partition) for each in partitions]
            self._held.difference_update(places)
            tell(places)
        consumer.incremental_unassign(partitions)
