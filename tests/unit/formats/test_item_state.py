"""Records of one state of an item have one digest, whatever change they are of, in every format."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import example, given
from hypothesis import strategies as st

from tailrace.core.change import Change, Op, ViewType
from tailrace.core.comparison import ABSENT, UNSEEN
from tailrace.formats import FORMATS, FormatName, make_format
from tailrace.formats.item_state import ItemStates, attributes
from tailrace.formats.keys import key_attributes, message_key
from tailrace.formats.number import Numbers

STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
KEYS = b'{"id":{"S":"a"}}'
OLD = b'{"id":{"S":"a"},"n":{"N":"1"}}'
NEW = b'{"tags":{"SS":["b","a"]},"n":{"N":"2"},"id":{"S":"a"},"in":{"M":{"l":{"L":[{"NS":["10","9"]}]}}}}'
NEW_IN_ANOTHER_ORDER = (
    b'{"in":{"M":{"l":{"L":[{"NS":["9","10"]}]}}},"id":{"S":"a"},"n":{"N":"2"},"tags":{"SS":["a","b"]}}'
)

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize

OURS: list[FormatName] = [name for name in FORMATS if FORMATS[name].reads_back]
"""Those that can be compared with tables."""


def value(
    name: FormatName,
    op: Op,
    before: bytes | None,
    after: bytes | None,
    *,
    sequence: str = "1",
    view_type: ViewType = "NEW_AND_OLD_IMAGES",
) -> bytes | None:
    change = Change(
        op=op,
        table="orders",
        keys=KEYS,
        before=before,
        after=after,
        created_ms=int(sequence) * 1000,
        event_id=f"e{sequence}",
        sequence=sequence,
        shard_id="shard-1",
        stream_arn=STREAM,
        region="us-east-1",
        view_type=view_type,
    )
    return make_format(name, pipeline="shop", numbers="exact").encode(change, 0).value


@pytest.mark.parametrize("name", OURS)
def test_one_state_has_one_digest_whatever_the_change(name: FormatName) -> None:
    states = ItemStates(FORMATS[name])
    shown = [
        value(name, "c", None, NEW),
        value(name, "u", OLD, NEW, sequence="2"),
        value(name, "r", None, NEW_IN_ANOTHER_ORDER, sequence="3"),
    ]
    assert len({states.of(each) for each in shown}) == 1
    assert states.of(shown[0]) != states.of(value(name, "c", None, OLD))
    assert states.of(shown[0]) not in (ABSENT, UNSEEN)


@pytest.mark.parametrize("name", OURS)
def test_a_delete_and_a_tombstone_show_no_item(name: FormatName) -> None:
    states = ItemStates(FORMATS[name])
    assert states.of(value(name, "d", OLD, None)) == states.of(None) == ABSENT


@pytest.mark.parametrize("name", [name for name in OURS if name != "item"])
@pytest.mark.parametrize("view_type", ["KEYS_ONLY", "OLD_IMAGE"])
def test_a_record_of_the_keys_alone_shows_that_there_is_an_item(name: FormatName, view_type: ViewType) -> None:
    states = ItemStates(FORMATS[name])
    before = OLD if view_type == "OLD_IMAGE" else None
    assert states.of(value(name, "u", before, None, view_type=view_type)) == UNSEEN
    assert states.of(value(name, "d", before, None, view_type=view_type)) == ABSENT


@pytest.mark.parametrize("name", OURS)
def test_attributes_that_are_left_out_do_not_count(name: FormatName) -> None:
    one, other = value(name, "c", None, OLD), value(name, "c", None, OLD.replace(b'"1"', b'"7"'))
    assert ItemStates(FORMATS[name]).of(one) != ItemStates(FORMATS[name]).of(other)
    states = ItemStates(FORMATS[name], frozenset({"n"}))
    assert states.of(one) == states.of(other)
    assert (attributes(FORMATS[name], one or b"") or {}).keys() == {"id", "n"}


@pytest.mark.parametrize("name", OURS)
@given(content=st.binary(max_size=40))
@example(content=b"[]")
@example(content=b'{"eventName":"INSERT","eventSourceARN":"a","dynamodb":{"Keys":1,"NewImage":{"a":{"SS":7}}}}')
@example(content=b'{"eventName":"INSERT","eventSourceARN":"a","dynamodb":{"Keys":1,"NewImage":[]}}')
def test_any_value_has_a_state(name: FormatName, content: bytes) -> None:
    for leaving_out in (frozenset[str](), frozenset({"a"})):
        assert len(ItemStates(FORMATS[name], leaving_out).of(content)) == len(ABSENT)


NUMBERS = st.integers(-(10**37), 10**37).map(Decimal) | st.decimals(-1000, 1000, places=7)
KEY_VALUES = st.fixed_dictionaries(
    {"name": st.text(min_size=1, max_size=8), "number": NUMBERS, "blob": st.binary(min_size=1, max_size=8)}
)


@given(values=KEY_VALUES, as_text=st.booleans())
def test_the_key_attributes_are_read_back_from_a_kafka_key(values: dict[str, Any], *, as_text: bool) -> None:
    typed = {name: _serialize(each) for name, each in values.items()}
    typed["blob"] = {"B": base64.b64encode(values["blob"]).decode()}
    numbers_as: Numbers = "string" if as_text else "exact"
    key = message_key(json.dumps(typed).encode(), numbers_as)
    found = key_attributes(key, {"name": "S", "number": "N", "blob": "B"})
    assert found is not None
    assert message_key(found, numbers_as) == key
    read = json.loads(found)
    assert read["name"] == typed["name"]
    assert read["blob"] == typed["blob"]
    assert Decimal(read["number"]["N"]) == Decimal(_deserialize(typed["number"]))


@pytest.mark.parametrize(
    "key", [b"", b"[]", b'{"id":1}', b'{"id":"a","more":"b"}', b'{"id":null}', b'{"id":""}', b'{"id":{}}', b"{}"]
)
def test_another_key_tells_no_key_attributes(key: bytes) -> None:
    assert key_attributes(key, {"id": "S"}) is None
