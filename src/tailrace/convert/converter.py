"""Makes the page that a lane publishes of the page that a source gave: changes become Kafka records."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tailrace.connect.registered_documents import Documents
from tailrace.convert.connect_encoder import ConnectEncoder, Routed
from tailrace.core.change import Change, Message, Origin, Skip
from tailrace.core.page import Outgoing, Page, SetAside
from tailrace.core.ports import SourcePage, SourceRecord
from tailrace.core.shard import ShardRef
from tailrace.errors import RecordError
from tailrace.kafka import headers
from tailrace.kafka.dead_letters import dead_letter
from tailrace.kafka.topic_limits import TopicLimits
from tailrace.transform.transformation import Transformation


class Converter:
    """Converts pages for one pipeline. Safe for many threads: it holds no state that changes."""

    def __init__(
        self,
        encode: Callable[[Change, int], Message],
        *,
        pipeline: str,
        topic_of: Callable[[str, str], str],
        dead_letters_topic: str,
        tombstones: bool,
        errors_fail: bool,
        transformation_of: Callable[[str], Transformation | None] = lambda _table: None,
        limits: TopicLimits | None = None,
        connect: ConnectEncoder | None = None,
        documents: Documents | None = None,
    ) -> None:
        """`encode` is the format's; `topic_of` and `transformation_of` return what a table has, the topic by its
        stream, too. `connect` replaces `encode`; `documents` wraps what it makes.

        `limits` None: records are not looked at for their size.
        """
        self._encode = encode
        self._pipeline = pipeline
        self._topic_of = topic_of
        self._dead_letters_topic = dead_letters_topic
        self._tombstones = tombstones
        self._errors_fail = errors_fail
        self._transformation_of = transformation_of
        self._limits = limits
        self._connect = connect
        self._documents = documents

    def convert(self, shard: ShardRef, source: SourcePage, now_ns: int) -> Page:
        """Return the page to publish. A record that cannot be converted is a dead letter, or stops the page before it.

        Those that are surely too large for their topics are marked.
        """
        records: list[Outgoing] = []
        changes: list[Origin] = []
        dropped: list[Origin] = []
        skipped: list[tuple[Origin, Skip]] = []
        native_counts: dict[str, int] = {}
        tables: set[str] = set()
        table, topic, transformation, stop = None, "", None, None
        for record in source.records:
            origin = record.origin
            if record.skipped is not None:
                skipped.append((origin, record.skipped))
                changes.append(origin)
                continue
            if origin.table != table:
                table = origin.table
                tables.add(table)
                topic, transformation = self._topic_of(table, shard.stream), self._transformation_of(table)
            before = len(records)
            # A record's own error is never raised: its traceback would hold this page, which no collector sees in it.
            if record.message is not None and self._connect is None:
                error = self._append_message(records, origin, record.message, topic, deletes=record.deletes)
                if error is None:
                    if not record.is_raw:
                        native_counts[table] = native_counts.get(table, 0) + 1
                    changes.append(origin)
                    continue
            else:
                error = record.error or self._append(records, record, topic, now_ns, transformation)
            if error:
                if self._errors_fail:
                    stop = f"{error} (sequence number {origin.sequence})"
                    tables = {each.table for each in changes}
                    break
                records.append(self._dead_letter(shard, origin, topic, error))
            elif len(records) == before:
                dropped.append(origin)
            changes.append(origin)
        last = changes[-1] if changes else None
        sizes = [len(record.value) for record in records if record.value is not None]
        page = Page(
            shard=shard,
            changes=changes,
            records=records,
            size_bytes=source.size_bytes + sum(sizes),
            last_sequence=(source.last_sequence or last.sequence) if last else None,
            last_created_ms=last.created_ms if last else None,
            next_iterator=source.next_iterator,
            full=source.full,
            tables=frozenset(tables),
            dropped=dropped,
            skipped=skipped,
            native_counts=native_counts,
            window_from=source.window_from,
            arrived_ms=source.arrived_ms,
            read_bytes=source.size_bytes,
            stop=stop,
        )
        if stop is not None and source.last_sequence is not None:
            # The records are not in the shard's order: no checkpoint may pass one that is not published.
            left = source.records[len(changes) :]
            page = page.before(min((record.origin.sequence for record in left), key=int), stop)
        if self._limits is None or max(sizes, default=0) <= self._limits.ordinary_bytes:
            return page
        return self._marked(page, self._limits)

    def _append(
        self,
        records: list[Outgoing],
        record: SourceRecord,
        topic: str,
        now_ns: int,
        transformation: Transformation | None,
    ) -> RecordError | None:
        """Append what becomes of the record's change, all of it, or return why it cannot be converted."""
        before = len(records)
        try:
            if record.message is not None and self._connect is not None:
                routed = self._connect.of_message(record.message, topic, record.origin.created_ms)
                records.extend(_outgoing(each, record.origin) for each in routed)
            elif record.change is None:
                return RecordError("the record cannot be understood")
            elif transformation is None:
                self._append_change(records, record.origin, record.change, topic, now_ns)
            else:
                for made in transformation.apply(record.change).changes:
                    self._append_change(records, record.origin, made.change, made.topic or topic, now_ns)
        except RecordError as error:
            del records[before:]
            return error
        return None

    def _append_change(self, records: list[Outgoing], origin: Origin, change: Change, topic: str, now_ns: int) -> None:
        before = len(records)
        deletes = change.op == "d"
        if self._connect is None:
            error = self._append_message(records, origin, self._encode(change, now_ns), topic, deletes=deletes)
            if error is not None:
                raise error
        else:
            routed = self._connect.of_change(change, topic, now_ns, tombstone=deletes and self._tombstones)
            records.extend(_outgoing(each, origin) for each in routed)
        if change.late:
            records[before:] = [_late(record) for record in records[before:]]

    def _append_message(
        self, records: list[Outgoing], origin: Origin, message: Message, topic: str, *, deletes: bool
    ) -> RecordError | None:
        """Append a message, with a tombstone if it deletes, or return why it cannot be a document."""
        created_ms = origin.created_ms
        if self._documents is not None:
            try:
                message = self._documents.of(message, topic)
            except RecordError as error:
                return error
        records.append(Outgoing(topic, message.key, message.value, message.headers, created_ms, origin))
        if deletes and self._tombstones and message.value is not None:
            records.append(Outgoing(topic, message.key, None, None, created_ms, origin))
        return None

    def _dead_letter(self, shard: ShardRef, origin: Origin, topic: str, error: RecordError) -> Outgoing:
        return dead_letter(
            self._dead_letters_topic,
            pipeline=self._pipeline,
            shard=shard,
            origin=origin,
            key=None,
            value=origin.raw,
            intended_topic=topic,
            stage=error.stage,
            exception=type(error).__name__,
            message=str(error),
        )

    def _marked(self, page: Page, limits: TopicLimits) -> Page:
        """Mark the records that are surely too large for their topics, and those that are for the dead letters' too."""
        marks = {}
        for index, record in enumerate(page.records):
            if why := limits.why_too_large(record):
                letter = msgspec.structs.replace(record, topic=self._dead_letters_topic, value=record.origin.raw)
                marks[index] = SetAside(why, bare=limits.why_too_large(letter) is not None)
        return msgspec.structs.replace(page, set_aside=marks)


def _outgoing(routed: Routed, origin: Origin) -> Outgoing:
    message = routed.message
    return Outgoing(routed.topic, message.key, message.value, message.headers, origin.created_ms, origin)


def _late(record: Outgoing) -> Outgoing:
    """Return a record, a tombstone too, with the header by which consumers tell it from those in order."""
    return msgspec.structs.replace(record, headers=[*(record.headers or []), (headers.LATE, b"true")])


def documented(page: Page, documents: Documents) -> Page:
    """Return a page, converted as JSON, with its records as documents. Raises `WorldError` while a schema has no id."""

    def made(record: Outgoing) -> Outgoing:
        if record.is_dead_letter or record.key is None:
            return record
        message = documents.of(Message(record.key, record.value, record.headers), record.topic)
        return msgspec.structs.replace(record, key=message.key, value=message.value, headers=message.headers)

    return msgspec.structs.replace(page, records=[made(record) for record in page.records])
