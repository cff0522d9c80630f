"""A store of files in memory for a lake: it fails, answers late, twice and not at all, as drawn from a seed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Literal

import pyarrow.parquet as pq

from tailrace.errors import UnreachableError
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.location import StoredFile

Mishap = Literal["refused", "answer lost", "asked twice", "late"]
MISHAPS: tuple[Mishap, ...] = ("refused", "answer lost", "asked twice", "late")


class Store:
    """The files of a lake. It looks at each data file as it comes: a row that is there already is a repeat."""

    def __init__(self, now_ms: Callable[[], int] = lambda: 0) -> None:
        self.now_ms = now_ms
        self.modified_ms: dict[str, int] = {}
        self.files: dict[str, bytes] = {}
        self.rows: dict[Place, list[int]] = {}
        """The offsets that a reader of all data files finds."""
        self.repeats: list[str] = []
        self.late: list[tuple[str, bytes]] = []
        """What arrives only after its sender gave up."""

    def create(self, name: str, content: bytes) -> bool:
        if name in self.files:
            return False
        self.modified_ms[name] = self.now_ms()
        self.put(name, content)
        return True

    def arrive(self) -> None:
        """Carry out something late."""
        self.create(*self.late.pop())

    def remove(self, name: str) -> None:
        self.files.pop(name, None)

    def put(self, name: str, content: bytes) -> None:
        self.files[name] = content
        if name.endswith(".parquet"):
            table = pq.read_table(BytesIO(content))
            for topic, partition, offset in zip(*(table[each].to_pylist() for each in OURS), strict=True):
                found = self.rows.setdefault(Place(topic, partition), [])
                if offset in found:
                    self.repeats.append(f"{name} repeats offset {offset}")
                found.append(offset)


OURS = ("__topic", "__partition", "__offset")


class StoreLocation:
    """A process's way to a store."""

    uri = "memory:///lake"

    def __init__(self, store: Store, random: Random | None = None, on_call: Callable[[], bool] = lambda: False) -> None:
        """`on_call` is called before and after each effect; it may raise, and says whether there may be a mishap."""
        self._store = store
        self._random = random or Random(0)
        self._on_call = on_call

    def create(self, name: str, content: bytes) -> bool:
        mishap = self._random.choice(MISHAPS) if self._on_call() and self._random.random() < 0.12 else None
        if mishap == "refused":
            raise UnreachableError("slow down")
        if mishap == "late":
            self._store.late.append((name, content))
            raise UnreachableError("no answer")
        created = self._store.create(name, content)
        if mishap == "answer lost":
            raise UnreachableError("no answer")
        if mishap == "asked twice":
            created = self._store.create(name, content)
        self._on_call()
        return created

    def upload(self, name: str, file: Path) -> bool:
        return self.create(name, file.read_bytes())

    def download(self, name: str, file: Path) -> bool:
        self._on_call()
        content = self._store.files.get(name)
        if content is not None:
            file.write_bytes(content)
        return content is not None

    def remove(self, name: str) -> None:
        self._on_call()
        self._store.remove(name)
        self._on_call()

    def read(self, name: str) -> bytes | None:
        return self._store.files.get(name)

    def exists(self, name: str) -> bool:
        self._on_call()
        return name in self._store.files

    def files(self, folder: str) -> Iterator[StoredFile]:
        self._on_call()
        for name, content in sorted(self._store.files.items()):
            if name.startswith(f"{folder}/"):
                yield StoredFile(name, len(content), self._store.modified_ms[name])

    def remove_unfinished(self, before_ms: int, *, dry_run: bool) -> int:
        raise NotImplementedError

    def names(self, folder: str, after: str, most: int) -> list[str]:
        found = sorted(
            each.removeprefix(f"{folder}/")
            for each in self._store.files
            if each.startswith(f"{folder}/") and "/" not in each.removeprefix(f"{folder}/")
        )
        self._on_call()
        begin = bisect_right(found, after)
        return found[begin : begin + most]
