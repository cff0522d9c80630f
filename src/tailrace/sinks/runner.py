"""Carries the committed records of topics into a sink: a consumer group whose positions live in the target alone.

Of each partition that the group gives to this process: claim it in the target, read from where the target says, write,
commit records and position together. Kafka holds no offsets of the group; it only shares out the partitions.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, Protocol

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from tailrace.errors import UnreachableError, WorldError
from tailrace.kafka import clients
from tailrace.kafka.group_member import GroupMember
from tailrace.kafka.watched_consumer import Place, WatchedConsumer, passes
from tailrace.remedy import Remedy
from tailrace.sinks.contract import FencedError, LaterError, Sink
from tailrace.sinks.progress import Extent, Limits, Obstacle, OpenBatch, Position, has_all, resume_offset
from tailrace.sinks.topics import Topics

logger = logging.getLogger("tailrace.sinks")

READ_S: Final = 0.2
"""How long a step waits for records."""
LOOK_MS: Final = 5_000
"""Time between two looks for new topics, and at what other processes have committed."""
PAUSE_MS: Final = 3_000
"""A partition that was not claimed, or that another claimed, is claimed again only then: a process that slept learns
first that its partitions have gone."""
EARLY_MS: Final = (1_000, 60_000)
"""A partition whose next record is too young is claimed again when it is old enough: shortest and longest wait."""
SHORT_LOOKS: Final = 5
"""So often a partition must end before the target's position: a new leader may not know its end for a moment."""
QUEUE_KBYTES: Final = 16 << 10
"""What is fetched ahead, and so what one step reads at the most."""

_CAUSES: Final[Mapping[Obstacle, str]] = {
    Obstacle.DELETED: "retention deleted them before they were read",
    Obstacle.BEYOND_END: "the topic was deleted and made again, or lost records",
    Obstacle.RECREATED: "its offsets begin again, and the target has those of the topic before",
}
_BEGIN_AGAIN: Final = (
    "to begin again with what Kafka has, stop all that write to the target and move what it has of the partition away"
)

OnPlaces = Callable[[list[Place]], None]


class Member(Protocol):
    """What the runner asks of a `GroupMember`."""

    def subscribe(self, topics: Iterable[str]) -> None:
        """Take part in these topics."""
        ...

    def poll(self, timeout_s: float) -> None:
        """Pass rebalances to the callbacks."""
        ...

    def leave(self) -> None:
        """Leave the group."""
        ...


class Reader(Protocol):
    """What the runner asks of a `WatchedConsumer`."""

    positions: dict[Place, int]

    def assign(self, starts: Iterable[TopicPartition]) -> None:
        """Read these partitions too."""
        ...

    def unassign(self, places: Iterable[Place]) -> None:
        """Read these no more."""
        ...

    def read(self, timeout_s: float) -> list[Message]:
        """Return what is there."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Cluster(Protocol):
    """What the runner asks of `Topics`."""

    def find(self, wanted: Callable[[str], bool]) -> set[Place]:
        """Return the partitions of the wanted topics."""
        ...

    def ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the topics' ids."""
        ...

    def extents(self, places: Collection[Place]) -> dict[Place, Extent]:
        """Return what partitions hold."""
        ...


class Totals(msgspec.Struct):
    """What a runner has committed of a topic."""

    records: int = 0
    size_bytes: int = 0
    """Of their keys and values."""
    batches: int = 0


class _Open(msgspec.Struct):
    """A claimed partition."""

    batch: OpenBatch
    topic_id: str


