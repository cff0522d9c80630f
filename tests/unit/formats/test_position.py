"""Each format's records tell their change, but for `item`."""

from __future__ import annotations

import pytest

from tailrace.core.change import Change, Op
from tailrace.core.redrive import SourcePosition
from tailrace.formats import FORMATS, FormatName, make_format
from tailrace.formats.position import source_position

STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
SEQUENCE = "100000000000000000000123"


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("op", ["c", "u", "d"])
def test_the_position_is_read_from_what_the_format_writes(name: FormatName, op: Op) -> None:
    image = b'{"id":{"S":"a"},"source":{"S":"x"},"sequence":{"S":"5"}}'
    change = Change(
        op=op,
        table="orders",
        keys=b'{"id":{"S":"a"}}',
        before=None if op == "c" else image,
        after=None if op == "d" else image,
        created_ms=1_700_000_000_000,
        event_id="e",
        sequence=SEQUENCE,
        shard_id="shard-1",
        stream_arn=STREAM,
        region="us-east-1",
        view_type="NEW_AND_OLD_IMAGES",
    )
    value = make_format(name, pipeline="shop", numbers="exact").encode(change, 0).value
    shard = "shard-1" if name == "debezium" else None
    expected = SourcePosition(STREAM, shard, int(SEQUENCE), 1_700_000_000_000) if name != "item" else None
    assert (None if value is None else source_position(value)) == expected


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b'{"source":{}}', b"[" * 5000])
def test_what_tells_nothing_is_none(value: bytes) -> None:
    assert source_position(value) is None
