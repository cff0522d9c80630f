"""Asks Kafka which topics there are, who they are, and what their partitions hold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import OffsetSpec

from tailrace.kafka import clients
from tailrace.kafka.clients import LastingAdmin
from tailrace.kafka.watched_consumer import Place
from tailrace.sinks.progress import Extent

_GONE = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}


class Topics:
    """For one thread. What does not exist is left out of an answer. Every call may raise WorldError."""

    def __init__(self, user: Mapping[str, str]) -> None:
        self._user = user
        self._admin = LastingAdmin(user)

    def find(self, wanted: Callable[[str], bool]) -> set[Place]:
        """Return the partitions of the wanted topics."""
        with self._admin.use() as admin:
            topics = clients.metadata(admin, self._user).topics
        return {Place(name, each) for name, topic in topics.items() if wanted(name) for each in topic.partitions}

    def ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the id of each topic."""
        with self._admin.use() as admin:
            asked = admin.describe_topics(TopicCollection(list(topics)), request_timeout=admin.timeout_s)
            found = {}
            for topic, future in asked.items():
                try:
                    found[topic] = str(future.result().topic_id)
                except KafkaException as error:
                    if error.args[0].code() not in _GONE:
                        raise clients.world_error(error, f"describing the topic {topic}", self._user) from error
            return found

    def extents(self, places: Collection[Place]) -> dict[Place, Extent]:
        """Return what each partition holds: its topic's id is asked for before the offsets, which may be newer."""
        ids = self.ids({place.topic for place in places})
        known = [place for place in places if place.topic in ids]
        starts = self._offsets(known, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # as the library is
        ends = self.ends(known)
        return {
            place: Extent(starts[place], ends[place], ids[place.topic])
            for place in known
            if place in starts and place in ends
        }

    def ends(self, places: Collection[Place]) -> dict[Place, int]:
        """Return the high watermark of each partition."""
        return self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # as the library is

    def _offsets(self, places: Collection[Place], spec: OffsetSpec) -> dict[Place, int]:
        with self._admin.use() as admin:
            asked = clients.offsets(admin, {TopicPartition(*place): spec for place in places})
            found = {}
            for where, future in asked.items():
                try:
                    found[Place(where.topic, where.partition)] = future.result()
                except KafkaException as error:
                    if error.args[0].code() not in _GONE:
                        attempted = f"asking for the offsets of {where.topic} [{where.partition}]"
                        raise clients.world_error(error, attempted, self._user) from error
            return found
