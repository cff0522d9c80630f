"""SQLite's own temporary database: for keys that may be too many for memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from tailrace.errors import WorldError


class TemporaryDatabase:
    """A database in a file where SQLITE_TMPDIR or TMPDIR says, in bounded memory. Not for several threads at once.

    The file has no name, and is gone with the process: what is lost with it is read again.
    """

    def __init__(self, schema: str, *, cache_kib: int) -> None:
        """`cache_kib` bounds its memory."""
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{cache_kib}"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.executescript(schema)

    def write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Carry out a statement for each row, in one transaction. Raises WorldError when the disk is full.

        Rows in the order of the primary key are written quickest: neighbours are on the same pages.
        """
        try:
            self._database.execute("BEGIN")
            self._database.executemany(statement, rows)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise WorldError(
                f"keys cannot be kept in a temporary file: {error}",
                hint="free space there, or set TMPDIR to a folder with more",
            ) from error

    def query(self, statement: str, values: Sequence[Any]) -> list[Any]:
        """Return the rows of a query."""
        return self._database.execute(statement, values).fetchall()

    def close(self) -> None:
        """Delete the file."""
        self._database.close()
