"""Changes and raw records through Connect's transforms and converters, as a converter of pages publishes them."""

from __future__ import annotations

import json
from typing import Any

from tailrace.connect.chain import Chain
from tailrace.connect.converters import converter as converter_of
from tailrace.convert.connect_encoder import ConnectEncoder
from tailrace.convert.converter import Converter
from tailrace.core.change import Change, Message, Origin
from tailrace.core.page import Page
from tailrace.core.ports import SourcePage, SourceRecord
from tailrace.core.shard import ShardRef
from tailrace.formats import FormatName, make_format
from tailrace.kafka.schema_registry import make_ids

KAFKA = "org.apache.kafka.connect."
JSON = {f"{part}.converter": f"{KAFKA}json.JsonConverter" for part in ("key", "value")}
PLAIN = JSON | {f"{part}.converter.schemas.enable": "false" for part in ("key", "value")}
UNWRAP = {"transforms": "u", "transforms.u.type": "io.debezium.transforms.ExtractNewRecordState"}
ITEM = b'{"id":{"S":"a"},"n":{"N":"1.50"}}'


def change_of(op: Any) -> Change:
    return Change(
        op=op,
        table="orders",
        keys=b'{"id":{"S":"a"}}',
        before=None if op == "c" else ITEM,
        after=None if op == "d" else ITEM,
        created_ms=1_700_000_000_000,
        event_id="e",
        sequence="1",
        shard_id="s",
        stream_arn="arn",
        region="eu-west-1",
        view_type="NEW_AND_OLD_IMAGES",
    )


def converted(
    properties: dict[str, str], *records: SourceRecord, format_name: FormatName = "debezium", errors_fail: bool = False
) -> Page:
    made = make_format(format_name, pipeline="shop", numbers="exact")
    converter = Converter(
        made.encode,
        pipeline="shop",
        topic_of=lambda table, _stream: f"shop.{table}",
        dead_letters_topic="dead",
        tombstones=True,
        errors_fail=errors_fail,
        connect=ConnectEncoder(
            made.connect_record,
            Chain(properties),
            converter_of(properties, "key", make_ids),
            converter_of(properties, "value", make_ids),
        ),
    )
    return converter.convert(ShardRef("arn", "s"), SourcePage(list(records), None, 1, full=False), 0)


def source(op: str) -> SourceRecord:
    return SourceRecord(Origin("orders", "1", 1_700_000_000_000, b"raw"), change_of(op))


def published(page: Page) -> list[tuple[str, bytes | None, Any]]:
    return [(each.topic, each.key, None if each.value is None else json.loads(each.value)) for each in page.records]


def test_the_item_alone_to_another_topic() -> None:
    route = {
        **PLAIN,
        **UNWRAP,
        "transforms": "u,r",
        "transforms.r.type": f"{KAFKA}transforms.RegexRouter",
        "transforms.r.regex": r"shop\.(.*)",
        "transforms.r.replacement": "rows-$1",
    }
    page = converted(route, source("c"), source("u"), source("d"))
    assert published(page) == [
        ("rows-orders", b'{"id":"a"}', {"id": "a", "n": 1.5}),
        ("rows-orders", b'{"id":"a"}', {"id": "a", "n": 1.5}),
        ("rows-orders", b'{"id":"a"}', None),  # the delete itself is left out, its tombstone is not
    ]
    assert page.records[0].value == b'{"id":"a","n":1.50}'
    assert len(page.changes) == 3


def test_a_change_of_which_nothing_is_left_is_dropped() -> None:
    dropped = PLAIN | {"transforms": "f", "transforms.f.type": f"{KAFKA}transforms.Filter"}
    page = converted(dropped, source("c"))
    assert (page.records, len(page.dropped), len(page.changes)) == ([], 1, 1)


def test_what_a_transform_cannot_take_is_a_dead_letter_or_stops_the_shard() -> None:
    wrong = PLAIN | {
        "transforms": "x",
        "transforms.x.type": f"{KAFKA}transforms.Cast$Value",
        "transforms.x.spec": "op:int32",
    }
    (letter,) = converted(wrong, source("c")).records
    assert letter.topic == "dead"
    assert ("__connect.errors.stage", b"TRANSFORMATION") in (letter.headers or [])
    assert "cannot be cast" in (converted(wrong, source("c"), errors_fail=True).stop or "")


def test_a_null_key_is_refused() -> None:
    no_key = PLAIN | {
        "transforms": "k",
        "transforms.k.type": f"{KAFKA}transforms.ExtractField$Key",
        "transforms.k.field": "none",
    }
    (letter,) = converted(no_key, source("c")).records
    assert ("__connect.errors.stage", b"KEY_CONVERTER") in (letter.headers or [])


def test_an_envelope_with_schemas() -> None:
    (record,) = converted(JSON, source("c"), format_name="trustpilot").records
    key, value = json.loads(record.key or b""), json.loads(record.value or b"")
    assert key["schema"]["name"] == "shop.orders.Key"
    assert key["payload"] == {"id": "a"}
    assert value["schema"]["name"] == "com.trustpilot.connector.dynamodb.envelope"
    assert json.loads(value["payload"]["document"]) == {"id": {"s": "a"}, "n": {"n": "1.50"}}


def test_a_raw_record_is_text_and_bytes() -> None:
    message = Message(b"p", b"\x00\x01", [("shardId", b"s")])
    raw = SourceRecord(Origin("stream", "1", 5, b"raw"), None, message=message, is_raw=True)
    properties = {
        "key.converter": f"{KAFKA}storage.StringConverter",
        "value.converter": f"{KAFKA}converters.ByteArrayConverter",
        "transforms": "h",
        "transforms.h.type": f"{KAFKA}transforms.InsertHeader",
        "transforms.h.header": "n",
        "transforms.h.value.literal": "5",
    }
    (record,) = converted(properties, raw).records
    assert (record.key, record.value) == (b"p", b"\x00\x01")
    assert record.headers == [("shardId", b"s"), ("n", b"5")]
    assert published(converted(PLAIN, raw)) == [("shop.stream", b'"p"', "AAE=")]
