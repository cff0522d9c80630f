"""DynamoDB JSON (`{"n":{"N":"1.50"}}`) to plain JSON (`{"n":1.50}`): all ten types, exact, one text per value.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import msgspec

from tailrace.errors import RecordError
from tailrace.formats.number import Numbers, json_text, short_integer, to_decimal
from tailrace.formats.refusal import Refusal

_LEVELS_MAX: Final = 32
"""DynamoDB's own limit; an attribute of the item is on level 1, a member of its map or list on level 2."""
_HINT: Final = "AWS sends no such thing: look at the record in the dead letters and at what wrote it to the source"

_BINARY: Final = (b'"B"', b'"BS"', b'"B\\u', b"\\u0042")
"""One of these is in every image that has binary: its tag, whose letters may be written as escapes."""

_SETS: Final = {"SS", "NS", "BS"}

Convert = Callable[[Any, int], object]
"""Takes the value under a type tag and its level; returns what msgspec encodes as plain JSON."""

# Plain `float` would round: a JSON number where DynamoDB JSON has none is kept as its own text.
_decode = msgspec.json.Decoder(dict[str, Any], float_hook=msgspec.Raw).decode
_decode_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
# "deterministic" sorts the names of every map by code point: the same item has one text, whatever carried it.
_encode = msgspec.json.Encoder(order="deterministic").encode


def to_json(image: bytes, numbers: Numbers) -> bytes:
    """Transcode a DynamoDB JSON object to compact plain JSON in UTF-8, names sorted by code point on every level.

    Numbers are JSON numbers with all their digits (`exact`) or strings; sets are sorted arrays (strings by code
    point, numbers and binaries by value); binary stays base64. Raises `RecordError` naming the attribute.
    """
    item = parse(image)
    try:
        return _encode(_TRANSCODERS[numbers].map(item, 0))
    except Refusal as refusal:
        raise refusal.error() from None


def all_to_json(images: Sequence[bytes]) -> list[bytes] | None:
    """Return `to_json` of each, exact; None when one cannot be converted, or may have binary, which would be text."""
    together = b"\n".join(images)
    if any(each in together for each in _BINARY):
        return None
    try:
        return [to_json(each, "exact") for each in images]
    except RecordError:
        return None


def to_json_both(before: bytes, after: bytes, numbers: Numbers) -> tuple[bytes, bytes]:
    """Return `to_json` of both images of one item, converting once what they share: most updates change little."""
    item = parse(after)
    old, new = parse(before, _decode_names), _decode_names(after)
    changed = {name: value for name, value in old.items() if new.get(name) != value}
    old_item = parse(_encode(changed)) if changed else {}
    convert = _TRANSCODERS[numbers].map
    try:
        convert(item, 0)
        convert(old_item, 0)
    except Refusal as refusal:
        raise refusal.error() from None
    old_item = item | old_item
    for name in new.keys() - old.keys():
        del old_item[name]
    return _encode(old_item), _encode(item)


def sorted_image(image: bytes) -> bytes:
    """Return the same DynamoDB JSON, compact and with its names sorted: one text per item, whatever carried it."""
    return _encode(parse(image))


def canonical_image(image: bytes) -> bytes:
    """Return `sorted_image` with the members of sets sorted too; as it is when it is not DynamoDB JSON."""
    try:
        item = _decode(image)
        _sort_sets("M", item)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return image
    return _encode(item)


def _sort_sets(tag: str, value: Any) -> None:
    """Sort the sets inside of a value of type `tag`. Raises what Python does for anything that is none."""
    if tag in _SETS:
        value.sort()
    elif tag in {"M", "L"}:
        for typed in value.values() if tag == "M" else value:
            for inner_tag, inner in typed.items():
                _sort_sets(inner_tag, inner)


def binary(value: object) -> bytes:
    """Decode base64 (standard alphabet, padded), or raise `Refusal`."""
    if isinstance(value, str):
        try:
            return a2b_base64(value, strict_mode=True)
        except ValueError:
            pass
    raise Refusal("its binary value is not base64", hint=_HINT)


def parse(image: bytes, decode: Callable[[bytes], dict[str, Any]] = _decode) -> dict[str, Any]:
    """Parse a DynamoDB JSON object, its typed values unchanged. Raises `RecordError`."""
    try:
        return decode(image)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"the item is not a JSON object: {error}", hint=_HINT) from None


def _n_exact(value: Any, _level: int) -> object:
    if value.__class__ is not str:
        raise _wrong_type("N", "a string")
    short = short_integer(value)
    return msgspec.Raw(json_text(value)) if short is None else short


