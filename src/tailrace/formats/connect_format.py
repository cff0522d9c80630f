"""The envelopes of other connectors: records that have Connect's schemas."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import ClassVar, Final

from tailrace.connect.data import ConnectRecord
from tailrace.connect.errors import DataError
from tailrace.connect.json_converter import JsonConverter
from tailrace.core.change import Change, Message
from tailrace.errors import RecordError
from tailrace.formats.attribute_value import parse
from tailrace.formats.format import Format
from tailrace.formats.number import Numbers

_PLAIN: Final = JsonConverter(schemas=False)
_NOT_IN_A_NAME: Final = re.compile(r"(?:^|(?<=\.))[0-9]|[^A-Za-z0-9_.]")


def key_attributes_of(change: Change) -> dict[str, str]:
    """Return a change's key attributes as text, sorted by name: numbers as DynamoDB has them, binary as base64.

    Raises `RecordError`.
    """
    attributes = parse(change.keys)
    key = {name: next(iter(typed.values())) for name, typed in sorted(attributes.items())}
    if not key or not all(isinstance(text, str) for text in key.values()):
        hint = "a key attribute is a string, a number or a binary: look at the record in the dead letters"
        raise RecordError("the change has no key attributes, or one of a wrong type", stage="KEY_CONVERTER", hint=hint)
    return key


def schema_name(text: str) -> str:
    """Return a topic or table as the name of a schema: what Avro does not allow in one becomes an underscore."""
    return _NOT_IN_A_NAME.sub("_", text)


class ConnectFormat(Format):
    """A format whose records have schemas."""

    has_schemas: ClassVar[bool] = True
    names_table: ClassVar[bool] = True
    reads_back: ClassVar[bool] = False
    tells_position: ClassVar[bool] = False

    def __init__(self, *, pipeline: str, numbers: Numbers) -> None:
        del pipeline, numbers  # such a connector has neither a name in its records nor other numbers

    @abstractmethod
    def connect_record(self, change: Change, topic: str, now_ns: int) -> ConnectRecord:
        """Return the record with its schemas, which are named after `topic`."""

    def encode(self, change: Change, now_ns: int) -> Message:
        """Return the record as JSON without schemas."""
        record = self.connect_record(change, change.table, now_ns)
        try:
            key, value = _PLAIN.encode(record.key_schema, record.key), _PLAIN.encode(record.value_schema, record.value)
        except DataError as error:
            raise RecordError(str(error)) from None
        return Message(key or b"null", value)

    def delete_after(self, key: bytes, last: bytes, change: Change, now_ns: int) -> Message | None:
        """Return nothing: a format that cannot be read back is never asked."""
        del key, last, change, now_ns
        return None
