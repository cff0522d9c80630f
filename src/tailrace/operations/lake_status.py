"""How far a data lake is: lag, files and bytes of each topic, as its own ledger tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tailrace.config import LoadedPipeline
from tailrace.errors import WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.ledger import Ledger, Step, Sums
from tailrace.lake.opening import open_location
from tailrace.operations.severity import Severity
from tailrace.operations.tail import tables_by_topic
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
    """Written so far, with rows and bytes as they are stored."""
    rows: int
    size_bytes: int
    last_commit_ms: int | None


class LakeStatus(msgspec.Struct, frozen=True):
    """A lake at a moment."""

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


def lake_status(loaded: LoadedPipeline, now_ms: int) -> LakeStatus | None:
    """Read how far the lake of a pipeline is; None when its file has none. Raises WorldError when Kafka fails."""
    lake = loaded.pipeline.lake
    if lake is None:
        return None
    table_of, topics = tables_by_topic(loaded.pipeline), Topics(loaded.pipeline.kafka)
    ends = topics.ends(topics.find(lambda topic: table_of(topic) is not None))
    try:
        with loaded.telling("lake"):
            ledger = Ledger(open_location(lake))
            begun = ledger.is_founded
            last = {place: ledger.last(place) if begun else None for place in sorted(ends)}
    except WorldError as error:
        return LakeStatus(lake.location, lake.format, begun=False, fault=str(error))
    found = tuple(
        _topic_status(
            topic,
            table_of(topic) or topic,
            [place for place in last if place.topic == topic],
            last,
            ends,
            now_ms=now_ms,
        )
        for topic in dict.fromkeys(place.topic for place in last)
    )
    return LakeStatus(lake.location, lake.format, begun, found)


def _topic_status(
    topic: str,
    table: str,
    places: Sequence[Place],
    last: Mapping[Place, Step | None],
    ends: Mapping[Place, int],
    *,
    now_ms: int,
) -> TopicStatus:
    steps = {place: step for place in places if (step := last[place]) is not None}
    missing = {place: max(0, ends[place] - (steps[place].end if place in steps else 0)) for place in places}
    behind_ms = [step.last_ms for place, step in steps.items() if missing[place] and step.last_ms is not None]
    sums = Sums()
    for step in steps.values():
        sums = sums.and_(step.sums)
    return TopicStatus(
        topic,
        table,
        sum(missing.values()),
        max(0, now_ms - min(behind_ms)) / 1000 if behind_ms else None,
        sums.files,
        sums.rows,
        sums.size_bytes,
        max((step.committed_ms for step in steps.values()), default=None),
    )
