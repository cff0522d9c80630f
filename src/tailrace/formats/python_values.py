"""Items as Python values for whoever changes them: numbers exact as Decimal, sets as sets, binary as bytes.

An image that was not changed keeps its own text: 1.50 stays 1.50, and a set keeps its order.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from tailrace.errors import RecordError
from tailrace.formats.attribute_value import Convert, Transcoder, binary, check_level, parse, strings
from tailrace.formats.number import to_decimal
from tailrace.formats.refusal import Refusal

_HINT: Final = (
    "an attribute is None, a bool, str, int, Decimal, bytes, a dict, a list, or a set of str, numbers or bytes"
)

_encode = msgspec.json.Encoder().encode


def to_python(image: bytes) -> dict[str, Any]:
    """Return the item of a DynamoDB JSON object. Raises `RecordError` naming the attribute."""
    item = parse(image)
    try:
        return _TRANSCODER.map(item, 0)
    except Refusal as refusal:
        raise refusal.error() from None


def from_python(item: Mapping[str, Any], like: bytes | None) -> bytes:
    """Return the DynamoDB JSON of an item, without spaces; `like` is the image that it was made of.

    A value that equals the one at the same place of `like` keeps its text. Raises `RecordError` naming the attribute.
    """
    try:
        return _encode(_map(item, parse(like) if like is not None else {}, 1))
    except Refusal as refusal:
        raise refusal.error() from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"the item cannot be written: {error}", hint=_HINT) from None


def _decimal(value: Any, _level: int) -> object:
    if value.__class__ is not str:
        raise Refusal("its value of type N is not a string", hint="look at the record in the dead letters")
    return to_decimal(value)


def _set_of(tag: str) -> Convert:
    return lambda value, _level: set(map(_SETS[tag], strings(tag, value)))


_SETS: Final[dict[str, Callable[[str], Any]]] = {"SS": str, "NS": to_decimal, "BS": binary}
"""What a member of each set is in Python."""
_TRANSCODER: Final = Transcoder(
    _decimal, {"B": lambda value, _level: binary(value), **{tag: _set_of(tag) for tag in _SETS}}
)


def _map(item: Mapping[str, Any], like: dict[str, Any], level: int) -> dict[str, Any]:
    check_level(level, item)
    typed = {}
    for name, value in item.items():
        if not isinstance(name, str):
            raise Refusal("an attribute's name is not a str", hint=_HINT).inside(str(name))
        try:
            typed[name] = _value(value, like.get(name), level)
        except Refusal as refusal:
            raise refusal.inside(name) from None
    return typed


def _list(members: list[Any] | tuple[Any, ...], like: list[Any], level: int) -> list[Any]:
    check_level(level, members)
    typed = []
    for index, value in enumerate(members):
        try:
            typed.append(_value(value, like[index] if index < len(like) else None, level))
        except Refusal as refusal:
            raise refusal.inside(f"[{index}]") from None
    return typed


def _value(value: Any, like: Any, level: int) -> dict[str, Any]:  # noqa: PLR0911 - one for each type
    kept = like if like.__class__ is dict else {}
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int() | Decimal():
            return {"N": kept["N"] if "N" in kept and to_decimal(kept["N"]) == value else _number(value)}
        case bytes() | bytearray():
            return {"B": kept["B"] if "B" in kept and binary(kept["B"]) == value else _base64(value)}
        case dict():
            return {"M": _map(value, kept.get("M", {}), level + 1)}
        case list() | tuple():
            return {"L": _list(value, kept.get("L", []), level + 1)}
        case set() | frozenset():
            return _set(value, kept)
        case float():
            raise Refusal("a float is not exact", hint="make it a Decimal")
    raise Refusal(f"a {type(value).__name__} is no DynamoDB value", hint=_HINT)


def _set(members: set[Any] | frozenset[Any], kept: dict[str, Any]) -> dict[str, Any]:
    for tag, member_of in _SETS.items():
        if tag in kept and set(map(member_of, kept[tag])) == members:
            return {tag: kept[tag]}
    if members and all(isinstance(member, str) for member in members):
        return {"SS": sorted(members)}
    if members and all(isinstance(member, int | Decimal) and not isinstance(member, bool) for member in members):
        return {"NS": [_number(member) for member in sorted(members)]}
    if members and all(isinstance(member, bytes) for member in members):
        return {"BS": [_base64(member) for member in sorted(members)]}
    raise Refusal("a set holds str, numbers or bytes, all of one kind and at least one", hint=_HINT)


def _number(value: int | Decimal) -> str:
    if isinstance(value, Decimal) and not value.is_finite():
        raise Refusal("its number is not finite", hint="DynamoDB stores only finite numbers: store one, or a string")
    return str(value)


def _base64(value: bytes | bytearray) -> str:
    return b64encode(value).decode()
