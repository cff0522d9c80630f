"""The operator accepts what retention removed before a lake had it: `tailrace accept-gap --lake`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tailrace.config import AnyLoaded
from tailrace.config.lake import TableKind
from tailrace.errors import WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.ledger import Ledger
from tailrace.lake.opening import open_location
from tailrace.lake.part import LakeSink
from tailrace.operations.lake import open_sinks
from tailrace.operations.lake_targets import LakeTarget, require_targets
from tailrace.remedy import ShowStatus
from tailrace.sinks.contract import FencedError
from tailrace.sinks.progress import Obstacle, resume_offset
from tailrace.sinks.topics import Topics


class LakeGap(msgspec.Struct, frozen=True):
    """Offsets of a partition that Kafka no longer has, and a lake does not have yet."""

    kind: TableKind
    table: str
    topic: str
    partition: int
    begin: int
    """The first of them."""
    end: int
    """The offset behind the last."""

    @property
    def words(self) -> str:
        """What is lost, for people."""
        offsets = f"offsets {self.begin} to {self.end - 1}"
        return f"{self.kind} of table {self.table}: {self.topic} [{self.partition}], {offsets}"


def find_lake_gaps(loaded: AnyLoaded, lake: str, table: str | None = None) -> Sequence[LakeGap]:
    """Find the gaps of a lake, or those of a table there. Raises WorldError when it has none."""
    (target,) = require_targets(loaded, lake)
    with target.telling():
        found = _gaps(target, table)
    if not found:
        of = f"the lake {lake}" if table is None else f"table {table} of the lake {lake}"
        raise WorldError(f"{of} has no gap", remedy=ShowStatus())
    return found


def accept_lake_gaps(loaded: AnyLoaded, lake: str, gaps: Sequence[LakeGap]) -> None:
    """Move the lake's positions over gaps, in the lake itself. Raises WorldError when another process has moved one."""
    (target,) = require_targets(loaded, lake)
    topics = Topics(target.kafka)
    with target.telling():
        for kind, sink in open_sinks(target).items():
            try:
                for gap in (each for each in gaps if each.kind == kind):
                    _skip(sink, gap, topics)
            finally:
                sink.close()


def _skip(sink: LakeSink, gap: LakeGap, topics: Topics) -> None:
    place = Place(gap.topic, gap.partition)
    moved = WorldError(f"{place} has moved meanwhile", hint="stop all processes that write the lake, and try again")
    try:
        position = sink.claim(place, topics.ids([gap.topic]).get(gap.topic, ""))
        if position is None or position.next_offset != gap.begin:
            raise moved
        sink.skip(place, gap.end)
    except FencedError as error:
        raise moved from error


def _gaps(target: LakeTarget, table: str | None) -> list[LakeGap]:
    if not Ledger(open_location(target.lake)).is_founded:
        return []
    topics = Topics(target.kafka)
    places = topics.find(lambda topic: target.table_of(topic) is not None)
    extents = topics.extents(places)
    found = []
    for kind, sink in open_sinks(target).items():
        try:
            for place in sorted(extents):
                position, extent = sink.position(place), extents[place]
                of = target.table_of(place.topic) or place.topic
                if table in {None, of} and resume_offset(position, extent) is Obstacle.DELETED:
                    assert position is not None
                    end = max(extent.start, position.bound or 0)
                    found.append(LakeGap(kind, of, place.topic, place.partition, position.next_offset, end))
        finally:
            sink.close()
    return found
