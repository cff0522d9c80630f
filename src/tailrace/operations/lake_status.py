"""How far a data lake is: lag, files and bytes of each topic, as its ledger or its tables tell."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache, partial
from typing import NamedTuple

import msgspec

from tailrace.config.lake import Lake, TableKind
from tailrace.config.lake_names import APART, shared_name
from tailrace.errors import WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.ledger import Ledger, Sums
from tailrace.lake.location import MaintainedLocation
from tailrace.lake.opening import open_location, open_tables
from tailrace.operations.lake_targets import LakeTarget
from tailrace.operations.severity import Severity
from tailrace.sinks.topics import Topics


class TopicStatus(msgspec.Struct, frozen=True):
    """What a lake has of a topic."""

    topic: str
    table: str
    behind_changes_at_most: int
    """Offsets of the topic that the lake does not have yet; transaction markers are among them."""
    behind_s: float | None
    """How old the newest change is that the lake has of a partition which it does not have whole; None: of none."""
    files: int
    """Written so far, with rows and bytes as they are stored; of Iceberg and Delta what the table has now."""
    rows: int
    size_bytes: int
    last_commit_ms: int | None
    kind: TableKind = "changes"
    lost: int = 0
    """Offsets that an operator gave up with `accept-gap`, over all partitions."""


class _Held(NamedTuple):
    """How far a partition is."""

    end: int
    last_ms: int | None
    committed_ms: int


class LakeStatus(msgspec.Struct, frozen=True):
    """A lake at a moment."""

    name: str
    location: str
    format: str
    begun: bool
    """Whether the location has a lake."""
    topics: tuple[TopicStatus, ...] = ()
    fault: str | None = None
    """Why it cannot be read, in a sentence."""

    @property
    def severity(self) -> Severity:
        """Whether something is wrong with it."""
        return "error" if self.fault else "ok"


def lake_statuses(targets: Sequence[LakeTarget], now_ms: int, tables: Collection[str] = ()) -> tuple[LakeStatus, ...]:
    """Read how far each lake of a file is; `tables` are known although they may have no topic yet.

    Raises WorldError when Kafka fails.
    """
    if not targets:
        return ()
    table_of, topics = targets[0].table_of, Topics(targets[0].kafka)  # those of all lakes of a file
    ends = topics.ends(topics.find(lambda topic: table_of(topic) is not None))
    by_topic = {
        topic: {place: ends[place] for place in sorted(ends) if place.topic == topic}
        for topic in sorted({place.topic for place in ends})
    }
    return tuple(_lake_status(target, by_topic, now_ms, tables) for target in targets)


def _lake_status(
    target: LakeTarget, by_topic: Mapping[str, Mapping[Place, int]], now_ms: int, tables: Collection[str]
) -> LakeStatus:
    lake, table_of = target.lake, target.table_of
    try:
        with target.telling():
            _require_names(lake, {*tables, *(table for topic in by_topic if (table := table_of(topic)) is not None)})
            location = open_location(lake)
            ledger = Ledger(location)
            begun = ledger.is_founded
            reader = _Reader(lake, target.name, location, ledger) if begun else None
            found = tuple(
                _topic_status(topic, table_of(topic) or topic, kind, reader, own, now_ms=now_ms)
                for kind in lake.tables
                for topic, own in by_topic.items()
            )
    except WorldError as error:
        return LakeStatus(lake.name, lake.location, lake.format, begun=False, fault=str(error))
    return LakeStatus(lake.name, lake.location, lake.format, begun, found)


def _require_names(lake: Lake, tables: Collection[str]) -> None:
    if lake.format == "iceberg" and (told := shared_name(tables)):
        raise WorldError(told, hint=APART)


class _Reader:
    """Reads how far a lake is, without a change to it."""

    def __init__(self, lake: Lake, name: str, location: MaintainedLocation, ledger: Ledger) -> None:
        self._ledger = ledger
        self._has_steps = lake.format == "parquet"
        self._open_table = cache(partial(open_tables, lake, name, location))

    def held(self, table: str, kind: TableKind, places: Sequence[Place]) -> tuple[dict[Place, _Held], Sums]:
        """Return how far partitions are, and what is stored of them."""
        if self._has_steps and kind == "changes":
            return self._by_ledger(places)
        opened = self._open_table()(table, kind)
        if not opened.find():
            return {}, Sums()
        marks = {place: mark for place in places if (mark := opened.mark(place)) is not None}
        held = {
            place: _Held(each.next_offset, each.last_ms or None, each.committed_ms) for place, each in marks.items()
        }
        return held, opened.sums().and_(Sums(lost=sum(each.lost for each in marks.values())))

    def _by_ledger(self, places: Sequence[Place]) -> tuple[dict[Place, _Held], Sums]:
        steps = {place: step for place in places if (step := self._ledger.last(place)) is not None}
        sums = Sums()
        for step in steps.values():
            sums = sums.and_(step.sums)
        return {place: _Held(step.end, step.last_ms, step.committed_ms) for place, step in steps.items()}, sums


def _topic_status(
    topic: str, table: str, kind: TableKind, reader: _Reader | None, ends: Mapping[Place, int], *, now_ms: int
) -> TopicStatus:
    held, sums = reader.held(table, kind, list(ends)) if reader is not None else ({}, Sums())
    missing = {place: max(0, end - (held[place].end if place in held else 0)) for place, end in ends.items()}
    behind_ms = [each.last_ms for place, each in held.items() if missing[place] and each.last_ms is not None]
    return TopicStatus(
        topic,
        table,
        sum(missing.values()),
        max(0, now_ms - min(behind_ms)) / 1000 if behind_ms else None,
        sums.files,
        sums.rows,
        sums.size_bytes,
        max((each.committed_ms for each in held.values()), default=None),
        kind,
        sums.lost,
    )
