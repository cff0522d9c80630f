"""Each format's promises: the item comes back whole, and what the stream left out is said."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings

from support.dynamodb_items import as_aws_sends, items, parsed, reference
from tailrace import __version__
from tailrace.core.change import Change, Message, SnapshotMark, ViewType
from tailrace.errors import RecordError
from tailrace.formats import FORMATS, FormatName, Numbers, make_format

NOW_NS = 1_700_000_009_123_456_789
STREAM = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2024-05-01T10:00:00.000"
TABLE = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders"
OLD = {"id": {"S": "a"}, "state": {"S": "new"}}
NEW = {"id": {"S": "a"}, "state": {"S": "paid"}}
NEEDED_IMAGES = {"c": {"after"}, "u": {"before", "after"}, "d": {"before"}, "r": {"after"}}
CARRIED_IMAGES: dict[ViewType, set[str]] = {
    "NEW_AND_OLD_IMAGES": {"before", "after"},
    "NEW_IMAGE": {"after"},
    "OLD_IMAGE": {"before"},
    "KEYS_ONLY": set(),
}


OURS: list[FormatName] = [name for name in FORMATS if FORMATS[name].reads_back]
"""Without the envelopes of other connectors."""


def row_of(**fields: Any) -> Change:
    """Return a row as a snapshot reads it."""
    row = change_of("r", "NEW_IMAGE", event_id="", sequence="", shard_id="", stream_arn=TABLE, snapshot="true")
    return msgspec.structs.replace(row, **fields)


def dumped(image: Any) -> bytes:
    return json.dumps(image, ensure_ascii=False).encode()


def change_of(op: Any, view_type: ViewType = "NEW_AND_OLD_IMAGES", **fields: Any) -> Change:
    """Return a change as a stream of this view type carries it."""
    images = NEEDED_IMAGES[op] & CARRIED_IMAGES[view_type]
    change = Change(
        op=op,
        table="orders",
        keys=dumped({"id": {"S": "a"}}),
        before=dumped(OLD) if "before" in images else None,
        after=dumped(NEW) if "after" in images else None,
        created_ms=1_700_000_000_125,
        event_id="e1",
        sequence="100000000000000000001",
        shard_id="shardId-1",
        stream_arn=STREAM,
        region="eu-west-1",
        view_type=view_type,
    )
    return msgspec.structs.replace(change, **fields)


def encode(name: FormatName, change: Change, numbers: Numbers = "exact") -> Message:
    return make_format(name, pipeline="shop", numbers=numbers).encode(change, NOW_NS)


def value_of(message: Message) -> Any:
    assert message.value is not None
    return json.loads(message.value)


@pytest.mark.parametrize("name", FORMATS)
def test_only_a_late_change_says_so_where_there_is_a_place_for_it(name: FormatName) -> None:
    for op in ("c", "u", "d"):
        in_order, late = encode(name, change_of(op)), encode(name, change_of(op, late=True))
        mark = {"debezium": b',"late":true},"op"', "cloudevents": b',"late":true}}'}.get(name, b"")
        assert (mark in (late.value or b""), mark not in (in_order.value or b"")) == (True, bool(mark))
        unmarked = late.value and late.value.replace(b',"late":true', b"")
        assert (late.key, unmarked) == (in_order.key, in_order.value)


@settings(max_examples=60, deadline=None)
@given(items, items)
def test_every_format_gives_the_item_back(old: dict[str, Any], new: dict[str, Any]) -> None:
    old, new = as_aws_sends(old), as_aws_sends(new)
    change = change_of("u", before=dumped(old), after=dumped(new))
    images: dict[str, bytes] = {name: encode(name, change).value or b"" for name in OURS}
    for name, path in (("debezium", ()), ("cloudevents", ("data",))):
        shape: Any = msgspec.json.decode(images[name], type=dict[str, msgspec.Raw])
        for step in path:
            shape = msgspec.json.decode(shape[step], type=dict[str, msgspec.Raw])
        assert parsed(bytes(shape["before"])) == reference(old)
        assert parsed(bytes(shape["after"])) == reference(new)
    assert parsed(images["item"]) == reference(new)
    record = json.loads(images["dynamodb-json"])["dynamodb"]
    assert (record["OldImage"], record["NewImage"]) == (old, new)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_gives_the_same_bytes_in_whatever_order_and_spacing_aws_wrote(name: FormatName) -> None:
    change = change_of("u", keys=b'{"id":{"S":"a"},"n":{"N":"1"}}', after=b'{"id":{"S":"a"},"n":{"N":"1"}}')
    other = change_of("u", keys=b'{"n": {"N":"1"}, "id":{"S":"a"}}', after=b'{ "n":{"N":"1"},"id":{"S":"\\u0061"}}')
    assert encode(name, change) == encode(name, other)


@pytest.mark.parametrize("name", OURS)
def test_every_format_has_the_same_message_key(name: FormatName) -> None:
    keys = dumped({"sort": {"N": "1.50"}, "id": {"B": "AP8="}})
    assert encode(name, change_of("u", keys=keys)).key == b'{"id":"AP8=","sort":1.5}'
    assert encode(name, change_of("u", keys=keys), "string").key == b'{"id":"AP8=","sort":"1.5"}'


@pytest.mark.parametrize("name", ["debezium", "item", "cloudevents"])
def test_numbers_are_strings_on_request(name: FormatName) -> None:
    change = change_of("u", after=dumped({"id": {"S": "a"}, "n": {"N": "1.50"}}))
    assert b'"n":"1.50"' in (encode(name, change, "string").value or b"")
    assert b'"n":1.50' in (encode(name, change, "exact").value or b"")


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        (FORMATS, {"keys": b"{}"}),
        (OURS, {"keys": b'{"id":{"BOOL":true}}'}),
        (FORMATS, {"after": b"["}),
        (("debezium", "dynamodb-json", "cloudevents"), {"before": b"{"}),
        (("debezium", "item", "cloudevents"), {"after": b'{"a":{"X":"1"}}'}),
    ],
)
def test_what_cannot_be_converted_is_a_record_error(names: tuple[FormatName, ...], fields: dict[str, Any]) -> None:
    for name in names:
        with pytest.raises(RecordError):
            encode(name, change_of("u", **fields))


def test_debezium_says_where_and_when() -> None:
    message = encode("debezium", change_of("u"))
    assert message.headers is None
    assert value_of(message) == {
        "before": {"id": "a", "state": "new"},
        "after": {"id": "a", "state": "paid"},
        "source": {
            "version": __version__,
            "connector": "dynamodb",
            "name": "shop",
            "ts_ms": 1_700_000_000_125,
            "ts_us": 1_700_000_000_125_000,
            "ts_ns": 1_700_000_000_125_000_000,
            "snapshot": "false",
            "db": "123456789012",
            "sequence": "100000000000000000001",
            "table": "orders",
            "shard": "shardId-1",
            "event_id": "e1",
            "stream": STREAM,
            "region": "eu-west-1",
            "view_type": "NEW_AND_OLD_IMAGES",
        },
        "op": "u",
        "ts_ms": 1_700_000_009_123,
        "ts_us": 1_700_000_009_123_456,
        "ts_ns": NOW_NS,
        "transaction": None,
    }


@pytest.mark.parametrize("mark", get_args(SnapshotMark))
def test_debezium_marks_a_row_of_a_snapshot_which_has_no_place_in_a_stream(mark: SnapshotMark) -> None:
    envelope = value_of(encode("debezium", row_of(snapshot=mark)))
    assert (envelope["op"], envelope["before"], envelope["after"]) == ("r", None, {"id": "a", "state": "paid"})
    assert envelope["source"] == {
        "version": __version__,
        "connector": "dynamodb",
        "name": "shop",
        "snapshot": mark,
        "db": "123456789012",
        "table": "orders",
        "shard": None,
        "stream": None,
        "region": "eu-west-1",
        "view_type": None,
        "sequence": None,
        "event_id": None,
        "ts_ms": 1_700_000_000_125,
        "ts_us": 1_700_000_000_125_000,
        "ts_ns": 1_700_000_000_125_000_000,
    }


def test_a_delete_that_a_snapshot_found_has_no_place_in_a_stream_either() -> None:
    found = row_of(op="d", before=dumped(OLD), after=None, snapshot="incremental")
    source = value_of(encode("debezium", found))["source"]
    assert (source["snapshot"], source["shard"], source["sequence"]) == ("incremental", None, None)
    record = value_of(encode("dynamodb-json", found))
    assert (record["eventName"], record["eventID"]) == ("REMOVE", None)
    assert value_of(encode("cloudevents", found))["type"] == "com.amazonaws.dynamodb.item.deleted"


def test_debezium_marks_a_delete_by_time_to_live() -> None:
    assert value_of(encode("debezium", change_of("c")))["source"]["snapshot"] == "false"
    assert value_of(encode("debezium", change_of("d", expired=True)))["source"]["ttl"] is True


def test_debezium_survives_names_that_need_escaping() -> None:
    change = change_of("c", event_id='e"1\\', shard_id='s"1')
    message = make_format("debezium", pipeline='sh"op', numbers="exact").encode(change, NOW_NS)
    source = value_of(message)["source"]
    assert (source["name"], source["event_id"], source["shard"]) == ('sh"op', 'e"1\\', 's"1')


def test_debezium_has_no_account_for_an_arn_without_one() -> None:
    assert value_of(encode("debezium", change_of("c", stream_arn="stream")))["source"]["db"] == ""


@pytest.mark.parametrize(
    ("name", "image_path", "note_path"), [("debezium", (), ("source",)), ("cloudevents", ("data",), ("data",))]
)
@pytest.mark.parametrize("view_type", get_args(ViewType))
@pytest.mark.parametrize("op", ["c", "u", "d", "r"])
def test_an_image_that_the_stream_left_out_is_named_and_never_reads_as_another_operation(
    name: FormatName, image_path: tuple[str, ...], note_path: tuple[str, ...], view_type: ViewType, op: str
) -> None:
    value = value_of(encode(name, change_of(op, view_type)))
    images, notes = value, value
    for step in image_path:
        images = images[step]
    for step in note_path:
        notes = notes[step]
    left_out = NEEDED_IMAGES[op] - CARRIED_IMAGES[view_type]
    missing = left_out & {"before"} if op == "u" else set()
    keys_only = left_out - missing
    assert notes.get("missing") == (sorted(missing) or None)
    assert notes.get("keys_only") == (sorted(keys_only) or None)

    whole = {"before": {"id": "a", "state": "new"}, "after": {"id": "a", "state": "paid"}}
    for image in ("before", "after"):
        if image not in NEEDED_IMAGES[op] or image in missing:
            assert images[image] is None
        else:
            assert images[image] == ({"id": "a"} if image in keys_only else whole[image])


def test_the_item_of_a_delete_is_null() -> None:
    assert encode("item", change_of("d")).value is None
    assert encode("item", change_of("d", "KEYS_ONLY")).value is None


@pytest.mark.parametrize("op", ["c", "u", "r"])
@pytest.mark.parametrize("view_type", ["OLD_IMAGE", "KEYS_ONLY"])
def test_the_item_format_refuses_a_change_without_its_image(op: str, view_type: ViewType) -> None:
    with pytest.raises(RecordError, match=f"no new image .view type {view_type}.*; switch the stream to NEW_IMAGE"):
        encode("item", change_of(op, view_type))


@pytest.mark.parametrize(("op", "event_name"), [("c", "INSERT"), ("u", "MODIFY"), ("d", "REMOVE"), ("r", "INSERT")])
@pytest.mark.parametrize("view_type", get_args(ViewType))
def test_dynamodb_json_is_the_record_of_a_lambda_event(op: str, event_name: str, view_type: ViewType) -> None:
    record = value_of(encode("dynamodb-json", change_of(op, view_type)))
    images = NEEDED_IMAGES[op] & CARRIED_IMAGES[view_type]
    assert record == {
        "eventID": "e1",
        "eventName": event_name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_700_000_000.125,
            "Keys": {"id": {"S": "a"}},
            **({"NewImage": NEW} if "after" in images else {}),
            **({"OldImage": OLD} if "before" in images else {}),
            "SequenceNumber": "100000000000000000001",
            "StreamViewType": view_type,
        },
        "eventSourceARN": STREAM,
    }


def test_dynamodb_json_gives_null_for_what_a_row_lacks_since_code_indexes_it() -> None:
    assert value_of(encode("dynamodb-json", row_of())) == {
        "eventID": None,
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_700_000_000.125,
            "Keys": {"id": {"S": "a"}},
            "NewImage": NEW,
            "SequenceNumber": None,
            "StreamViewType": None,
        },
        "eventSourceARN": TABLE,
    }


def test_dynamodb_json_names_time_to_live_as_aws_does() -> None:
    identity = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    assert value_of(encode("dynamodb-json", change_of("d", expired=True)))["userIdentity"] == identity


@pytest.mark.parametrize(("created_ms", "text"), [(0, b"0"), (1_700_000_000_000, b"1700000000"), (1_005, b"1.005")])
def test_dynamodb_json_writes_seconds_exactly(created_ms: int, text: bytes) -> None:
    value = encode("dynamodb-json", change_of("c", created_ms=created_ms)).value
    assert b'"ApproximateCreationDateTime":' + text + b"," in (value or b"")


@pytest.mark.parametrize(("op", "verb"), [("c", "created"), ("u", "updated"), ("d", "deleted"), ("r", "read")])
def test_cloudevents_has_the_attributes_of_the_specification(op: str, verb: str) -> None:
    message = encode("cloudevents", change_of(op))
    event = value_of(message)
    data = event.pop("data")
    assert message.headers == [("content-type", b"application/cloudevents+json; charset=UTF-8")]
    assert data["keys"] == {"id": "a"}
    assert event == {
        "specversion": "1.0",
        "id": "e1",
        "source": STREAM,
        "type": f"com.amazonaws.dynamodb.item.{verb}",
        "subject": '{"id":"a"}',
        "time": "2023-11-14T22:13:20.125Z",
        "datacontenttype": "application/json",
        "partitionkey": message.key.decode(),
        "sequence": "0000000000000000000100000000000000000001",
    }
    assert all(name.isascii() and name.isalnum() and name == name.lower() and len(name) <= 20 for name in event)
    assert datetime.fromisoformat(event["time"]) == datetime(2023, 11, 14, 22, 13, 20, 125_000, tzinfo=UTC)


def test_cloudevents_names_a_row_by_its_key_and_time() -> None:
    event = value_of(encode("cloudevents", row_of()))
    assert event == {
        "specversion": "1.0",
        "id": '{"id":"a"}@1700000000125',
        "source": TABLE,
        "type": "com.amazonaws.dynamodb.item.read",
        "subject": '{"id":"a"}',
        "time": "2023-11-14T22:13:20.125Z",
        "datacontenttype": "application/json",
        "partitionkey": '{"id":"a"}',
        "data": {"before": None, "after": {"id": "a", "state": "paid"}, "keys": {"id": "a"}},
    }


def test_cloudevents_orders_sequence_numbers_by_text_as_by_number() -> None:
    changes = [change_of("u", sequence=sequence) for sequence in ("9" * 21, "1" + "0" * 21)]
    shorter, longer = (value_of(encode("cloudevents", change))["sequence"] for change in changes)
    assert shorter < longer


def test_cloudevents_says_time_to_live_and_leaves_an_unknown_time_out() -> None:
    event = value_of(encode("cloudevents", change_of("d", expired=True, created_ms=0)))
    assert event["data"]["ttl"] is True
    assert "time" not in event


def test_only_formats_of_the_item_alone_need_the_new_image() -> None:
    refused = {
        (name, view_type) for name in FORMATS for view_type in get_args(ViewType) if FORMATS[name].why_not(view_type)
    }
    assert refused == {(name, view) for name in ("item", "trustpilot") for view in ("OLD_IMAGE", "KEYS_ONLY")}
    assert "OLD_IMAGE" in (FORMATS["item"].why_not("OLD_IMAGE") or "")


@pytest.mark.parametrize("name", FORMATS)
def test_a_delete_is_followed_by_a_tombstone_unless_it_is_one(name: FormatName) -> None:
    assert FORMATS[name].null_is_delete == (encode(name, change_of("d")).value is None)
