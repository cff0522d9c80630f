"""The switch of sources in the checkpoint topic, folded: what is handed over, and whether that is over. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tailrace.core.checkpoint import HandoverKey, HandoverPart, HandoverPartKey, HandoverRecord, TopicRecord, Write
from tailrace.core.handover import CHANGE_BYTES, Handover


class HandoverState:
    """The last handover; its parts may come before or after its record."""

    def __init__(self) -> None:
        self.record: HandoverRecord | None = None
        self._parts: dict[int, HandoverPart] = {}
        self._made: Handover | None = None

    @property
    def active(self) -> HandoverRecord | None:
        """The handover whose time has not passed everywhere; None without one."""
        return self.record if self.record is not None and not self.record.is_over else None

    def is_known(self, handover_id: str) -> bool:
        """Return whether all of a handover has been read, or that it is over."""
        record = self.record
        if record is None or record.id != handover_id:
            return False
        return record.is_over or len(self._parts_of(record)) == record.parts

    def of(self, handover_id: str) -> Handover | None:
        """Return what is handed over; None when that is over, or not known."""
        record = self.active
        if record is None or not self.is_known(handover_id):
            return None
        if self._made is None:
            self._made = Handover(
                from_ms=record.from_ms,
                until_ms=record.until_ms,
                view_types=record.view_types,
                changes=(part.changes for part in self._parts_of(record)),
            )
        return self._made

    def digests(self) -> Iterator[bytes]:
        """Yield what is kept of each change of the active handover."""
        for part in self._parts_of(self.active) if self.active is not None else ():
            for start in range(0, len(part.changes), CHANGE_BYTES):
                yield part.changes[start : start + CHANGE_BYTES]

    def ended(self) -> tuple[Write, ...]:
        """Return what ends the active handover: nothing of it is needed any more."""
        if self.active is None:
            return ()
        over = self.active.over()
        return (Write(0, HandoverKey(), over), *(Write(0, HandoverPartKey(each), None) for each in self.part_numbers))

    @property
    def part_numbers(self) -> list[int]:
        """The parts that the topic holds, of whichever handover."""
        return sorted(self._parts)

    def apply(self, key: HandoverKey | HandoverPartKey, record: TopicRecord | None) -> None:
        """Fold in a record of partition 0."""
        self._made = None
        match key, record:
            case HandoverKey(), HandoverRecord() | None:
                self.record = record
            case HandoverPartKey(), HandoverPart():
                self._parts[key.number] = record
            case HandoverPartKey(), _:
                self._parts.pop(key.number, None)

    def shows(self, write: Write) -> bool:
        """Return whether a write is the last of its key that was read."""
        if isinstance(write.key, HandoverPartKey):
            return self._parts.get(write.key.number) == write.record
        return self.record == write.record

    def _parts_of(self, record: HandoverRecord) -> list[HandoverPart]:
        return [part for part in self._parts.values() if part.id == record.id]