def _n_string(value: Any, _level: int) -> object:
    if value.__class__ is not str:
        raise _wrong_type("N", "a string")
    return json_text(value)


def _string(value: Any, _level: int) -> object:
    if value.__class__ is not str:
        raise _wrong_type("S", "a string")
    return value


def _b(value: Any, _level: int) -> object:
    binary(value)
    return value


def _bool(value: Any, _level: int) -> object:
    if value.__class__ is not bool:
        raise _wrong_type("BOOL", "true or false")
    return value


def _null(value: Any, _level: int) -> object:
    if value is not True:
        raise _wrong_type("NULL", "true")
    return None


def _ss(value: Any, _level: int) -> object:
    return sorted(strings("SS", value))


def _bs(value: Any, _level: int) -> object:
    return sorted(strings("BS", value), key=binary)


def _value_of(text: str) -> int | Decimal:
    short = short_integer(text)
    return to_decimal(text) if short is None else short


def strings(tag: str, value: Any) -> list[str]:
    """Return the members of a set as DynamoDB JSON has them, or raise `Refusal`."""
    if value.__class__ is list:
        try:
            "".join(value)  # the quickest way to look at the type of each
        except TypeError:
            pass
        else:
            members: list[str] = value
            return members
    raise _wrong_type(tag, "an array of strings")


def _wrong_type(tag: str, expected: str) -> Refusal:
    return Refusal(f"its value of type {tag} is not {expected}", hint=_HINT)


def _unknown_type() -> Refusal:
    return Refusal("its type is none of S, N, B, BOOL, NULL, M, L, SS, NS, BS", hint=_HINT)


def _misshapen(typed: object) -> Refusal:
    if isinstance(typed, dict) and len(typed) > 1:
        return Refusal("it has more than one type", hint=_HINT)
    return Refusal("it is not an object with one type and its value", hint=_HINT)


def check_level(level: int, members: Collection[Any]) -> None:
    """Raise `Refusal` when a map or list stands deeper than DynamoDB stores; `level` is that of its members."""
    if level > _LEVELS_MAX and members:
        raise Refusal(
            f"it is nested deeper than {_LEVELS_MAX} levels", hint="DynamoDB stores no more: flatten the item"
        )


class Transcoder:
    """Walks an item that was decoded for it alone, replacing each `{tag: value}` in place.

    `number` converts numbers; `others` the types, by their tags, that do not become plain JSON.
    """

    def __init__(self, number: Convert, others: Mapping[str, Convert] = MappingProxyType({})) -> None:
        self._number = number
        self._converters: dict[str, Convert] = {
            "S": _string,
            "N": number,
            "B": _b,
            "BOOL": _bool,
            "NULL": _null,
            "M": self.map,
            "L": self._l,
            "SS": _ss,
            "NS": self._ns,
            "BS": _bs,
            **others,
        }

    # `map` and `_l` do the same for each value; a function shared by them would cost a tenth of the whole.

    def map(self, attributes: Any, level: int) -> dict[str, Any]:
        """Convert the attributes of an item, which is on level 0, or of a map on its own level."""
        if attributes.__class__ is not dict:
            raise _wrong_type("M", "an object")
        level += 1
        check_level(level, attributes)
        converters = self._converters
        name = ""
        try:
            for name, typed in attributes.items():
                if typed.__class__ is not dict or len(typed) != 1:
                    raise _misshapen(typed)
                tag, value = typed.popitem()
                attributes[name] = converters[tag](value, level)
        except Refusal as refusal:
            raise refusal.inside(name) from None
        except KeyError:
            raise _unknown_type().inside(name) from None
        return attributes

    def _l(self, value: Any, level: int) -> object:
        if value.__class__ is not list:
            raise _wrong_type("L", "an array")
        level += 1
        check_level(level, value)
        converters = self._converters
        index = 0
        try:
            for index, typed in enumerate(value):
                if typed.__class__ is not dict or len(typed) != 1:
                    raise _misshapen(typed)
                tag, member = typed.popitem()
                value[index] = converters[tag](member, level)
        except Refusal as refusal:
            raise refusal.inside(f"[{index}]") from None
        except KeyError:
            raise _unknown_type().inside(f"[{index}]") from None
        return value

    def _ns(self, value: Any, level: int) -> object:
        texts = strings("NS", value)
        shorts = [short for text in texts if (short := short_integer(text)) is not None]
        if len(shorts) == len(texts) and self._number is _n_exact:
            return sorted(shorts)
        return [self._number(text, level) for text in sorted(texts, key=_value_of)]


_TRANSCODERS: Final[dict[Numbers, Transcoder]] = {"exact": Transcoder(_n_exact), "string": Transcoder(_n_string)}
