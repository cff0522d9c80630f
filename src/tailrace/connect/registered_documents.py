"""Records of documents in the wire format of a schema registry: a zero byte, the schema's id, and the document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import msgspec

from tailrace.connect.avro_documents import avro_writer
from tailrace.connect.avro_reading import read_avro
from tailrace.connect.avro_schema import avro_schema
from tailrace.connect.data import Schema
from tailrace.connect.document import JSON_TEXT, Shape
from tailrace.connect.errors import DataError
from tailrace.connect.protobuf_documents import protobuf_writer
from tailrace.connect.protobuf_reading import read_protobuf
from tailrace.connect.protobuf_schema import protobuf_schema
from tailrace.connect.registered import SubjectNameStrategy, subject_of
from tailrace.connect.written import MAGIC, SchemaIds, Written, prefix_of
from tailrace.core.change import Message
from tailrace.errors import RecordError

DocumentKind = Literal["avro", "json", "protobuf"]

_CONTENT_TYPE: Final = "content-type"
_HEADER_BYTES: Final = 5
"""The magic byte and the id."""
_JSON_TYPES: Final = {
    "string": "string",
    "int64": "integer",
    "float64": "number",
    "boolean": "boolean",
    "array": "array",
    "struct": "object",
}


class RecordReader:
    """Reads records back as JSON: here they are JSON already."""

    def key(self, key: bytes) -> bytes:
        """Return a record's key as its format made it; what is none of its documents stays as it is."""
        return key

    def value(self, value: bytes) -> bytes:
        """Return a record's value as its format made it; what is none of its documents stays as it is."""
        return value


AS_WRITTEN: Final = RecordReader()


class DocumentReader(RecordReader):
    """Reads documents. It needs no registry: their schemas are fixed, and nothing else has their bytes."""

    def __init__(self, kind: DocumentKind, key: Shape, value: Shape) -> None:
        self._key = _part(kind, key)
        self._value = _part(kind, value)

    def key(self, key: bytes) -> bytes:
        """Return the key as JSON."""
        return self._key.read(key)

    def value(self, value: bytes) -> bytes:
        """Return the value as JSON."""
        return self._value.read(value)


class Documents:
    """Writes messages as documents. Safe for many threads."""

    def __init__(
        self, kind: DocumentKind, key: Shape, value: Shape, *, strategy: SubjectNameStrategy, ids: SchemaIds
    ) -> None:
        self._parts = _part(kind, key), _part(kind, value)
        self._subjects = subject_of(strategy, "key"), subject_of(strategy, "value")
        self._ids = ids
        self._headers: dict[str, tuple[bytes, bytes]] = {}
        """By topic, what stands before keys and values."""

    def of(self, message: Message, topic: str) -> Message:
        """Return a message as the record of its topic, without the header that says that it is JSON.

        Raises `RecordError` for one of another shape, `WorldError` while a schema has no id.
        """
        key_header, value_header = self._headers.get(topic) or self._asked(topic)
        key, value = self._parts
        headers = message.headers
        if headers is not None:
            headers = [header for header in headers if header[0] != _CONTENT_TYPE] or None
        try:
            return Message(
                key_header + key.write(message.key),
                None if message.value is None else value_header + value.write(message.value),
                headers,
            )
        except DataError as error:
            raise RecordError(str(error)) from None

    def _asked(self, topic: str) -> tuple[bytes, bytes]:
        key, value = (
            prefix_of(self._ids.id_of(subject(topic, part.written.name), part.written))
            for subject, part in zip(self._subjects, self._parts, strict=True)
        )
        self._headers[topic] = key, value
        return key, value


class _Part(NamedTuple):
    """How the keys or the values are written."""

    written: Written
    write: Callable[[bytes], bytes]
    """Returns what stands behind a message's id."""
    read: Callable[[bytes], bytes]


def _part(kind: DocumentKind, shape: Shape) -> _Part:
    if kind == "json":
        text = msgspec.json.encode(_json_schema(shape.schema)).decode()
        written = Written("JSON", text, shape.schema.name, lambda value: value)
        return _Part(written, lambda message: message, _without_header)
    if kind == "avro":
        written, write, read_value = avro_schema(shape.schema), avro_writer(shape), read_avro
    else:
        written = protobuf_schema(shape.schema, optional_for_nullables=True)
        write, read_value = protobuf_writer(shape), read_protobuf

    def read(content: bytes) -> bytes:
        if content[:1] != MAGIC:
            return content
        try:
            return shape.together(read_value(shape.schema, content[_HEADER_BYTES:]))
        except DataError:
            return content

    return _Part(written, write, read)


def _without_header(content: bytes) -> bytes:
    return content[_HEADER_BYTES:] if content[:1] == MAGIC else content


def _json_schema(schema: Schema) -> dict[str, Any]:
    """Return what JSON of a shape must be; JSON in it is an object."""
    whole = len(schema.fields) == 1 and schema.fields[0].schema == JSON_TEXT
    written: dict[str, Any] = {"$schema": "http://json-schema.org/draft-07/schema#", "title": schema.name}
    return written | ({"type": "object"} if whole else _json_type(schema))


def _json_type(schema: Schema) -> dict[str, Any]:
    kind = "object" if schema.name == JSON_TEXT.name else _JSON_TYPES[schema.type]
    written: dict[str, Any] = {"type": [kind, "null"] if schema.optional else kind}
    if schema.type == "struct":
        written["properties"] = {each.name: _json_type(each.schema) for each in schema.fields}
    elif schema.values is not None:
        written["items"] = _json_type(schema.values)
    return written
