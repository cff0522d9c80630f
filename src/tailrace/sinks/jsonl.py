"""A folder of JSON Lines: a file for each committed batch, and the folder itself tells how far it has each partition.

    folder/.tailrace-export.json                         the folder's identity
    folder/shop.orders/0/00000000000000000000.jsonl      one record a line, in the order of offsets
    folder/shop.orders/0/00000000000000004711.jsonl
    folder/shop.orders/0/.position.json                  whose records these are, and how far it was read without any
    folder/shop.orders/0/.00000000000000009000.3f….partial    a batch under way

A file is named after the offset that follows the last record of the file before it, the first after 0. Whoever
continues from one position wants the same name, and a file is linked under it only if there is none: so files follow
one another without a gap or an overlap, whoever wrote them. The last line's offset is the position.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from confluent_kafka import Message

from tailrace.connect.registered_documents import AS_WRITTEN, RecordReader
from tailrace.errors import WorldError
from tailrace.kafka import clients, record_json
from tailrace.kafka.watched_consumer import Place
from tailrace.sinks.contract import FencedError, commit_each
from tailrace.sinks.folder import sync, telling
from tailrace.sinks.progress import Position

_IDENTITY: Final = ".tailrace-export.json"
_POSITION: Final = ".position.json"
_FILE: Final = re.compile(r"(\d{20})\.jsonl")
_TAIL_BYTES: Final = 1 << 16
_BUFFER_BYTES: Final = 1 << 18

_Decoded = TypeVar("_Decoded")


class _Identity(msgspec.Struct):
    id: str


class _Read(msgspec.Struct):
    """How far a partition was read: from `after`, the position by its files, up to `next_offset` without a record."""

    topic_id: str
    after: int
    next_offset: int


class _Line(msgspec.Struct):
    offset: int


class _Claimed:
    """A partition that this process writes to."""

    def __init__(self, folder: Path, read: _Read) -> None:
        self.folder = folder
        self.read = read
        self.partial: Path | None = None
        self.last_offset = -1
        """Of the open batch."""


class JsonLinesFolder:
    """A sink. Several processes may write to one folder, on file systems that have hard links."""

    def __init__(self, folder: Path, reader: RecordReader = AS_WRITTEN) -> None:
        """Make the folder if there is none; `reader` reads records back as JSON. Raises WorldError."""
        self._folder = folder
        self._reader = reader
        self._claimed: dict[Place, _Claimed] = {}
        with self._telling():
            folder.mkdir(parents=True, exist_ok=True)
            self._identity = self._find_identity()

    @property
    def identity(self) -> str:
        """The id that the folder's first writer gave it."""
        return self._identity

    def claim(self, place: Place, topic_id: str) -> Position | None:
        """Drop the batches that others have under way, then return what the folder holds."""
        with self._telling():
            folder = self._folder / place.topic / str(place.partition)
            folder.mkdir(parents=True, exist_ok=True)
            for each in (self._folder, folder.parent):
                sync(each)
            _fence(folder)
            read = self._read(folder)
            if read is None or (read.next_offset == 0 and read.topic_id != topic_id):
                read = _Read(topic_id, 0, 0)
                _replace(folder / _POSITION, msgspec.json.encode(read))
            self._claimed[place] = _Claimed(folder, read)
            return _position(read)

    def position(self, place: Place) -> Position | None:
        """Return what the folder holds."""
        with self._telling():
            return _position(self._read(self._folder / place.topic / str(place.partition)))

    def write(self, place: Place, records: Sequence[Message]) -> None:
        """Append records to the partial file, which is made with the first."""
        claimed = self._claimed[place]
        with self._telling():
            if claimed.partial is None:
                claimed.partial = claimed.folder / f".{claimed.read.after:020}.{uuid.uuid4().hex}.partial"
                claimed.partial.touch(exist_ok=False)
            try:
                # Not "ab", which would make it again: whoever claims the partition unlinks it.
                with claimed.partial.open("r+b", _BUFFER_BYTES) as file:
                    file.seek(0, os.SEEK_END)
                    for record in records:
                        file.write(_line(record, self._reader))
                        file.write(b"\n")
            except FileNotFoundError:
                raise FencedError from None
        claimed.last_offset = records[-1].offset() or 0

    def is_full(self, _place: Place) -> bool:
        """Leave it to the limits: a partial file takes no memory."""
        return False

    def commit(self, ends: Mapping[Place, int]) -> set[Place]:
        """Commit one partition after the other."""
        return commit_each(self.commit_one, ends)

    def commit_one(self, place: Place, next_offset: int) -> None:
        """Link the partial file under its name, which must be free."""
        claimed = self._claimed[place]
        file = claimed.folder / f"{claimed.read.after:020}.jsonl"
        after = claimed.read.after
        with self._telling():
            if claimed.partial is not None:
                _publish(claimed.partial, file)
                claimed.partial.unlink(missing_ok=True)
                claimed.partial = None
                after = claimed.last_offset + 1
            elif file.exists():
                raise FencedError
            claimed.read = _Read(claimed.read.topic_id, after, max(after, next_offset))
            if next_offset > after:
                _replace(claimed.folder / _POSITION, msgspec.json.encode(claimed.read))

    def release(self, places: Iterable[Place]) -> None:
        """Drop the partial files."""
        with self._telling():
            for place in places:
                claimed = self._claimed.pop(place, None)
                if claimed is not None and claimed.partial is not None:
                    claimed.partial.unlink(missing_ok=True)

    def _find_identity(self) -> str:
        path = self._folder / _IDENTITY
        if not path.exists():
            partial = self._folder / f".{uuid.uuid4().hex}.partial"
            partial.write_bytes(msgspec.json.encode(_Identity(uuid.uuid4().hex)))
            with contextlib.suppress(FencedError):  # another process was first
                _publish(partial, path)
            partial.unlink()
        return _decode(path, path.read_bytes(), _Identity).id

    def _read(self, folder: Path) -> _Read | None:
        """Return how far a partition was read; None when there is nothing of it."""
        path = folder / _POSITION
        try:
            read = _decode(path, path.read_bytes(), _Read)
        except FileNotFoundError:
            read = None
        names = [each.name for each in folder.iterdir() if _FILE.fullmatch(each.name)] if folder.exists() else []
        if not names:
            return read if read is None or read.after == 0 else _Read(read.topic_id, 0, 0)
        if read is None:
            raise WorldError(
                f"{folder} has files, but not the {_POSITION} that says which topic they are of",
                hint="restore it, or stop every export into the folder and move this part of it away",
            )
        after = _last_offset(folder / max(names)) + 1
        return read if read.after == after else _Read(read.topic_id, after, after)

    def _telling(self) -> AbstractContextManager[None]:
        return telling(self._folder, "writing to {} failed")


