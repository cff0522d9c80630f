"""Finds what the topics hold and the table does not: items that were deleted while nobody read the changes.

After a snapshot each item that the table had lies in a topic behind the offsets that the snapshot noted, as a row or
as a change. So a key whose last record is older than that, and not a delete, was not in the table when its segment was
read, and has not come back since; the table is asked once more. A repair by keys looks for those keys that the table
does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from threading import Lock
from typing import Final

from tailrace.connect.registered_documents import AS_WRITTEN, Documents, RecordReader
from tailrace.core.change import Change, Origin
from tailrace.core.checkpoint import SegmentRef, SnapshotRecord
from tailrace.core.page import Outgoing
from tailrace.core.ports import TableFacts, TableReader
from tailrace.formats.format import Format
from tailrace.formats.keys import key_attributes
from tailrace.snapshot.last_records import LastRecord, LastRecords

DELETES_PER_CHUNK: Final = 500


class Deletes:
    """Makes the deletes of one snapshot. Safe for many threads."""

    def __init__(
        self,
        snapshot: SnapshotRecord,
        facts: TableFacts,
        tables: TableReader,
        format_: Format,
        *,
        key_of: Callable[[bytes], bytes],
        user: Mapping[str, str],
        topics: Sequence[str],
        region: str,
        tombstones: bool,
        is_of_table: Callable[[str, bytes], bool],
        now_ms: Callable[[], int],
        documents: Documents | None = None,
        reader: RecordReader = AS_WRITTEN,
    ) -> None:
        """`documents` writes what is published, if it is not JSON, and `reader` reads it back.

        `key_of` makes the records' key of a table's key. `topics` are the table's; `is_of_table(topic, value)` returns
        whether a value is of the table.
        """
        self._snapshot = snapshot
        self._facts = facts
        self._tables = tables
        self._format = format_
        self._key_of = key_of
        self._user = user
        self._topics = topics
        self._region = region
        self._tombstones = tombstones
        self._is_of_table = is_of_table
        self._now_ms = now_ms
        self._documents = documents
        self._reader = reader
        self._followed: dict[SegmentRef, LastRecords] = {}
        """What the next read of a segment continues with; what a read under way uses is not here."""
        self._newest: dict[SegmentRef, object] = {}
        """Names each segment's newest read, which alone may leave what it used to the next one."""
        self._is_closed = False
        self._lock = Lock()

    def in_partition(self, segment: SegmentRef, cursor: str | None) -> tuple[list[Outgoing], str | None]:
        """Return the next deletes of a partition, and where to go on; None at its end."""
        topic, partition = segment.deletes_in or ("", 0)
        end_offset = self._snapshot.offsets[topic][partition]
        with self._follow(segment, topic, partition) as records:
            found = records.alive(int(cursor or 0), end_offset, DELETES_PER_CHUNK)
            deletes = self._made(topic, self._absent(found))
            if len(found) < DELETES_PER_CHUNK:
                self.leave(segment)
                return deletes, None
        return deletes, str(found[-1].offset + 1)

    def of_keys(self, asked: Iterable[bytes], present: Iterable[bytes]) -> list[Outgoing]:
        """Return the deletes of those of the `asked` keys, the table's, that are not `present` in it."""
        present_keys = set(map(self._key_of, present))
        wanted = [key for key in map(self._key_of, asked) if key not in present_keys]
        if not wanted:
            return []
        with ExitStack() as opened:
            every = {topic: opened.enter_context(closing(self._records(topic, None))) for topic in self._topics}
            for records in every.values():
                records.catch_up()
            return [delete for topic, records in every.items() for delete in self._made(topic, records.of_keys(wanted))]

    def leave(self, segment: SegmentRef) -> None:
        """Delete what a segment's reads have kept on disk; a read that is under way does so when it is done."""
        with self._lock:
            self._newest.pop(segment, None)
            records = self._followed.pop(segment, None)
        if records is not None:
            records.close()

    def close(self) -> None:
        """Delete the files."""
        with self._lock:
            self._is_closed = True
            segments = [*self._newest]
        for segment in segments:
            self.leave(segment)

    @contextmanager
    def _follow(self, segment: SegmentRef, topic: str, partition: int) -> Iterator[LastRecords]:
        """Read on to the present end: what changed behind the chunk's mark is found when it is published.

        No two reads share what is followed: one of before its lane was lost may end after the lane was taken again.
        """
        read = object()
        with self._lock:
            self._newest[segment] = read
            records = self._followed.pop(segment, None)
        if records is None:
            records = self._records(topic, partition)
        try:
            records.catch_up()
        except BaseException:
            records.close()  # some records may have been read and not kept: begin again
            raise
        try:
            yield records
        finally:
            with self._lock:
                is_kept = self._newest.get(segment) is read and not self._is_closed
                if is_kept:
                    self._followed[segment] = records
            if not is_kept:
                records.close()

    def _records(self, topic: str, partition: int | None) -> LastRecords:
        return LastRecords(self._user, topic, partition, self._judge(topic), self._reader)

    def _judge(self, topic: str) -> Callable[[bytes, bytes | None], bool | None]:
        def is_alive(_key: bytes, value: bytes | None) -> bool | None:
            if value is None:
                return False
            if not self._is_of_table(topic, value):
                return None
            found = self._format.read(value)
            return None if found is None else found.op != "d"

        return is_alive

    def _absent(self, found: list[LastRecord]) -> list[LastRecord]:
        """Leave out the keys that the table has after all: their rows may have become dead letters.

        A transformation may have made keys of its own, which are none of the table's: those count as absent.
        """
        keys = (key_attributes(record.key, self._facts.key_types) for record in found)
        asked = [key for key in keys if key is not None]
        rows = self._tables.get(self._facts, asked, mark="incremental").records if asked else []
        present = {self._key_of(row.change.keys) for row in rows if row.change is not None}
        return [record for record in found if record.key not in present]

    def _made(self, topic: str, found: list[LastRecord]) -> list[Outgoing]:
        now_ms = self._now_ms()
        made = []
        for record in found:
            change = Change(
                op="d",
                table=self._facts.table,
                keys=key_attributes(record.key, self._facts.key_types) or b"{}",
                before=None,
                after=None,
                created_ms=now_ms,
                event_id="",
                sequence="",
                shard_id="",
                stream_arn=self._facts.arn,
                region=self._region,
                view_type="NEW_AND_OLD_IMAGES",
                snapshot="incremental",
            )
            message = self._format.delete_after(record.key, record.value, change, now_ms * 1_000_000)
            if message is None:
                continue
            if self._documents is not None:
                message = self._documents.of(message, topic)
            origin = Origin(self._facts.table, "", now_ms, record.value)
            place = record.partition
            made.append(Outgoing(topic, message.key, message.value, message.headers, now_ms, origin, place))
            if self._tombstones and message.value is not None:
                made.append(Outgoing(topic, message.key, None, None, now_ms, origin, place))
        return made
