"""The bytes of the checkpoint topic's records, and which of them a reader understands (`core.checkpoint`)."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

import msgspec

from tailrace.core.checkpoint import KINDS, IgnoredKey, IgnoredRecord, Record, TopicKey, TopicRecord
from tailrace.errors import FormatVersionError, WorldError, excerpt

FORMAT_VERSION = 4
"""The newest format that this version reads. 2: sequence numbers of more than 40 digits. 3: tags in the definition. 4:
switches to another source."""
OLDEST_READABLE_VERSION = 1
IGNORABLE_MARK = "?"
"""The prefix of the names of kinds that a reader may ignore."""

_NOT_OURS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding foreign bytes can raise."""
_HINT = "another program writes to this topic: give the pipeline a name of its own, or keep that program out and write "
_HINT_KEY = f"{_HINT}a record of the same key without a value behind this one"
_HINT_VALUE = f"{_HINT}the last good value of the same key again behind this one"


class _Head(msgspec.Struct):
    """What every value of ours has, in every version."""

    v: int
    r: int


_encoder = msgspec.json.Encoder()
_key_decoder: msgspec.json.Decoder[TopicKey] = msgspec.json.Decoder(reduce(or_, KINDS))
_any_key_decoder = msgspec.json.Decoder(list[Any])
_head_decoder = msgspec.json.Decoder(_Head)
_value_decoders = {key: msgspec.json.Decoder(value) for key, value in KINDS.items()}


def encode_key(key: TopicKey) -> bytes:
    """Return the key's bytes."""
    return key.data if isinstance(key, IgnoredKey) else _encoder.encode(key)


def encode_record(record: TopicRecord | None) -> bytes | None:
    """Return the value's bytes; None stays a tombstone."""
    if record is None:
        return None
    return record.data if isinstance(record, IgnoredRecord) else _encoder.encode(record)


def decode(key: bytes | None, value: bytes | None, where: str) -> tuple[TopicKey, TopicRecord | None]:
    """Read one record of the topic; `where` names it in errors (topic, partition, offset).

    A record that is not understood is an `IgnoredRecord` under an `IgnoredKey` when its key is marked so. Otherwise it
    raises `FormatVersionError` for a version that this Tailrace cannot read and `WorldError` for anything that is not
    ours: continuing without it could resume in the wrong place.
    """
    try:
        return _decode(key, value, where)
    except WorldError:
        ignored = _ignored_key(key or b"")
        if ignored is None:
            raise
        return ignored, None if value is None else IgnoredRecord(value)


def _decode(key: bytes | None, value: bytes | None, where: str) -> tuple[TopicKey, Record | None]:
    if value is not None:
        _check_version(value, where)
    foreign = f"the record at {where} is not a Tailrace checkpoint"
    try:
        decoded_key = _key_decoder.decode(key or b"")
    except _NOT_OURS as error:
        raise WorldError(f"{foreign} (its key: {excerpt(str(error))})", hint=_HINT_KEY) from error
    if encode_key(decoded_key) != key:
        # Kafka compares keys as bytes: one that is written in another way would outlive what replaces it.
        raise WorldError(f"{foreign} (its key is not written as Tailrace writes it)", hint=_HINT_KEY)
    if value is None:
        return decoded_key, None
    try:
        value.decode()  # of the fields that it skips, msgspec does not look whether they are text
        _head_decoder.decode(value)
        return decoded_key, _value_decoders[type(decoded_key)].decode(value)
    except _NOT_OURS as error:
        raise WorldError(f"{foreign} (its value: {excerpt(str(error))})", hint=_HINT_VALUE) from error


def _ignored_key(key: bytes) -> IgnoredKey | None:
    """Read a key that is marked as one to ignore; None when it is not."""
    try:
        kind, *about = _any_key_decoder.decode(key)
    except (*_NOT_OURS, ValueError):
        return None
    if not isinstance(kind, str) or not kind.startswith(IGNORABLE_MARK):
        return None
    home = about[0] if about and isinstance(about[0], list) else None
    if home is not None and not all(isinstance(name, str) for name in home):
        return None
    return IgnoredKey(key, None if home is None else tuple(home))


def _check_version(value: bytes, where: str) -> None:
    try:
        head = _head_decoder.decode(value)
    except _NOT_OURS:
        return  # not ours at all: decode() says so
    if head.r > FORMAT_VERSION:
        raise FormatVersionError(
            f"the record at {where} has format {head.v}, newer than this Tailrace reads ({FORMAT_VERSION})",
            hint="run the newer version on every host",
        )
    if head.v < OLDEST_READABLE_VERSION:
        raise FormatVersionError(
            f"the record at {where} has format {head.v}, older than this Tailrace reads ({OLDEST_READABLE_VERSION})",
            hint="upgrade through each version between, one at a time",
        )
