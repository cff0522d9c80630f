"""Where each key of a topic changed last, kept in a temporary file: there may be hundreds of millions of keys."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from tailrace.snapshot.temporary_database import TemporaryDatabase

_WRITTEN_AT_ONCE: Final = 20_000
_CACHE_KIB: Final = 32_768
_SCHEMA: Final = "CREATE TABLE changes (hash BLOB PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID"
_HASH_BYTES: Final = 16
"""Two of ten billion keys have the same hash with a probability of 10^-19; a row of one may then count as changed."""


class SpilledChanges:
    """Keeps a number below 2^63 for each key, in bounded memory. For one thread."""

    def __init__(self) -> None:
        self._new: dict[bytes, int] = {}
        """What is not in the file yet, by hash."""
        self._database = TemporaryDatabase(_SCHEMA, cache_kib=_CACHE_KIB)

    def __setitem__(self, key: bytes, at: int) -> None:
        """Note where a key changed last. Raises WorldError when the disk is full."""
        self._new[_hash(key)] = at
        if len(self._new) >= _WRITTEN_AT_ONCE:
            self._write()

    def get(self, key: bytes) -> int | None:
        """Return where a key changed last; None when it did not."""
        name = _hash(key)
        at = self._new.get(name)
        if at is None:
            found = self._database.query("SELECT at FROM changes WHERE hash = ?", (name,))
            at = found[0][0] if found else None
        return at

    def forget(self, is_old: Callable[[int], bool]) -> None:
        """Forget nothing: a row of an export is compared with all changes since then."""

    def __len__(self) -> int:
        """Return how many keys are in memory."""
        return len(self._new)

    def close(self) -> None:
        """Delete the file."""
        self._database.close()

    def _write(self) -> None:
        self._database.write("INSERT OR REPLACE INTO changes VALUES (?, ?)", sorted(self._new.items()))
        self._new.clear()


def _hash(key: bytes) -> bytes:
    return blake2b(key, digest_size=_HASH_BYTES).digest()
