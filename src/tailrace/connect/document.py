"""Documents: the JSON messages of a format as records of one fixed schema, with items in them as JSON text.

A shape takes a message apart into the values of its schema, and puts it together again: the same bytes.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Final, NamedTuple, get_args, get_origin

import msgspec

from tailrace.connect.data import Schema, optional, struct
from tailrace.connect.errors import DataError

Json = msgspec.Raw
"""A field that the schema holds as JSON text."""
NullableJson = Annotated[msgspec.Raw, msgspec.Meta(extra={"nullable": True})]
"""The same, where JSON has null as well."""
NOTHING: Final = msgspec.Raw()
"""The default of JSON that is not always there."""

JSON_TEXT: Final = Schema("string", name="io.debezium.data.Json", version=1)
"""Text that is JSON, as Debezium names it."""
_TYPES: Final[dict[Any, Schema]] = {
    Json: JSON_TEXT,
    str: Schema("string"),
    int: Schema("int64"),
    float: Schema("float64"),
    bool: Schema("boolean"),
    list[str]: Schema("array", values=Schema("string")),
}
_encode: Final = msgspec.json.Encoder().encode


class Document(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A message, or an object in it: a field without a default is always there, null or not; others only if not null.

    Types are `str`, `int`, `float`, `bool`, `list[str]` and other documents, each with or without `| None`; `Json`, and
    `NullableJson` without a default or with `NOTHING`.
    """

    schema_name: ClassVar[str]


class Whole:
    """The shape of messages that have no fixed fields: all of it is the text of one field."""

    def __init__(self, name: str, field: str) -> None:
        """`name` is the schema's."""
        self.schema = struct(name, {field: JSON_TEXT})
        self._field = field

    def apart(self, message: bytes) -> dict[str, Any]:
        """Return the text, below the field's name."""
        return {self._field: message.decode()}

    def together(self, value: dict[str, Any]) -> bytes:
        """Return the text."""
        message: bytes = value[self._field].encode()
        if message[:1] != b"{":
            raise DataError("the text is no JSON object")
        return message


class Parts:
    """The shape of messages with fixed fields."""

    def __init__(self, kind: type[Document]) -> None:
        self.kind = kind
        self._object = _Object(kind)
        self._decode = msgspec.json.Decoder(kind).decode
        self.schema: Schema = self._object.schema

    def decode(self, message: bytes) -> Document:
        """Return a message as a document. Raises `DataError` for one that has another shape."""
        try:
            return self._decode(message)
        except (ValueError, RecursionError) as error:
            raise DataError(f"the message is not what its schema holds: {error}") from None

    def apart(self, message: bytes) -> dict[str, Any]:
        """Return the value of a message: its fields by name. Raises `DataError` as `decode`."""
        return self._object.apart(self.decode(message))

    def together(self, value: dict[str, Any]) -> bytes:
        """Return the message of a value, with its fields in order."""
        return _encode(self._object.together(value))


Shape = Whole | Parts
"""How messages become values of a schema."""


class DocumentField(NamedTuple):
    """A field of a document."""

    name: str
    shown: str
    """Its name in JSON and in the schema."""
    schema: Schema
    inner: type[Document] | None
    is_json: bool
    is_sometimes: bool
    """JSON that is not always there."""


def fields_of(kind: type[Document]) -> list[DocumentField]:
    """Return the fields of a kind of document, in their order."""
    found = []
    for each in msgspec.structs.fields(kind):
        annotation, is_optional = _without_none(each.type)
        inner = annotation if isinstance(annotation, type) and issubclass(annotation, Document) else None
        schema = _TYPES[annotation] if inner is None else _schema(inner)
        if is_optional:
            schema = optional(schema)
        is_sometimes = each.default is NOTHING
        found.append(DocumentField(each.name, each.encode_name, schema, inner, annotation is Json, is_sometimes))
    return found


def _schema(kind: type[Document]) -> Schema:
    return struct(kind.schema_name, {each.shown: each.schema for each in fields_of(kind)})


class _Object:
    """One kind of document: how its objects become values."""

    def __init__(self, kind: type[Document]) -> None:
        self.schema = _schema(kind)
        self._kind = kind
        self._fields = fields_of(kind)
        self._inner = {each.name: _Object(each.inner) for each in self._fields if each.inner is not None}

    def apart(self, document: Document) -> dict[str, Any]:
        given = msgspec.structs.asdict(document)
        value: dict[str, Any] = {}
        for each in self._fields:
            part = given[each.name]
            if each.is_json:
                text = bytes(part).decode()
                part = None if text in {"", "null"} else text
            elif each.inner is not None and part is not None:
                part = self._inner[each.name].apart(part)
            value[each.shown] = part
        return value

    def together(self, value: dict[str, Any]) -> Document:
        given: dict[str, Any] = {}
        for each in self._fields:
            part = value[each.shown]
            if each.is_json:
                if part is None and each.is_sometimes:
                    continue
                part = Json(part or "null")
            elif each.inner is not None and part is not None:
                part = self._inner[each.name].together(part)
            elif part.__class__ is float and part.is_integer():
                part = int(part)  # JSON has no point there
            given[each.name] = part
        return self._kind(**given)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """Return a field's type without null, and whether it may be null."""
    if annotation == NullableJson:
        return Json, True
    if get_origin(annotation) is UnionType:
        (inner,) = (each for each in get_args(annotation) if each is not NoneType)
        return inner, True
    return annotation, False
