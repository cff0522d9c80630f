"""Records of a stream that may repeat its changes: tests say what they are in a few letters."""

from __future__ import annotations

from msgspec.structs import replace

from tailrace.core.change import Change, Origin
from tailrace.core.ports import LogRecord, SourceRecord
from tailrace.core.shard import ShardRef

SHARD = ShardRef("arn:stream/1", "shard-1")


def log_record(
    sequence: int, item: str, created_us: int, *, arrived_ms: int = 0, table: str = "orders", shard: ShardRef = SHARD
) -> LogRecord:
    """A change of `item`; two with the same item and creation time are repeats of each other."""
    text = f"{item} {created_us}".encode()
    change = Change(
        op="u",
        table=table,
        keys=item.encode(),
        before=None,
        after=text,
        created_ms=created_us // 1000,
        event_id="",
        sequence=str(sequence),
        shard_id=shard.shard_id,
        stream_arn=shard.stream,
        region="eu-west-1",
        view_type="NEW_AND_OLD_IMAGES",
    )
    record = SourceRecord(Origin(table, str(sequence), created_us // 1000, text), change)
    return LogRecord(record, arrived_ms, identity=text, item=item.encode(), created_us=created_us)


def change_of(record: SourceRecord, _shard: ShardRef) -> Change | None:
    """Return the change of a record."""
    return record.change


def flagged(record: SourceRecord, _shard: ShardRef) -> SourceRecord:
    """The record that says that it is late."""
    assert record.change is not None
    return replace(record, change=replace(record.change, late=True))