def _position(read: _Read | None) -> Position | None:
    return Position(read.next_offset, read.topic_id) if read is not None and read.next_offset > 0 else None


def _fence(folder: Path) -> None:
    """Drop the batches under way of whoever wrote to a partition until now."""
    for partial in folder.glob(".*.partial"):
        partial.unlink(missing_ok=True)


def _publish(partial: Path, file: Path) -> None:
    """Give a durable file its final name. Raises FencedError if the name is taken or the file was dropped."""
    try:
        sync(partial)
        os.link(partial, file)
    except (FileExistsError, FileNotFoundError):
        raise FencedError from None
    sync(file.parent)


def _replace(path: Path, content: bytes) -> None:
    """Put a small file in the place of another. Raises FencedError if a claim of the partition drops it meanwhile."""
    new = path.with_name(f".{uuid.uuid4().hex}.partial")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        new.replace(path)
    except FileNotFoundError:
        raise FencedError from None
    sync(path.parent)


def _last_offset(path: Path) -> int:
    """Read the offset in the last line of a file."""
    with path.open("rb") as file:
        begin = size = file.seek(0, os.SEEK_END)
        tail = b""
        while begin > 0 and b"\n" not in tail[:-1]:
            begin = max(0, begin - max(_TAIL_BYTES, size - begin))
            file.seek(begin)
            tail = file.read(size - begin)
    if not tail.endswith(b"\n"):
        raise WorldError(f"{path} does not end with a whole line", hint="restore the file as it was written")
    return _decode(path, tail[:-1].rpartition(b"\n")[2], _Line).offset


def _decode(path: Path, content: bytes, kind: type[_Decoded]) -> _Decoded:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        raise WorldError(f"{path} is not as it was written: {error}", hint="restore the file") from error


def _line(message: Message, reader: RecordReader) -> bytes:
    """Write a record as JSON; what is no JSON itself goes as base64 under a name of its own."""
    key, value = clients.as_bytes(message.key()), clients.as_bytes(message.value())
    headers = message.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    return msgspec.json.encode(
        {
            "topic": message.topic(),
            "partition": message.partition(),
            "offset": message.offset(),
            "timestamp": message.timestamp()[1],
            **_content("key", None if key is None else reader.key(key)),
            **_content("value", None if value is None else reader.value(value)),
            "headers": [{"name": name, **_text(value)} for name, value in pairs],
        }
    )


def _content(name: str, content: bytes | None) -> dict[str, object]:
    if content is None:
        return {name: None}
    json = record_json.embedded(content)
    return {name: json} if json is not None else {name: None, f"{name}_base64": base64.b64encode(content).decode()}


def _text(value: bytes | str | None) -> dict[str, object]:
    if value is None or isinstance(value, str):
        return {"value": value}
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"value": None, "value_base64": base64.b64encode(value).decode()}
