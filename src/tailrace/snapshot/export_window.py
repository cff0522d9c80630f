"""The window of exports: which keys have changed in the topics since the exports were made, perhaps days ago.

A row of an export is as old as the export: it is not published if its key has a change since. So the topics are read
from the export's time on, and each key's last change is kept in a temporary file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from confluent_kafka import TIMESTAMP_CREATE_TIME, Message
from confluent_kafka.admin import OffsetSpec

from tailrace.core.checkpoint import SnapshotRecord
from tailrace.core.export_coverage import counts_from_ms
from tailrace.core.source_policy import SourcePolicy
from tailrace.kafka import headers
from tailrace.kafka.watched_consumer import Place
from tailrace.snapshot.last_changes import SpilledChanges
from tailrace.snapshot.window import LastChanges, Mark, Window, snapshot_of

READ_S: Final = 0.3
"""The longest that the worker's thread reads on without looking at anything else."""
LEFT_MAX: Final = 2_000
"""Records that a transaction may wait for."""


class ExportWindow(Window):
    """Follows the topics of one table from the time of its oldest export. For one thread."""

    def __init__(self, snapshot: SnapshotRecord, source: SourcePolicy, *arguments: Any, **options: Any) -> None:
        """Take what `Window` takes, too."""
        super().__init__(*arguments, **options)
        self._snapshot_id = snapshot.id
        self._times = [counts_from_ms(each.exported_ms, source) for each in snapshot.exports]
        self._goal: dict[Place, int] | None = None
        """The ends when they were last asked for; None once they were nearly reached."""
        self._offsets: dict[int, dict[Place, int]] = {}
        """Where the topics were at the time of each export."""

    def mark_export(self, topics: Iterable[str], number: int) -> Mark:
        """Note where the topics were at the time of the export with this number in the snapshot's record."""
        if number not in self._offsets:
            self._offsets[number] = self._offsets_at(self._places(topics), self._times[number])
        return self._marked(self._offsets[number])

    @property
    def is_caught_up(self) -> bool:
        """Whether it has read up to the ends once; after that it keeps up."""
        return self._goal is None

    def read_on(self) -> None:
        """Take in what there is, for a moment. Raises KafkaException, StalledError, WorldError."""
        if (consumer := self._consumer) is None:
            return
        deadline_s = self._factory.monotonic_s() + READ_S
        while self._take(consumer.read(0)) and self._factory.monotonic_s() < deadline_s:
            pass
        if self._goal is not None and self._left(self._goal) <= LEFT_MAX:
            self._goal = self._ends(list(self._goal))
            if self._left(self._goal) <= LEFT_MAX:
                self._goal = None

    def _left(self, ends: dict[Place, int]) -> int:
        positions = self._require().positions
        return sum(max(0, end - positions.get(place, 0)) for place, end in ends.items())

    def _starts(self, places: list[Place]) -> dict[Place, int]:
        starts = self._offsets_at(places, min(self._times))
        self._goal = (self._goal or {}) | self._ends(places)
        return starts

    def _offsets_at(self, places: list[Place], at_ms: int) -> dict[Place, int]:
        """Return the first offsets with a timestamp at or after a time; where there is none, the ends.

        Timestamps need not grow with the offsets: no record before the first such one is as new.
        """
        ends = self._ends(places)
        found = self._ask(places, OffsetSpec.for_timestamp(at_ms))
        return {place: found[place] if found[place] >= 0 else ends[place] for place in places}

    def _new_changes(self) -> LastChanges:
        return SpilledChanges()

    def _is_change(self, message: Message) -> bool:
        """Count rows of other snapshots, too, if they were read after the export: they are newer than its own.

        So may be what a replay repeats, and compaction may have left nothing else of it. A broker's own timestamps do
        not say when a row was read or a change was made.
        """
        snapshot = snapshot_of(message)
        kind, at_ms = message.timestamp()
        is_newer = kind == TIMESTAMP_CREATE_TIME and at_ms >= min(self._times)
        if snapshot is None:
            return is_newer or not headers.is_replayed(message)
        return snapshot != self._snapshot_id and is_newer
