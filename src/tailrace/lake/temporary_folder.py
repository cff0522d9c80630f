"""A folder for the files under way of one process; those of processes that were killed are removed by the next one."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tailrace.errors import WorldError

_PREFIX: Final = "tailrace-lake-files-"
_LOCK: Final = "lock"
"""Locked while the process lives."""


class TemporaryFolder:
    """Made at once. Raises OSError."""

    def __init__(self) -> None:
        _remove_abandoned(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        locking = self.path / "locking"
        self._lock = locking.open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        locking.rename(self.path / _LOCK)  # so a lock that others see is held

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Raise WorldError where files in it cannot be written."""
        try:
            yield
        except OSError as error:
            raise WorldError(
                f"writing temporary files to {self.path} failed: {error.strerror or error}",
                hint="free space there, or set TMPDIR to a folder with more",
            ) from error

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _remove_abandoned(parent: Path) -> None:
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError), lock.open("rb") as file:  # of a process that lives, or of another user
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
