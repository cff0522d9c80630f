"""Makes the page that a lane publishes of the page that a source gave: changes become Kafka records."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tailrace.core.change import Change, Format, Message
from tailrace.core.page import Outgoing, Page, SetAside
from tailrace.core.ports import SourcePage, SourceRecord
from tailrace.core.shard import ShardRef
from tailrace.errors import RecordError
from tailrace.kafka.dead_letters import dead_letter
from tailrace.kafka.topic_limits import TopicLimits
from tailrace.transform.transformation import Transformation


class Converter:
    """Converts pages for one pipeline. Safe for many threads: it holds no state that changes."""

    def __init__(
        self,
        encoder: Format,
        *,
        pipeline: str,
        topic_of: Callable[[str], str],
        table_of: Callable[[str], str],
        dead_letters_topic: str,
        tombstones: bool,
        errors_fail: bool,
        transformation_of: Callable[[str], Transformation | None] = lambda _table: None,
        limits: TopicLimits | None = None,
    ) -> None:
        """`topic_of` and `transformation_of` give what a table has, `table_of` the table of a stream's ARN.

        `limits` None: records are not looked at for their size.
        """
        self._encode = encoder.encode
        self._pipeline = pipeline
        self._topic_of = topic_of
        self._table_of = table_of
        self._dead_letters_topic = dead_letters_topic
        self._tombstones = tombstones
        self._errors_fail = errors_fail
        self._transformation_of = transformation_of
        self._limits = limits

    def convert(self, shard: ShardRef, source: SourcePage, now_ns: int) -> Page:
        """Return the page to publish. A record that cannot be converted is a dead letter, or stops the page before it.

        Those that are surely too large for their topics are marked.
        """
        table = self._table_of(shard.stream_arn)
        topic = self._topic_of(table)
        transformation = self._transformation_of(table)
        records: list[Outgoing] = []
        published: list[SourceRecord] = []
        dropped_count = native_count = 0
        stop = None
        for record in source.records:
            # A record's own error is never raised: its traceback would hold this page, which no collector sees in it.
            before = len(records)
            error = record.error or self._append(records, record, topic, now_ns, transformation)
            if error is None:
                dropped_count += len(records) == before
            else:
                if self._errors_fail:
                    stop = f"{error} (sequence number {record.sequence})"
                    break
                records.append(self._dead_letter(shard, table, record, topic, error))
            native_count += record.message is not None
            published.append(record)
        last = published[-1] if published else None
        sizes = [len(record.value) for record in records if record.value is not None]
        page = Page(
            shard=shard,
            table=table,
            records=records,
            change_count=len(published),
            size_bytes=source.size_bytes + sum(sizes),
            first_sequence=published[0].sequence if published else None,
            last_sequence=last.sequence if last else None,
            last_created_ms=last.created_ms if last else None,
            next_iterator=source.next_iterator,
            full=source.full,
            dropped_count=dropped_count,
            native_count=native_count,
            stop=stop,
        )
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
        """Append what becomes of the record, all of it, or give why it cannot be converted."""
        if record.message is not None:
            self._append_message(records, record, record.message, topic, deletes=record.deletes)
            return None
        if record.change is None:
            return RecordError("the record cannot be understood")
        before = len(records)
        try:
            if transformation is None:
                self._append_change(records, record, record.change, topic, now_ns)
            else:
                for made in transformation.apply(record.change).changes:
                    self._append_change(records, record, made.change, made.topic or topic, now_ns)
        except RecordError as error:
            del records[before:]
            return error
        return None

    def _append_change(
        self, records: list[Outgoing], record: SourceRecord, change: Change, topic: str, now_ns: int
    ) -> None:
        self._append_message(records, record, self._encode(change, now_ns), topic, deletes=change.op == "d")

    def _append_message(
        self, records: list[Outgoing], record: SourceRecord, message: Message, topic: str, *, deletes: bool
    ) -> None:
        created_ms, sequence, raw = record.created_ms, record.sequence, record.raw
        records.append(Outgoing(topic, message.key, message.value, message.headers, created_ms, sequence, raw))
        if deletes and self._tombstones and message.value is not None:
            records.append(Outgoing(topic, message.key, None, None, created_ms, sequence, raw))

    def _dead_letter(
        self, shard: ShardRef, table: str, record: SourceRecord, topic: str, error: RecordError
    ) -> Outgoing:
        return dead_letter(
            self._dead_letters_topic,
            pipeline=self._pipeline,
            table=table,
            shard=shard,
            sequence=record.sequence,
            created_ms=record.created_ms,
            key=None,
            raw=bytes(record.raw),
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
                letter = msgspec.structs.replace(record, topic=self._dead_letters_topic, value=bytes(record.raw))
                marks[index] = SetAside(why, bare=limits.why_too_large(letter) is not None)
        return msgspec.structs.replace(page, set_aside=marks)
