"""Protocol Buffers 3 as Connect's schemas: the part of the language that is written here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from tailrace.connect.data import Field, Schema, SchemaType, optional
from tailrace.connect.errors import DataError

_TYPES: Final[Mapping[str, SchemaType]] = {
    "int32": "int32",
    "int64": "int64",
    "float": "float32",
    "double": "float64",
    "bool": "boolean",
    "string": "string",
    "bytes": "bytes",
}
_TOKEN: Final = re.compile(r"""\s+|//[^\n]*|/\*.*?\*/|("[^"]*"|'[^']*'|[\w.]+|.)""", re.DOTALL)
_SKIPPED: Final = ("option", "reserved", "import")


class _Declared(NamedTuple):
    """A field as it stands in the text."""

    label: str
    """`optional`, `repeated`, `map`, or nothing."""
    type: str
    name: str
    number: int


class _Message(msgspec.Struct):
    name: str
    fields: list[_Declared]
    nested: dict[str, _Message]


def read_protobuf(text: str) -> Schema:
    """Return the schema of a text's first message. Raises `DataError`.

    What the language cannot say is as it is read by everyone: lists, maps and messages are optional.
    """
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = [each[1] for each in _TOKEN.finditer(text) if each[1]]
        self._at = 0

    def parse(self) -> Schema:
        package = ""
        messages: list[_Message] = []
        while self._at < len(self._tokens):
            match self._next():
                case "syntax":
                    self._expect("=")
                    if self._next()[1:-1] != "proto3":
                        raise DataError("it is not in proto3")
                    self._expect(";")
                case "package":
                    package = self._next()
                    self._expect(";")
                case "message":
                    messages.append(self._message())
                case word if word in _SKIPPED:
                    self._skip()
                case ";":
                    pass
                case word:
                    raise DataError(f"it has `{word}`, which cannot be written here")
        if not messages:
            raise DataError("it has no message")
        scope = {each.name: each for each in messages}
        schema = _schema(messages[0], [scope], ())
        return msgspec.structs.replace(schema, name=f"{package}.{schema.name}" if package else schema.name)

    def _message(self) -> _Message:
        made = _Message(self._next(), [], {})
        self._expect("{")
        while (word := self._next()) != "}":
            if word == "message":
                nested = self._message()
                made.nested[nested.name] = nested
            elif word in _SKIPPED:
                self._skip()
            elif word in {"enum", "oneof", "extensions", "group"}:
                raise DataError(f"message {made.name} has `{word}`, which cannot be written here")
            elif word != ";":
                made.fields.append(self._field(word))
        return made

    def _field(self, word: str) -> _Declared:
        label = word if word in {"optional", "repeated", "map"} else ""
        if label == "map":
            self._expect("<")
            if (key := self._next()) != "string":
                raise DataError(f"it has a map with keys of {key}, which cannot be written here")
            self._expect(",")
        kind = self._next() if label else word
        if label == "map":
            self._expect(">")
        name = self._next()
        self._expect("=")
        number = int(self._next())
        self._skip()
        return _Declared(label, kind, name, number)

    def _next(self) -> str:
        if self._at == len(self._tokens):
            raise DataError("it ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, token: str) -> None:
        if (found := self._next()) != token:
            raise DataError(f"it has `{found}` where `{token}` should be")

    def _skip(self) -> None:
        while self._next() != ";":
            pass


def _schema(message: _Message, scopes: list[dict[str, _Message]], within: tuple[str, ...]) -> Schema:
    """Return the struct of a message; `scopes` has what can be named, the innermost last."""
    if message.name in within:
        raise DataError(f"message {message.name} holds itself, which cannot be written here")
    scopes = [*scopes, message.nested]
    fields = []
    for number, each in enumerate(sorted(message.fields, key=lambda field: field.number), 1):
        if each.number != number:
            raise DataError(f"message {message.name} has no field {number}: its fields must be numbered 1, 2, 3 and on")
        one = _type(each.type, scopes, (*within, message.name))
        if each.label == "repeated":
            one = Schema("array", optional=True, values=one)
        elif each.label == "map":
            one = Schema("map", optional=True, keys=Schema("string"), values=one)
        elif each.label == "optional" or one.type == "struct":
            one = optional(one)
        fields.append(Field(each.name, one))
    return Schema("struct", name=message.name, fields=tuple(fields))


def _type(name: str, scopes: list[dict[str, _Message]], within: tuple[str, ...]) -> Schema:
    if name in _TYPES:
        return Schema(_TYPES[name])
    last = name.rpartition(".")[2]
    for depth in range(len(scopes), 0, -1):
        if last in scopes[depth - 1]:
            return _schema(scopes[depth - 1][last], scopes[:depth], within)
    raise DataError(f"it has {name}, a type that cannot be written here")
