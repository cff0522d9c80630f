"""Where a lake's files are: a folder, or a prefix of a bucket. A file is created whole, once, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from tailrace.sinks.folder import sync, telling

OWN: Final = "_tailrace"
"""The folder of what is not data. Readers of data lakes skip names that begin with an underscore."""
_PARTIAL: Final = f"{OWN}/partial"


class StoredFile(NamedTuple):
    """A file that is there."""

    name: str
    size_bytes: int
    modified_ms: int


class Location(Protocol):
    """Files by name, under one root; a name is its parts joined by `/`. Safe for many threads.

    What a file holds never changes. Every method raises UnreachableError when the store does not answer, and WorldError
    when it refuses.
    """

    uri: str
    """The root."""

    def create(self, name: str, content: bytes) -> bool:
        """Create a small file; return False, having changed nothing, if there is one of this name.

        It may also be this very call that has created it: an answer that got lost is asked for again.
        """
        ...

    def upload(self, name: str, file: Path) -> bool:
        """Create a file of any size as `create` does; no reader sees a part of it.

        Some stores let two uploads in parts that end in the same moment replace one another: all that upload a name
        must mean the same by it.
        """
        ...

    def read(self, name: str) -> bytes | None:
        """Return what a small file holds; None when there is none."""
        ...

    def download(self, name: str, file: Path) -> bool:
        """Copy a file of any size to this machine; return False when there is none. Raises OSError where that fails."""
        ...

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        ...

    def names(self, folder: str, after: str, most: int) -> list[str]:
        """Return the first `most` names of files right in a folder that follow `after`, in their order."""
        ...


class MaintainedLocation(Location, Protocol):
    """A location of which files can be removed."""

    def files(self, folder: str) -> Iterator[StoredFile]:
        """Yield all files in a folder and in those below it, without those that are still being written."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""
        ...

    def remove_unfinished(self, before_ms: int, *, dry_run: bool) -> int:
        """Remove what is left of uploads that began before then and never ended; return how many there were."""
        ...


def last_name(
    location: Location, folder: str, number_of: Callable[[str], int], name_of: Callable[[int], str], known: str = ""
) -> str:
    """Return the last name in a folder of files that are named after ever larger numbers; empty when there is none.

    `known` is a name that it had before. A folder of a million files takes some 40 listings of one name, not a thousand
    of all names.
    """
    most = 1_000
    last, step, ceiling = known, 1 << 16, 1 << 62
    while True:
        page = location.names(folder, last, most)
        if len(page) < most:
            return page[-1] if page else last
        last = page[-1]
        while step > 1:  # leap ahead, in ever longer and then ever shorter steps
            leap = number_of(last) + step
            found = location.names(folder, name_of(leap), 1) if leap < ceiling else []
            if found:
                last, step = found[0], step * 2
            else:
                ceiling, step = min(ceiling, leap), step // 4
        step = 1


class Folder:
    """A location on this machine, or on a file system that several share; it needs hard links."""

    def __init__(self, root: Path) -> None:
        """Make the folder if there is none. Raises WorldError."""
        self.uri = root.as_uri()
        self._root = root
        with self._telling():
            (root / _PARTIAL).mkdir(parents=True, exist_ok=True)

    def create(self, name: str, content: bytes) -> bool:
        """Write the file beside, then link it under its name."""
        return self._link(name, lambda partial: partial.write_bytes(content))

    def upload(self, name: str, file: Path) -> bool:
        """Copy the file, then link it under its name."""
        return self._link(name, lambda partial: shutil.copyfile(file, partial))

    def read(self, name: str) -> bytes | None:
        """Return what a file holds."""
        with self._telling():
            try:
                return (self._root / name).read_bytes()
            except FileNotFoundError:
                return None

    def download(self, name: str, file: Path) -> bool:
        """Copy a file."""
        with self._telling():
            try:
                source = (self._root / name).open("rb")
            except FileNotFoundError:
                return False
        with source, file.open("wb") as target:
            shutil.copyfileobj(source, target)
        return True

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        with self._telling():
            return (self._root / name).exists()

    def names(self, folder: str, after: str, most: int) -> list[str]:
        """List a folder."""
        with self._telling():
            try:
                found = sorted(each.name for each in (self._root / folder).iterdir())
            except FileNotFoundError:
                return []
            begin = bisect_right(found, after)
            return found[begin : begin + most]

    def files(self, folder: str) -> Iterator[StoredFile]:
        """Walk a folder."""
        with self._telling():
            for parent, _, names in os.walk(self._root / folder):
                for name in sorted(names):
                    path = Path(parent) / name
                    with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                        found = path.stat()
                        yield StoredFile(
                            str(path.relative_to(self._root)), found.st_size, found.st_mtime_ns // 1_000_000
                        )

    def remove(self, name: str) -> None:
        """Unlink a file."""
        with self._telling():
            (self._root / name).unlink(missing_ok=True)

    def remove_unfinished(self, before_ms: int, *, dry_run: bool) -> int:
        """Remove files that were being written when their process was killed."""
        found = [each.name for each in self.files(_PARTIAL) if each.modified_ms < before_ms]
        for name in () if dry_run else found:
            self.remove(name)
        return len(found)

    def _link(self, name: str, write: Callable[[Path], object]) -> bool:
        target, partial = self._root / name, self._root / _PARTIAL / uuid.uuid4().hex
        with self._telling():
            missing = [each for each in target.parents if not each.exists()]
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                write(partial)
                sync(partial)
                os.link(partial, target)
            except FileExistsError:
                return False
            finally:
                partial.unlink(missing_ok=True)
            for each in (target.parent, *(made.parent for made in missing)):
                sync(each)
        return True

    def _telling(self) -> AbstractContextManager[None]:
        return telling(self._root, "{} cannot be used")
