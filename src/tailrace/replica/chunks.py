"""Cuts a partition's records into chunks that are written at once: of each item the last state alone. Pure.

Writes of a chunk are of different items, so their order among each other does not matter. The position moves with each
chunk, never beyond it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar


class Write(Protocol):
    """What a record asks for."""

    @property
    def identity(self) -> Hashable:
        """The item."""
        ...

    @property
    def offset(self) -> int:
        """Of its record."""
        ...

    @property
    def size_bytes(self) -> int:
        """About so many bytes a request has of it."""
        ...


_Write = TypeVar("_Write", bound=Write)


class Bounds(NamedTuple):
    """How large a chunk may be; a single write may be larger."""

    items: int
    size_bytes: int


class Chunk(NamedTuple, Generic[_Write]):
    """Writes of different items, in the order of their offsets, and the position behind all that they stand for."""

    writes: tuple[_Write, ...]
    next_offset: int


def chunks(writes: Sequence[_Write], next_offset: int, bounds: Bounds) -> Iterator[Chunk[_Write]]:
    """Yield the chunks of writes in the order of their offsets; the last one ends at `next_offset`."""
    last: dict[Hashable, _Write] = {}
    size_bytes = 0
    for write in writes:
        before = last.get(write.identity)
        added = write.size_bytes - (before.size_bytes if before is not None else 0)
        is_too_many = before is None and len(last) >= bounds.items
        if last and (is_too_many or size_bytes + added > bounds.size_bytes):
            yield Chunk(tuple(last.values()), write.offset)
            last, size_bytes, added = {}, 0, write.size_bytes
        last.pop(write.identity, None)
        last[write.identity] = write
        size_bytes += added
    yield Chunk(tuple(last.values()), next_offset)