class Runner:
    """One process of a sink. `run` blocks, and everything happens in the thread that calls it."""

    def __init__(
        self,
        user: Mapping[str, str],
        sink: Sink,
        wanted: Callable[[str], bool],
        limits: Limits,
        *,
        until_end: bool,
        when_deleted: Remedy | None = None,
        cluster: Cluster,
        reader: Reader,
        make_member: Callable[[OnPlaces, OnPlaces, OnPlaces], Member],
        delay_ms: int = 0,
        now_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
        epoch_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Make it; `connect` does so for a real Kafka. `wanted` says which topics are carried.

        A record is carried when its timestamp is `delay_ms` ago by `epoch_ms`, milliseconds since the epoch.

        `make_member` is given what hears of partitions that are assigned, revoked and lost.
        """
        self.totals: dict[str, Totals] = {}
        """By topic."""
        self.last_commit_s: dict[str, float] = {}
        """When records of a topic were last committed; seconds since the epoch."""
        self.fenced = 0
        """How often another process had claimed a partition that this one wrote to."""
        self._user = user
        self._sink = sink
        self._wanted = wanted
        self._limits = limits
        self._until_end = until_end
        self._when_deleted = when_deleted
        self._cluster = cluster
        self._reader = reader
        self._delay_ms = delay_ms
        self._now_ms = now_ms
        self._epoch_ms = epoch_ms
        self._unclaimed: dict[Place, int] = {}
        """Partitions of this process that it has not claimed, and from when on it may."""
        self._open: dict[Place, _Open] = {}
        self._short: Counter[Place] = Counter()
        self._topics: set[str] = set()
        self._look_ms: int | None = None
        """When to look again; None before the first look."""
        self._missing: dict[Place, Extent] = {}
        """What the partitions held at the first look that the target has not got whole."""
        self._member = make_member(self._assigned, self._revoked, self._lost)

    @property
    def committed(self) -> dict[Place, int]:
        """The position that the target has of each partition which this process has claimed."""
        return {place: held.batch.committed for place, held in self._open.copy().items()}

    @property
    def is_at_end(self) -> bool:
        """Whether the target has all that Kafka held at the start; asked for with `until_end`."""
        return self._until_end and self._look_ms is not None and not self._missing

    def run(self, stopped: Callable[[], bool], on_step: Callable[[], None] = lambda: None) -> None:
        """Carry records until `stopped`, or with `until_end` until the target has all that Kafka held at the start.

        What was read is committed at the end, but not when it fails. `on_step` is called some times a second. Raises
        WorldError, also when Kafka no longer has what the target lacks.
        """
        try:
            while not (stopped() or self.is_at_end):
                self.step()
                on_step()
            self._commit(list(self._open))
        except KafkaException as error:
            raise clients.world_error(error, "reading the topics", self._user) from error
        finally:
            self._sink.release(list(self._open))
            self._open.clear()  # leaving revokes them
            self._member.leave()
            self._reader.close()

    def step(self) -> None:
        """Do what there is to do, and wait for records for a moment."""
        self._member.poll(0)
        now_ms = self._now_ms()
        if self._look_ms is None or now_ms >= self._look_ms:
            self._look(first=self._look_ms is None)
            self._look_ms = now_ms + LOOK_MS
        self._claim([place for place, due_ms in self._unclaimed.items() if due_ms <= now_ms])
        self._write(self._reader.read(READ_S))
        self._commit(self._due())

    def _look(self, *, first: bool) -> None:
        """Look for topics, and how far the target is; a later look may fail, as there will be another."""
        try:
            places = self._cluster.find(self._wanted)
            if first and self._until_end:
                self._missing = self._cluster.extents(places)
        except UnreachableError:
            if first:
                raise
            return
        topics = {place.topic for place in places}
        self._commit([place for place in self._open if place.topic not in topics])  # deleted: nothing will follow
        if topics and topics != self._topics:
            self._topics = topics
            self._member.subscribe(topics)
        self._missing = {
            place: extent for place, extent in self._missing.items() if not has_all(self._position(place), extent)
        }

    def _position(self, place: Place) -> Position | None:
        held = self._open.get(place)
        return Position(held.batch.committed, held.topic_id) if held else self._sink.position(place)

    def _assigned(self, places: list[Place]) -> None:
        self._unclaimed.update(dict.fromkeys(places, self._now_ms()))

    def _revoked(self, places: list[Place]) -> None:
        """Commit what was read, before others get the partitions; of a topic that is deleted it comes never again."""
        self._commit([place for place in places if place in self._open])
        self._lost(places)

    def _lost(self, places: list[Place]) -> None:
        """Drop what is not committed of partitions that others may have by now: they read it again."""
        self._drop(places)
        for place in places:
            self._unclaimed.pop(place, None)
            self._short.pop(place, None)

    def _drop(self, places: list[Place]) -> None:
        self._reader.unassign(places)
        self._sink.release(places)
        for place in places:
            self._open.pop(place, None)

    def _claim(self, places: list[Place]) -> None:
        if not places:
            return
        for place in places:  # unless it is claimed below
            self._unclaimed[place] = self._now_ms() + PAUSE_MS
        try:
            ids = self._cluster.ids({place.topic for place in places})
            positions = {place: self._sink.claim(place, ids[place.topic]) for place in places if place.topic in ids}
            # Asked for last: what the target has was in Kafka before.
            extents = self._cluster.extents(list(positions))
        except (UnreachableError, FencedError) as error:
            logger.warning("partitions not claimed", extra={"detail": str(error) or "another process claims them"})
            return
        for place, extent in extents.items():
            start = resume_offset(positions[place], extent)
            if isinstance(start, Obstacle):
                self._meet(place, start, positions[place], extent)
                continue
            del self._unclaimed[place]
            self._short.pop(place, None)
            position = positions[place]
            batch = OpenBatch(start, position.bound if position else None)
            self._open[place] = _Open(batch, ids[place.topic])
            self._reader.assign([TopicPartition(*place, start)])
            logger.info("partition claimed", extra={**place._asdict(), "offset": start})

    def _meet(self, place: Place, obstacle: Obstacle, position: Position | None, extent: Extent) -> None:
        """Raise the WorldError that says what is missing, unless it may pass."""
        self._short[place] += 1
        if obstacle is Obstacle.BEYOND_END and self._short[place] < SHORT_LOOKS:
            return
        remedy = self._when_deleted if obstacle is Obstacle.DELETED else None
        raise WorldError(
            f"{place} {obstacle.value}: the target has it up to offset {position.next_offset if position else 0}, "
            f"Kafka has {extent.start} to {extent.end}",
            hint=_CAUSES[obstacle] if remedy is not None else f"{_CAUSES[obstacle]}; {_BEGIN_AGAIN}",
            remedy=remedy,
        )

    def _write(self, messages: list[Message]) -> None:
        records: defaultdict[Place, list[Message]] = defaultdict(list)
        ended: list[Place] = []
        """Partitions whose next offset is not there any more."""
        for message in messages:
            place, error = Place(message.topic() or "", message.partition() or 0), message.error()
            if error is None:
                records[place].append(message)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                ended.append(place)
            elif not passes(error):
                raise clients.world_error(error, f"reading {place}", self._user)
        for place, read in records.items():
            held = self._open.get(place)
            bound = held.batch.bound if held else None
            if bound is None or self._reader.positions.get(place, -1) < bound:
                self._add(place, read)
                continue
            self._add(place, [each for each in read if (each.offset() or 0) < bound])
            self._commit([place] if place in self._open else [])
            if held is not None and held.batch.bound is None:
                self._add(place, [each for each in read if (each.offset() or 0) >= bound])
            else:  # not committed: what lies behind the bound is read again
                self._reclaim(place)
        self._commit([place for place in ended if place in self._open])
        for place in ended:
            self._reclaim(place)

    def _add(self, place: Place, records: list[Message]) -> None:
        """Write records of a partition, unless it has been lost."""
        held = self._open.get(place)
        if held is None or not records:
            return
        early = self._early(records)
        if early < len(records):
            self._hold(place, records[:early], records[early])
            return
        try:
            self._sink.write(place, records)
        except FencedError:
            self._lose(place)
        else:
            held.batch.add(len(records), sum(len(each.key() or b"") + len(each.value() or b"") for each in records))

    def _early(self, records: list[Message]) -> int:
        """Return the place of the first record that is too young; the number of records where none is."""
        if not self._delay_ms:
            return len(records)
        old_ms = self._epoch_ms() - self._delay_ms
        return next((index for index, each in enumerate(records) if each.timestamp()[1] > old_ms), len(records))

    def _hold(self, place: Place, records: list[Message], early: Message) -> None:
        """Commit what comes before a record that is too young, and read on from there once it is old enough."""
        self._add(place, records)
        held = self._open.get(place)
        if held is not None:
            held.batch.bound = early.offset()
            self._commit([place])
        self._reclaim(place)
        if place in self._unclaimed:
            wait_ms = early.timestamp()[1] + self._delay_ms - self._epoch_ms()
            self._unclaimed[place] = self._now_ms() + min(max(wait_ms, EARLY_MS[0]), EARLY_MS[1])

    def _due(self) -> list[Place]:
        """Return the partitions to commit: one that is full alone, all when one has waited or all have ended.

        A target that takes several partitions in one commit gets few commits so.
        """
        now_ms = self._now_ms()
        due = [place for place in self._open if self._is_due(place, now_ms)]
        has_waited = any(self._open[place].batch.has_waited(self._limits, now_ms) for place in due)
        asked = {place: self._missing[place].end for place in self._open if place in self._missing}
        has_ended = asked and all(end <= self._reader.positions.get(place, -1) for place, end in asked.items())
        return list(self._open) if has_waited or has_ended else due

    def _is_due(self, place: Place, now_ms: int) -> bool:
        batch, position = self._open[place].batch, self._reader.positions.get(place, -1)
        if position > batch.committed and self._sink.is_full(place):
            return True
        return batch.is_due(position, self._limits, now_ms)

    def _commit(self, places: list[Place]) -> None:
        if not places:
            return
        try:  # after reading: a topic that has its id still had it when it was read
            ids = self._cluster.ids({place.topic for place in places})
        except UnreachableError:
            return
        ends: dict[Place, int] = {}
        for place in places:
            held = self._open[place]
            if ids.get(place.topic, held.topic_id) != held.topic_id:
                raise WorldError(
                    f"{place} {Obstacle.RECREATED.value}", hint=f"{_CAUSES[Obstacle.RECREATED]}; {_BEGIN_AGAIN}"
                )
            end = held.batch.end(self._reader.positions.get(place, held.batch.committed))
            if end is not None:
                ends[place] = end
        try:
            fenced = self._sink.commit(ends) if ends else set()
        except LaterError as error:
            logger.warning("target takes no more", extra={"detail": str(error)})
            for place in ends:
                self._reclaim(place)
            return
        for place in places:
            held = self._open[place]
            if place in fenced:
                self._lose(place)
            elif place in ends:
                self._count(place.topic, held.batch)
                held.batch.committed_to(ends[place])
            if place in self._missing and held.batch.committed >= self._missing[place].end:
                del self._missing[place]

    def _count(self, topic: str, batch: OpenBatch) -> None:
        if batch.count:
            totals = self.totals.setdefault(topic, Totals())
            totals.records += batch.count
            totals.size_bytes += batch.size_bytes
            totals.batches += 1
            self.last_commit_s[topic] = time.time()

    def _lose(self, place: Place) -> None:
        """Give up a partition that another process has claimed; it may still be this one's, or be so again."""
        self.fenced += 1
        logger.warning("partition claimed by another", extra=place._asdict())
        self._reclaim(place)

    def _reclaim(self, place: Place) -> None:
        if place in self._open:
            self._drop([place])
            self._unclaimed[place] = self._now_ms() + PAUSE_MS


def connect(
    user: Mapping[str, str],
    sink: Sink,
    wanted: Callable[[str], bool],
    limits: Limits,
    *,
    group: str,
    client_id: str,
    until_end: bool,
    when_deleted: Remedy | None = None,
    delay_ms: int = 0,
) -> Runner:
    """Make a runner on a Kafka; all runners of a target must have the same group, and no others.

    `when_deleted` is what the user can do when retention has removed records that the target lacks.
    """
    own = {
        "group.id": group,  # required by the client; nothing joins or commits
        "client.id": client_id,
        "auto.offset.reset": "error",  # an offset that is gone is a loss
        "queued.max.messages.kbytes": user.get("queued.max.messages.kbytes", QUEUE_KBYTES),
    }
    return Runner(
        user,
        sink,
        wanted,
        limits,
        until_end=until_end,
        when_deleted=when_deleted,
        cluster=Topics(user),
        reader=WatchedConsumer(user, own, "reader of the topics"),
        make_member=lambda on_assigned, on_revoked, on_lost: GroupMember(
            user, group, client_id, on_assigned=on_assigned, on_revoked=on_revoked, on_lost=on_lost
        ),
        delay_ms=delay_ms,
    )
