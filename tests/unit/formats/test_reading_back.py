"""Each format reads back what it has written: which change it is, but for `item`, and what of it is shown."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fuzz import broken, examples
from tailrace.core.change import Change, Op
from tailrace.core.redrive import SourcePosition
from tailrace.formats import FORMATS, FormatName, ReadRecord, make_format, read
from tailrace.sources.dynamodb.stream_arn import table_of

STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
SEQUENCE = "100000000000000000000123"


def source_position(value: bytes) -> SourcePosition | None:
    found = read(value)
    return None if found is None else found.position


def written(name: FormatName, op: Op) -> bytes | None:
    """What a format makes of a change."""
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
    return make_format(name, pipeline="shop", numbers="exact").encode(change, 0).value


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("op", ["c", "u", "d"])
def test_the_position_is_read_from_what_the_format_writes(name: FormatName, op: Op) -> None:
    value = written(name, op)
    shard = "shard-1" if name == "debezium" else None
    expected = SourcePosition(STREAM, shard, int(SEQUENCE), 1_700_000_000_000) if FORMATS[name].tells_position else None
    assert (None if value is None else source_position(value)) == expected


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("op", ["c", "u", "d"])
def test_each_format_reads_its_own_records_and_no_other(name: FormatName, op: Op) -> None:
    value = written(name, op)
    if value is None:
        assert FORMATS[name].null_is_delete
        return
    # Any object may be a bare item.
    assert {each for each in FORMATS if each != "item" and FORMATS[each].read(value)} == {name} - {"item"}
    found = FORMATS[name].read(value)
    assert found is not None
    assert found == read(value)
    assert found.op == (None if name == "item" else op)
    assert json.loads(found.item)["id"] in ("a", {"S": "a"}, {"s": "a"})


@pytest.mark.parametrize("name", ["debezium", "dynamodb-json", "cloudevents"])
def test_a_row_of_a_snapshot_is_read_back_without_a_position(name: FormatName) -> None:
    change = Change(
        op="r",
        table="orders",
        keys=b'{"id":{"S":"a"}}',
        before=None,
        after=b'{"id":{"S":"a"}}',
        created_ms=1_700_000_000_000,
        event_id="",
        sequence="",
        shard_id="",
        stream_arn=STREAM.partition("/stream/")[0],
        region="us-east-1",
        view_type="NEW_IMAGE",
        snapshot="incremental",
    )
    found = read(make_format(name, pipeline="shop", numbers="exact").encode(change, 0).value or b"")
    assert found is not None
    assert (found.op, found.position) == ("r", None)
    assert found.table == "orders" or table_of(found.stream or "") == "orders"
    assert json.loads(found.item)["id"] in ("a", {"S": "a"}, {"s": "a"})


def test_another_connectors_envelope_tells_its_change_and_no_position() -> None:
    value = b'{"op":"u","before":null,"after":{"id":1},"source":{"table":"t","sequence":null,"ts_ms":1}}'
    assert read(value) == ReadRecord("u", "t", None, b'{"id":1}', None)


def test_the_registry_has_every_name() -> None:
    assert set(FORMATS) == set(get_args(FormatName))


ENDLESS = (
    b'{"eventName":"INSERT","eventSourceARN":"a",'
    b'"dynamodb":{"Keys":{},"SequenceNumber":"1","ApproximateCreationDateTime":1e308}}'
)


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b'{"source":{}}', b"[" * 5000, ENDLESS])
def test_what_tells_nothing_is_none(value: bytes) -> None:
    assert source_position(value) is None


@given(data=st.data())
@examples(300)
def test_any_value_tells_a_position_or_nothing(data: Any) -> None:
    document = json.loads(written(data.draw(st.sampled_from(list(FORMATS))), "u") or b"")
    found = source_position(data.draw(broken(document)))
    assert found is None or isinstance(found.sequence + found.created_ms, int)
