"""What a lake knows of itself, beside its data: whose it is, and in which steps each partition was written.

    _tailrace/lake.json                                     the lake's identity
    _tailrace/log/shop.orders/0/00000000000000000000.json   offsets 0 to 4711 are in these files
    _tailrace/log/shop.orders/0/00000000000000004711.json

A step is named after the offset where the one before it ends, the first after 0. Whoever goes on from one position
wants the same name, and a file is created only where there is none: so steps follow one another without gap or overlap,
whoever wrote them. A step is noted before its data files are, which are named after its offsets: a step that was
interrupted is completed from the same records, by anyone, and what two write of it is the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import msgspec

from tailrace.errors import WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.location import OWN, Location, last_name
from tailrace.sinks.contract import FencedError

_IDENTITY: Final = f"{OWN}/lake.json"
_CREATES: Final = 4
"""So many files are created at the same time."""

_Decoded = TypeVar("_Decoded")


class DataFile(msgspec.Struct, frozen=True):
    """A file of a step."""

    name: str
    rows: int
    size_bytes: int


class Sums(msgspec.Struct, frozen=True):
    """What was ever written of a partition."""

    files: int = 0
    rows: int = 0
    size_bytes: int = 0
    lost: int = 0
    """Offsets that an operator gave up."""

    def plus(self, files: tuple[DataFile, ...]) -> Sums:
        """Return the sums with these files, too."""
        own = Sums(len(files), sum(each.rows for each in files), sum(each.size_bytes for each in files))
        return self.and_(own)

    def and_(self, others: Sums) -> Sums:
        """Return both together."""
        return Sums(
            self.files + others.files,
            self.rows + others.rows,
            self.size_bytes + others.size_bytes,
            self.lost + others.lost,
        )


class Step(msgspec.Struct, frozen=True):
    """A range of offsets of a partition, and the files that its records are in."""

    after: int
    """The position before it."""
    begin: int
    """Its first record's offset; where it has none, `after`."""
    end: int
    """The position behind it."""
    topic_id: str
    files: tuple[DataFile, ...]
    schema: bytes
    """Arrow's serialized schema of its files; where it has none, of what may follow."""
    last_ms: int | None
    """The timestamp of its last record; without one, that of the step before."""
    committed_ms: int
    """When its commit began."""
    writer: str
    """The attempt to write it: two that make the same step differ in it."""
    sums: Sums
    """With this step; of a present state, of that."""


class _Identity(msgspec.Struct, frozen=True):
    id: str
    definition: Mapping[str, str]


class Ledger:
    """The notes of one lake. Every method raises WorldError."""

    def __init__(self, location: Location, steps: str = "log") -> None:
        """Ask nothing of the location yet; `steps` is the folder of the steps."""
        self._location = location
        self._steps = steps
        self._last: dict[Place, Step] = {}
        self._whole: dict[Place, int] = {}
        """The end of the last step of a partition whose files were all found."""

    @property
    def is_founded(self) -> bool:
        """Whether the location has a lake."""
        return self._location.exists(_IDENTITY)

    def folder(self, place: Place) -> str:
        """Return where the steps of a partition are."""
        return f"{OWN}/{self._steps}/{place.topic}/{place.partition}"

    def last(self, place: Place) -> Step | None:
        """Return the last step of a partition."""
        known = self._last.get(place)
        begin = _name(known.after) if known else ""
        name = self._last_name(place, begin)
        while name != begin:
            read = f"{self.folder(place)}/{name}"
            content, listed = self._location.read(read), name
            if content is not None or listed == (name := self._last_name(place, listed)):
                self._last[place] = self._decoded(read, content, Step)
                break
        return self._last.get(place)

    def step(self, name: str) -> Step | None:
        """Return the step in a file of `folder`; None when there is none."""
        content = self._location.read(name)
        return self._decoded(name, content, Step) if content is not None else None

    def missing(self, place: Place, step: Step) -> list[str]:
        """Return the names of the files of a partition's last step that do not exist."""
        if self._whole.get(place) == step.end:
            return []
        names = [each.name for each in step.files]
        with ThreadPoolExecutor(_CREATES) as pool:
            missing = [
                name for name, exists in zip(names, pool.map(self._location.exists, names), strict=True) if not exists
            ]
        if not missing:
            self._whole[place] = step.end
        return missing

    def add(self, place: Place, step: Step) -> None:
        """Note a step. Raises FencedError if another writer has gone on from the same position."""
        name = f"{self.folder(place)}/{_name(step.after)}"
        if not self._location.create(name, msgspec.json.encode(step)):
            found = self.step(name)
            if found is None or found.writer != step.writer:
                raise FencedError
            step = found  # an earlier attempt, whose files may have other names
        self._last[place] = step

    def complete(self, place: Place, step: Step, uploads: Mapping[str, Callable[[str], object]]) -> None:
        """Create the files of a step, by their names. Those that are there already hold the same."""
        with ThreadPoolExecutor(_CREATES) as pool:
            for done in [pool.submit(upload, name) for name, upload in uploads.items()]:
                done.result()
        self._whole[place] = step.end

    def found(self, definition: Mapping[str, str]) -> str:
        """Found the lake if there is none; return its id. Raises WorldError when there is one of another definition."""
        made = _Identity(uuid.uuid4().hex, definition)
        if self._location.create(_IDENTITY, msgspec.json.encode(made)):
            return made.id
        found = self._decoded(_IDENTITY, self._location.read(_IDENTITY), _Identity)
        for key, value in definition.items():
            there = found.definition.get(key, "")
            if there != value:
                raise WorldError(
                    f"{self._location.uri} holds another lake: its {key} is {there or 'none'}, here it is "
                    f"{value or 'none'}",
                    hint="give each lake a location of its own",
                )
        return found.id

    def _last_name(self, place: Place, known: str) -> str:
        return last_name(self._location, self.folder(place), lambda name: int(name.partition(".")[0]), _name, known)

    def _decoded(self, name: str, content: bytes | None, kind: type[_Decoded]) -> _Decoded:
        try:
            return msgspec.json.decode(content or b"", type=kind)
        except msgspec.MsgspecError as error:
            raise WorldError(
                f"{self._location.uri}/{name} is not as it was written: {error}", hint="restore the file"
            ) from error


def _name(after: int) -> str:
    return f"{after:020}.json"
