"""Converters: which bytes a key and a value become, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.connect.converters import Converter, Family
from tailrace.connect.converters import converter as converter_of
from tailrace.connect.data import Schema, struct
from tailrace.connect.errors import DataError
from tailrace.connect.options import OptionError
from tailrace.kafka.schema_registry import make_ids

JSON = "org.apache.kafka.connect.json.JsonConverter"
STRING = "org.apache.kafka.connect.storage.StringConverter"
BYTES = "org.apache.kafka.connect.converters.ByteArrayConverter"


def converter(properties: dict[str, str], family: Family) -> Converter:
    return converter_of(properties, family, make_ids)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", b"a"),
        (7, b"7"),
        (True, b"true"),
        ({"a": 1, "b": ["x", None]}, b"{a=1, b=[x, null]}"),
        (None, None),
    ],
)
def test_text(value: Any, text: bytes | None) -> None:
    assert converter({"key.converter": STRING}, "key").encode(None, value) == text


def test_bytes() -> None:
    made = converter({"value.converter": BYTES}, "value")
    assert made.encode(Schema("bytes"), b"\x00") == b"\x00"
    assert made.encode(None, None) is None
    with pytest.raises(DataError, match="takes bytes, not a struct"):
        made.encode(struct(None, {}), {})
    with pytest.raises(DataError, match="takes no bytes"):
        converter({"value.converter": STRING}, "value").encode(None, b"\x00")


def test_json_by_its_options() -> None:
    plain = converter({"value.converter": JSON, "value.converter.schemas.enable": "false"}, "value")
    assert plain.encode(Schema("string"), "a") == b'"a"'
    whole = converter({"value.converter": JSON}, "value")
    assert whole.encode(Schema("string"), "a") == b'{"schema":{"type":"string","optional":false},"payload":"a"}'


@pytest.mark.parametrize(
    ("properties", "name", "message"),
    [
        ({}, "value.converter", "is missing"),
        ({"value.converter": "com.acme.Own"}, "value.converter", "is not known"),
        ({"value.converter": JSON, "value.converter.colour": "x"}, "value.converter.colour", "is not known"),
        ({"value.converter": JSON, "value.converter.schemas.enable": "yes"}, "value.converter.schemas.enable", "true"),
        ({"value.converter": JSON, "value.converter.decimal.format": "X"}, "value.converter.decimal.format", "one of"),
    ],
)
def test_what_is_wrong_is_told_by_its_name(properties: dict[str, str], name: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        converter(properties, "value")
    assert caught.value.name == name
    assert message in caught.value.message
