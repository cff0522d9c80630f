"""Makes records as a connector would: Connect's transforms, then its converters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from tailrace.connect.chain import Chain
from tailrace.connect.converters import Converter
from tailrace.connect.data import ConnectRecord, Header, Schema
from tailrace.connect.errors import DataError
from tailrace.core.change import Change, Headers, Message
from tailrace.errors import RecordError

MakeRecord = Callable[[Change, str, int], ConnectRecord]
"""Makes the record of a change: of the change, its topic, and the processing time in nanoseconds."""


class Routed(NamedTuple):
    """A record, and the topic that it goes to."""

    topic: str
    message: Message


class ConnectEncoder:
    """Encodes changes and raw records for one pipeline. Safe for many threads."""

    def __init__(self, make_record: MakeRecord, chain: Chain, key: Converter, value: Converter) -> None:
        """`key` and `value` are the converters of the records' keys and values."""
        self._make_record = make_record
        self._chain = chain
        self._key = key
        self._value = value

    def of_change(self, change: Change, topic: str, now_ns: int, *, tombstone: bool) -> list[Routed]:
        """Return what a change becomes: its record and, if it is a delete, a tombstone; either may be left out.

        Raises `RecordError`, and `WorldError` while a schema has no id.
        """
        record = self._make_record(change, topic, now_ns)
        records = [record]
        if tombstone and record.value is not None:
            records.append(msgspec.structs.replace(record, value=None, value_schema=None))
        return self._encoded(records)

    def of_message(self, message: Message, topic: str, created_ms: int) -> list[Routed]:
        """Return what a raw record becomes: its key is text, its value bytes."""
        key = message.key.decode(errors="replace")
        headers = tuple(Header(name, value) for name, value in message.headers or [])
        schemas = Schema("string", optional=True), Schema("bytes", optional=True)
        return self._encoded([ConnectRecord(topic, key, message.value, *schemas, created_ms, headers=headers)])

    def _encoded(self, records: list[ConnectRecord]) -> list[Routed]:
        routed = []
        for each in records:
            try:
                changed = self._chain.apply(each)
            except DataError as error:
                raise RecordError(str(error), stage="TRANSFORMATION") from None
            if changed is not None:
                routed.append(Routed(changed.topic, self._message(changed)))
        return routed

    def _message(self, record: ConnectRecord) -> Message:
        try:
            key = self._key.encode(record.key_schema, record.key, record.topic)
        except DataError as error:
            raise RecordError(str(error), stage="KEY_CONVERTER") from None
        if key is None:
            raise RecordError("the key is null, and the order of an item needs one", stage="KEY_CONVERTER")
        try:
            value = self._value.encode(record.value_schema, record.value, record.topic)
        except DataError as error:
            raise RecordError(str(error)) from None
        headers: Headers = [(each.name, _header(each.value)) for each in record.headers]
        return Message(key, value, headers or None)


def _header(value: Any) -> bytes:
    """Return a header as SimpleHeaderConverter writes it: text as it is, anything else as JSON."""
    match value:
        case bytes():
            return value
        case str():
            return value.encode()
    return msgspec.json.encode(value, enc_hook=str)
