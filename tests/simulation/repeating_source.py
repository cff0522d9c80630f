"""A model source that repeats changes and gives them out of order, as Kinesis does with those of DynamoDB."""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec.structs import replace

from simulation.faults import Faults, RepeatingFaults
from simulation.simulated_time import Schedule
from simulation.source import TRIMMED, ModelReader, ModelShard, Source, SourceKind, Written
from tailrace.core.change import Change
from tailrace.core.ports import LogPage, LogRecord, ReadError, ReadFailure, SourcePage, SourceRecord
from tailrace.core.shard import Position, ShardRef

LATEST_COPY_MS = 20_000
LONGEST_DELAY_MS = 4_000


class RepeatingSource(Source):
    """Each change arrives once or more, soon or a little later, in the shard that has its item by then."""

    def __init__(self, kind: SourceKind, schedule: Schedule, rng: random.Random, faults: RepeatingFaults) -> None:
        super().__init__(kind, schedule, rng, faults)
        self.created_us: dict[tuple[str, int], int] = {}
        """When the changes were made, by item and number: two may be of one moment."""
        self.log = Log(LogPages(self, schedule, rng, faults))
        self._may = faults
        self._under_way: dict[int, Callable[[], None]] = {}
        self._sent = 0

    def write(self, item: str) -> None:
        number, kind = self._next(item)
        self.created_us[item, number] = self.now_ms * 1000
        delay_ms = self._rng.randint(1, LONGEST_DELAY_MS) if self._rng.random() < self._may.delayed else 0
        self._send(item, number, kind, delay_ms)
        if self._rng.random() < self._may.repeated:
            self._send(item, number, kind, delay_ms + self._rng.randint(0, LATEST_COPY_MS))

    def settle(self) -> None:
        while self._under_way:
            self._arrive(min(self._under_way))

    def _send(self, item: str, number: int, kind: str, delay_ms: int) -> None:
        self._sent += 1
        place = self._sent
        self._under_way[place] = lambda: self._append(item, number, kind)
        if delay_ms:
            self._schedule.after(delay_ms, lambda: self._arrive(place))
        else:
            self._arrive(place)

    def _arrive(self, place: int) -> None:
        if arrive := self._under_way.pop(place, None):
            self._sequence += self._rng.randint(1, 3)
            arrive()


class Log:
    """The stream as GetRecords shows it (core.ports.LogReader)."""

    def __init__(self, pages: LogPages) -> None:
        self.read = pages.read_log


class LogPages(ModelReader):
    """Makes its pages."""

    def __init__(self, source: RepeatingSource, schedule: Schedule, rng: random.Random, faults: Faults) -> None:
        super().__init__(source, schedule, rng, faults)
        self._repeating = source

    def read_log(self, shard: ShardRef, position: Position, iterator: str | None) -> LogPage:
        """Read a page."""
        true = self._found(shard, position)
        start = self._start(true, position, iterator)
        if start < true.trimmed:
            raise ReadError(TRIMMED, ReadFailure.TRIMMED)
        end = start + len(true.changes[start : start + self._count()])
        page = self._page(true, start, end, position, f"{end}:{self._schedule.now_ms}")
        return self._log_page(page, true.changes[start:end], is_last=end == len(true.changes))

    def _log_page(self, page: SourcePage, changes: list[Written], *, is_last: bool) -> LogPage:
        of = {str(change.sequence): change for change in changes}
        records = [self._log_record(record, of[record.origin.sequence]) for record in page.records]
        return LogPage(records, page.next_iterator, page.size_bytes, full=not is_last)

    def _log_record(self, record: SourceRecord, change: Written) -> LogRecord:
        created_us = self._repeating.created_us[change.item, change.number]
        return LogRecord(
            record,
            change.written_ms,
            identity=identity(change.item, created_us, change.number),
            item=change.item.encode(),
            created_us=created_us,
        )

    def _start(self, true: ModelShard, position: Position, iterator: str | None) -> int:
        if iterator is None and position.sequence is not None:
            sequence = int(position.sequence) + (position.kind == "AFTER_SEQUENCE_NUMBER")
            start = sum(change.sequence < sequence for change in true.changes)
            is_trimmed = any(change.sequence == int(position.sequence) for change in true.changes[: true.trimmed])
            return -1 if is_trimmed or start < true.trimmed else start
        return super()._start(true, position, iterator)


def identity(item: str, created_us: int, number: int) -> bytes:
    """Return what only repeats of a change share; its number stands for what its images show."""
    return f"{item} {created_us} {number}".encode()


def change_of(record: SourceRecord, _shard: ShardRef) -> Change | None:
    """Return the change of a record."""
    return record.change


def flagged(record: SourceRecord, _shard: ShardRef) -> SourceRecord:
    """Return the record that says that it is late."""
    return record if record.change is None else replace(record, change=replace(record.change, late=True))
