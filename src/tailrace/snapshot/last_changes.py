"""Where each key of a topic changed last, kept in a temporary file: there may be hundreds of millions of keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from tailrace.errors import WorldError

_WRITTEN_AT_ONCE: Final = 20_000
_CACHE_KIB: Final = 32_768
_HASH_BYTES: Final = 16
"""Two of ten billion keys have the same hash with a probability of 10^-19; a row of one may then count as changed."""


class SpilledChanges:
    """Keeps a number below 2^63 for each key, in bounded memory. For one thread.

    The file is SQLite's own temporary database, where SQLITE_TMPDIR or TMPDIR says: it has no name, and is gone with
    the process.
    """

    def __init__(self) -> None:
        self._new: dict[bytes, int] = {}
        """What is not in the file yet, by hash."""
        self._database = sqlite3.connect("", isolation_level=None)
        # What is lost with the process is read from Kafka again.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute("CREATE TABLE changes (hash BLOB PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID")

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
            found = self._database.execute("SELECT at FROM changes WHERE hash = ?", (name,)).fetchone()
            at = found[0] if found is not None else None
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
        # In the order of the primary key, so that neighbours are on the same pages.
        rows = sorted(self._new.items())
        try:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT OR REPLACE INTO changes VALUES (?, ?)", rows)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise WorldError(
                f"which keys have changed cannot be kept in a temporary file: {error}",
                hint="free space there, or set TMPDIR to a folder with more",
            ) from error
        self._new.clear()


def _hash(key: bytes) -> bytes:
    return blake2b(key, digest_size=_HASH_BYTES).digest()
