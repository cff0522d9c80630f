"""The message key: the item's key attributes as canonical JSON, so that equal keys are equal bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tailrace.core.ports import KeyType
from tailrace.errors import RecordError
from tailrace.formats.attribute_value import binary
from tailrace.formats.number import Numbers, canonical_text, short_integer
from tailrace.formats.refusal import Refusal

_HINT: Final = "a key attribute is a string, a number or a binary: look at the record in the dead letters"
_STAGE: Final = "KEY_CONVERTER"

_decode = msgspec.json.Decoder(dict[str, Any], float_hook=msgspec.Raw).decode
_decode_texts = msgspec.json.Decoder(dict[str, Any], float_hook=str).decode
"""A number that is no integer keeps its text."""
_encode = msgspec.json.Encoder(order="deterministic").encode


def message_key(keys: bytes, numbers: Numbers) -> bytes:
    """Return the key of a record from the DynamoDB JSON of the key attributes, e.g. `{"id":"a","sort":1.5}`.

    Names are sorted by code point. A number has one text for its value (1, 1.0 and 1E0 give one key), without
    exponent unless a digit stands more than 40 places from the point. Raises `RecordError`.
    """
    try:
        attributes = _decode(keys)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"the key attributes cannot be read: {error}", stage=_STAGE, hint=_HINT) from None
    if not attributes:
        raise RecordError("the change has no key attributes", stage=_STAGE, hint=_HINT)
    key: dict[str, Any] = {}
    for name, typed in attributes.items():
        try:
            key[name] = _value(typed, numbers)
        except Refusal as refusal:
            raise RecordError(f"key attribute {name}: {refusal.reason}", stage=_STAGE, hint=refusal.hint) from None
    return _encode(key)


def key_attributes(key: bytes, types: Mapping[str, KeyType]) -> bytes | None:
    """Return the DynamoDB JSON of the key attributes that `message_key` made a key of; None when it is no such key.

    `types` are those of the table's key attributes.
    """
    try:
        values = _decode_texts(key)
    except (ValueError, RecursionError):
        return None
    if values.keys() != types.keys():
        return None
    typed = {}
    for name, kind in types.items():
        value = values[name]
        if kind == "N" and value.__class__ is int:
            value = str(value)
        if value.__class__ is not str or not value:  # DynamoDB has no empty keys
            return None
        typed[name] = {kind: value}
    return _encode(typed)


def _value(typed: Any, numbers: Numbers) -> object:
    if typed.__class__ is dict and len(typed) == 1:
        tag, value = typed.popitem()
        if value.__class__ is not str:
            raise Refusal("its value is not a string, as those of S, N and B are", hint=_HINT)
        if tag == "S":
            return value
        if tag == "N":
            short = short_integer(value)
            if numbers == "string":
                return canonical_text(value) if short is None else str(short)
            return msgspec.Raw(canonical_text(value)) if short is None else short
        if tag == "B":
            binary(value)
            return value
    raise Refusal("its type is not one of S, N and B", hint=_HINT)
