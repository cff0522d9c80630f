"""What sinks that write to a folder share: durable names, and what is told when the folder cannot be used."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tailrace.errors import WorldError


def sync(path: Path) -> None:
    """Return when a file, or the names in a folder, outlast a power failure. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def telling(root: Path, sentence: str) -> Iterator[None]:
    """Raise WorldError for what fails below `root`; `sentence` has `{}` where the file or folder is named."""
    try:
        yield
    except OSError as error:
        raise WorldError(
            f"{sentence.format(error.filename or root)}: {error.strerror}",
            hint=f"check that {root} is writable, has room, and is on a file system with hard links",
        ) from error
