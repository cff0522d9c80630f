"""What a record asks of the copy of its table: an item as it is now, or that it is gone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

import msgspec
from confluent_kafka import Message

from tailrace.connect.registered_documents import RecordReader
from tailrace.core.change import Change
from tailrace.errors import RecordError
from tailrace.formats import Format
from tailrace.kafka import clients
from tailrace.kafka.headers import LATE, REPLAYED
from tailrace.transform.transformation import Transformation

STAGE: Final = "TASK_PUT"
"""Connect's name for where a record cannot be written."""
_LEFT_OUT: Final = frozenset({REPLAYED, LATE})
"""Headers of records that are published behind newer ones of their item."""
_ENVELOPE_BYTES: Final = 300
"""About what a request has beside the item."""

_attributes = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_key_value = msgspec.json.Decoder(dict[str, str]).decode
_encode = msgspec.json.Encoder().encode


class Copy(NamedTuple):
    """The copy of a table."""

    table: str
    """The table that it is of."""
    name: str
    key_types: Mapping[str, str]
    """Its key attributes, and what each is: S, N or B."""
    ttl_attribute: str | None = None
    """Where Time to Live finds when an item expires; None: it is off."""


class ItemWrite(msgspec.Struct, frozen=True):
    """The state of an item that a record brings."""

    copy: Copy
    identity: Hashable
    keys: bytes
    """DynamoDB JSON object of the key attributes."""
    item: bytes | None
    """DynamoDB JSON object of all attributes; None: the item is deleted."""
    offset: int
    message: Any

    @property
    def size_bytes(self) -> int:
        """About so many bytes a request has of it."""
        return len(self.item or self.keys) + _ENVELOPE_BYTES


class Reading:
    """Reads the records of one format."""

    def __init__(
        self, written_as: type[Format], reader: RecordReader, transformation_of: Callable[[str], Transformation | None]
    ) -> None:
        """`transformation_of` returns what items of a table go through on their way."""
        self._format = written_as
        self._reader = reader
        self._transformation_of = transformation_of

    def write_of(self, message: Message, copy: Copy) -> ItemWrite | None:
        """Return what a record asks for; None: nothing, as it is a tombstone, or older than others before it.

        Raises `RecordError`.
        """
        value = clients.as_bytes(message.value())
        if value is None or not _LEFT_OUT.isdisjoint(dict(message.headers() or [])):
            return None
        found = self._format.read(self._reader.value(value))
        if found is None:
            raise RecordError("the record is no change of an item", stage=STAGE, hint="look at what else writes there")
        is_delete = found.op == "d"
        if found.keys_only and not is_delete:
            raise RecordError(
                "the record leaves the new image out", stage=STAGE, hint="switch the stream to NEW_AND_OLD_IMAGES"
            )
        keys = _keys(found.item, copy)
        item = None if is_delete else self._transformed(found.item, keys, message, copy)
        return ItemWrite(copy, _identity(keys, copy), _encode(keys), item, message.offset() or 0, message)

    def _transformed(self, item: bytes, keys: Mapping[str, msgspec.Raw], message: Message, copy: Copy) -> bytes | None:
        transformation = self._transformation_of(copy.table)
        if transformation is None:
            return item
        made = transformation.apply(_change(item, _encode(keys), message, copy)).changes
        if len(made) > 1:
            raise RecordError("replica.transform makes several changes of one", stage=STAGE, hint="let it make one")
        after = made[0].change.after if made and made[0].change.op != "d" else None
        if after is not None and _identity(_keys(after, copy), copy) != _identity(keys, copy):
            raise RecordError(
                "replica.transform changes the key", stage=STAGE, hint="let it leave key attributes alone"
            )
        return after


def _change(item: bytes, keys: bytes, message: Message, copy: Copy) -> Change:
    """Return what a transformation sees: of a change its new state alone, as the copy has no other."""
    return Change(
        op="u",
        table=copy.table,
        keys=keys,
        before=None,
        after=item,
        created_ms=message.timestamp()[1],
        event_id="",
        sequence="",
        shard_id="",
        stream_arn="",
        region="",
        view_type="NEW_IMAGE",
    )


def _keys(item: bytes, copy: Copy) -> dict[str, msgspec.Raw]:
    try:
        attributes = _attributes(item)
    except msgspec.DecodeError as error:
        raise RecordError(f"the item is not a JSON object: {error}", stage=STAGE) from None
    if missing := [name for name in copy.key_types if name not in attributes]:
        raise RecordError(
            f"the item has no attribute {missing[0]}, which is in the key of {copy.name}",
            stage=STAGE,
            hint=f"make {copy.name} with the keys of {copy.table}",
        )
    return {name: attributes[name] for name in copy.key_types}


def _identity(keys: Mapping[str, msgspec.Raw], copy: Copy) -> Hashable:
    """Return what tells items apart, however their keys are written. Raises `RecordError` for keys of another type."""
    found: list[Hashable] = [copy.name]
    for name, kind in copy.key_types.items():
        try:
            ((tag, text),) = _key_value(keys[name]).items()
            found.append(Decimal(text) if tag == "N" else text)
        except (msgspec.DecodeError, ValueError, InvalidOperation):
            tag = "no key"
        if tag != kind:
            raise RecordError(
                f"the key attribute {name} is {tag}, and {copy.name} takes {kind}",
                stage=STAGE,
                hint=f"make {copy.name} with the keys of {copy.table}",
            )
    return tuple(found)
