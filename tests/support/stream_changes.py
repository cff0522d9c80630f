"""A change as DynamoDB Streams bring it, for tests that encode it themselves."""

from __future__ import annotations

from tailrace.core.change import Change, Op


def stream_change(
    op: Op, keys: bytes, before: bytes | None, after: bytes | None, *, created_ms: int, table: str = "orders"
) -> Change:
    """Return a change of an item; keys and images are DynamoDB JSON."""
    return Change(
        op=op,
        table=table,
        keys=keys,
        before=before,
        after=after,
        created_ms=created_ms,
        event_id="e",
        sequence="1" * 21,
        shard_id="shardId-1",
        stream_arn=f"arn:aws:dynamodb:us-east-1:000000000000:table/{table}/stream/1",
        region="us-east-1",
        view_type="NEW_AND_OLD_IMAGES",
    )
