"""Rows on disk, by key, for comparisons of more keys than memory holds: the two sides of a hash join.

Rows go to one of many buckets by the hash of their key, so the same bucket of two sides holds all rows of the same
keys, and one bucket fits in memory. Buckets are appended to; one that has doubled since it was last compacted keeps the
last row of each key only, so the space is in proportion to the keys, however often each was written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple
from zlib import crc32

BUCKETS: Final = 512
"""10,000,000 keys are 20,000 a bucket, some 10 MB in memory."""
_BUFFER_BYTES: Final = 16 << 10
"""Of each bucket in memory before it is written: 8 MiB in all."""
_COMPACTED_BYTES: Final = 4 << 20
"""A smaller bucket is not compacted."""
_HEAD: Final = struct.Struct("<IHB")


class RowId(NamedTuple):
    """What a row is of; a later row of the same replaces it."""

    key: bytes
    tag: int
    """From 0 to 255."""


class Row(NamedTuple):
    """One row."""

    id: RowId
    payload: bytes


class Spill:
    """One side, in a folder of its own. Safe for several threads that add."""

    def __init__(self, folder: Path) -> None:
        """Make the folder; nothing is written while all fits in the buffers."""
        folder.mkdir()
        self._files = [folder / str(bucket) for bucket in range(BUCKETS)]
        self._buffers = [bytearray() for _ in range(BUCKETS)]
        self._sizes = [0] * BUCKETS
        self._compact_at = [_COMPACTED_BYTES] * BUCKETS
        self._lock = Lock()

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows, of which the last of each id counts. Raises OSError when the disk is full."""
        with self._lock:
            for (key, tag), payload in rows:
                bucket = crc32(key) % BUCKETS
                buffer = self._buffers[bucket]
                buffer += _HEAD.pack(len(key), len(payload), tag)
                buffer += key
                buffer += payload
                if len(buffer) >= _BUFFER_BYTES:
                    self._flush(bucket)

    def rows(self, bucket: int) -> dict[RowId, bytes]:
        """Return the payloads of one bucket, out of `BUCKETS`."""
        found = dict(_read(self._files[bucket].read_bytes())) if self._sizes[bucket] else {}
        found.update(_read(bytes(self._buffers[bucket])))
        return found

    def _flush(self, bucket: int) -> None:
        buffer = self._buffers[bucket]
        with self._files[bucket].open("ab") as file:
            file.write(buffer)
        self._sizes[bucket] += len(buffer)
        buffer.clear()
        if self._sizes[bucket] >= self._compact_at[bucket]:
            self._compact(bucket)

    def _compact(self, bucket: int) -> None:
        content = b"".join(
            b"".join((_HEAD.pack(len(key), len(payload), tag), key, payload))
            for (key, tag), payload in self.rows(bucket).items()
        )
        self._files[bucket].write_bytes(content)
        self._sizes[bucket] = len(content)
        self._compact_at[bucket] = max(_COMPACTED_BYTES, 2 * len(content))


def _read(content: bytes) -> Iterator[tuple[RowId, bytes]]:
    place = 0
    while place < len(content):
        key_size, payload_size, tag = _HEAD.unpack_from(content, place)
        place += _HEAD.size
        payload_at = place + key_size
        end = payload_at + payload_size
        yield RowId(content[place:payload_at], tag), content[payload_at:end]
        place = end
