"""Reads the keys of items, one JSON object a line: DynamoDB JSON, or plain values of the key attributes' types."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Mapping
from decimal import Context, Inexact
from typing import Any, Final

import msgspec

from tailrace.config import FileErrors
from tailrace.core.ports import KeyType
from tailrace.errors import FileError, RecordError, excerpt
from tailrace.formats.keys import message_key
from tailrace.formats.number import to_decimal
from tailrace.formats.refusal import Refusal

KEYS_MAX: Final = 100_000
"""Most keys of one snapshot: every worker holds them all."""
_ERRORS_MAX: Final = 20
_LINE_BYTES_MAX: Final = 100_000
_BYTES_MAX: Final = (2048, 1024)
"""DynamoDB's limits of a partition key and of a sort key."""
_EXACT: Final = Context(prec=38, traps=[Inexact])
"""DynamoDB's numbers have so many digits."""

# A plain number keeps its own text: a float would round it.
_decode = msgspec.json.Decoder(dict[str, Any], float_hook=msgspec.Raw).decode
_encode = msgspec.json.encode


def read_keys(lines: Iterable[bytes], key_types: Mapping[str, KeyType], file: str) -> tuple[str, ...]:
    """Return the keys as DynamoDB JSON objects, each once, in the order of their first lines; empty lines do not count.

    Raises `FileErrors` with a sentence for each wrong line, the first 20 of them.
    """
    found: dict[bytes, str] = {}
    errors: list[FileError] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            key = _key(line, key_types)
            found.setdefault(message_key(key.encode(), "exact"), key)
        except (_WrongKeyError, RecordError) as error:
            errors.append(FileError(str(error), file=file, line=number, hint=_hint(key_types)))
        if len(found) > KEYS_MAX:
            errors.append(FileError(f"has more than {KEYS_MAX} keys", file=file, hint="split it, or use a filter"))
            break
        if len(errors) == _ERRORS_MAX:
            break
    if not errors and not found:
        errors.append(FileError("has no keys", file=file, hint=_hint(key_types)))
    if errors:
        raise FileErrors(errors)
    return tuple(found.values())


class _WrongKeyError(ValueError):
    """A line that is no key of the table; its text says why."""


def _key(line: bytes, key_types: Mapping[str, KeyType]) -> str:
    """Return one key. Raises _WrongKeyError."""
    if len(line) > _LINE_BYTES_MAX:
        raise _WrongKeyError("is too long for the key of an item")
    try:
        line.decode()
        values = _decode(line)
    except (ValueError, RecursionError) as error:
        raise _WrongKeyError(f"is not a JSON object: {excerpt(str(error))}") from None
    names = list(key_types)
    if set(values) != set(names):
        given = ", ".join(map(excerpt, values)) or "nothing"
        raise _WrongKeyError(f"has {given}, but the key of the table is {', '.join(names)}")
    key = {name: {kind: _text(name, values[name], kind)} for name, kind in key_types.items()}
    for (name, kind), bytes_max in zip(key_types.items(), _BYTES_MAX, strict=False):
        text = key[name][kind]
        if len(a2b_base64(text) if kind == "B" else text.encode()) > bytes_max:
            raise _WrongKeyError(f"{name} has more than the {bytes_max} bytes that DynamoDB allows")
    return _encode(key).decode()


def _text(name: str, value: Any, kind: KeyType) -> str:
    """Return the text that stands for a key attribute in DynamoDB JSON."""
    if isinstance(value, dict) and set(value) == {kind}:
        value = value[kind]
    elif kind == "N" and isinstance(value, int | msgspec.Raw) and not isinstance(value, bool):
        value = bytes(value).decode() if isinstance(value, msgspec.Raw) else str(value)
    if not isinstance(value, str):
        raise _WrongKeyError(f"{name} must be {_WORDS[kind]}, as the key of the table is")
    if not value:
        raise _WrongKeyError(f"{name} is empty")
    if kind == "N":
        _check_number(name, value)
    return _base64(name, value) if kind == "B" else value


def _check_number(name: str, value: str) -> None:
    try:
        number = to_decimal(value).normalize(_EXACT)
    except (Refusal, Inexact):
        raise _WrongKeyError(f"{name} is not a number of at most {_EXACT.prec} digits") from None
    if number and not -130 <= number.adjusted() <= 125:
        raise _WrongKeyError(f"{name} is a number out of DynamoDB's range, 1E-130 to 9.9E+125")


def _base64(name: str, value: str) -> str:
    """Return base64 as AWS writes it, so that equal keys have one text."""
    try:
        return b2a_base64(a2b_base64(value, strict_mode=True), newline=False).decode()
    except ValueError:
        raise _WrongKeyError(f"{name} is not base64") from None


_WORDS: Final[Mapping[KeyType, str]] = {"S": "a text", "N": "a number", "B": "base64 text"}
_SAMPLES: Final[Mapping[KeyType, object]] = {"S": "a", "N": 1, "B": "AAE="}


def _hint(key_types: Mapping[str, KeyType]) -> str:
    plain = {name: _SAMPLES[kind] for name, kind in key_types.items()}
    typed = {name: {kind: str(_SAMPLES[kind])} for name, kind in key_types.items()}
    return f"write one key a line, as {_encode(plain).decode()} or {_encode(typed).decode()}"
