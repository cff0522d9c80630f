"""How far the copies of tables are, as their control table tells."""

from __future__ import annotations

from contextlib import closing

import msgspec

from tailrace.config import LoadedPipeline
from tailrace.config.replica import Replica
from tailrace.errors import WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.operations.replica import copied_tables, open_database
from tailrace.operations.severity import Severity
from tailrace.replica.control import Control, Progress
from tailrace.sinks.topics import Topics


class CopyStatus(msgspec.Struct, frozen=True):
    """How far the copy of a table is."""

    table: str
    copy: str
    topic: str
    behind_changes_at_most: int
    """Offsets of the topic that the copy does not have yet; transaction markers are among them."""
    behind_s: float | None
    """How old the newest change is that the copy has of a partition which it does not have whole; None: of none."""
    last_write_ms: int | None
    """When the position of a partition moved last; None: none has one yet."""


class ReplicaStatus(msgspec.Struct, frozen=True):
    """The copies of a pipeline's tables at a moment."""

    where: str
    """The region of the copies."""
    write: str
    begun: bool
    """Whether anything was copied yet."""
    copies: tuple[CopyStatus, ...] = ()
    fault: str | None = None
    """Why it cannot be read, in a sentence."""

    @property
    def severity(self) -> Severity:
        """Whether something is wrong with them."""
        return "error" if self.fault else "ok"


def replica_status(loaded: LoadedPipeline, now_ms: int) -> ReplicaStatus | None:
    """Read how far the copies are; None when the file has none. Raises WorldError when Kafka fails."""
    pipeline, replica = loaded.pipeline, loaded.pipeline.replica
    if replica is None:
        return None
    table_of, topics = copied_tables(pipeline, replica), Topics(pipeline.kafka)
    ends = topics.ends(topics.find(lambda topic: table_of(topic) is not None))
    try:
        with loaded.telling("replica"), closing(open_database(replica)) as database:
            name = replica.control_table_of(pipeline.name)
            control = Control(database, name) if database.has_table(name) else None
            if control is not None and not control.is_founded():
                control = None
            found = tuple(
                _copy_status(
                    topic,
                    table_of(topic) or topic,
                    replica,
                    control,
                    {place: end for place, end in ends.items() if place.topic == topic},
                    now_ms=now_ms,
                )
                for topic in sorted({place.topic for place in ends})
            )
            return ReplicaStatus(database.region, replica.write, control is not None, found)
    except WorldError as error:
        return ReplicaStatus(replica.region or "", replica.write, begun=False, fault=str(error))


def _copy_status(
    topic: str, table: str, replica: Replica, control: Control | None, ends: dict[Place, int], *, now_ms: int
) -> CopyStatus:
    copied = control.known_topic(topic) if control is not None else None
    held: dict[Place, Progress] = {}
    if control is not None and copied is not None:
        held = {place: found for place in ends if (found := control.progress(place, copied.epoch)) is not None}
    missing = {place: max(0, end - (held[place].next_offset if place in held else 0)) for place, end in ends.items()}
    behind_ms = [each.last_ms for place, each in held.items() if missing[place] and each.last_ms]
    return CopyStatus(
        table,
        replica.target_of(table) or table,
        topic,
        sum(missing.values()),
        max(0, now_ms - min(behind_ms)) / 1000 if behind_ms else None,
        max((each.committed_ms for each in held.values()), default=None),
    )
