"""The runs of a lake's job: each begins with the state that the one before it left.

    _tailrace/flink/00000001.json              the first run, and its tables
    _tailrace/flink/00000001/chk-17            its last checkpoint
    _tailrace/flink/00000001/savepoint-1f2e    its state when it was stopped

Flink removes what a checkpoint supersedes, and the last one of a job that ends; one that was killed leaves it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from tailrace.errors import WorldError
from tailrace.flink.lake_sql import FOLDER
from tailrace.lake.location import MaintainedLocation, last_name

_CHECKPOINT: Final = "chk-"
_SAVEPOINT: Final = "savepoint-"
_WHOLE: Final = "_metadata"
"""Written last."""


class Run(NamedTuple):
    """A run that begins."""

    folder: str
    """The URI of its checkpoints."""
    state: str | None
    """The URI of the state that it begins with; None: there was no run that left one."""


class _Note(msgspec.Struct, frozen=True):
    tables: tuple[str, ...]


def begin(location: MaintainedLocation, tables: Sequence[str]) -> Run:
    """Note a run, and return it.

    Raises WorldError when another begins at the same moment, or the last one had other tables.
    """
    last = last_name(location, FOLDER, _number, _name)
    number = _number(last) if last else 0
    state = next((found for each in range(number, 0, -1) if (found := _state(location, each, tables))), None)
    note = msgspec.json.encode(_Note(tuple(tables)))
    if not location.create(f"{FOLDER}/{_name(number + 1)}", note):
        raise WorldError(f"another job of Flink begins to write to {location.uri}", hint="run one alone")
    return Run(f"{location.uri}/{_folder(number + 1)}", state)


def _state(location: MaintainedLocation, number: int, tables: Sequence[str]) -> str | None:
    """Return the newest state that a run left: a savepoint ends it."""
    folder, end = _folder(number), f"/{_WHOLE}"
    names = [each.name.removeprefix(f"{folder}/") for each in location.files(folder)]
    found = [each.removesuffix(end) for each in names if each.endswith(end)]
    newest = next((each for each in found if each.startswith(_SAVEPOINT)), "")
    numbers = [int(each.removeprefix(_CHECKPOINT)) for each in found if each.startswith(_CHECKPOINT)]
    if not newest and numbers:
        newest = f"{_CHECKPOINT}{max(numbers)}"
    if not newest:
        return None
    note = msgspec.json.decode(location.read(f"{FOLDER}/{_name(number)}") or b"", type=_Note)
    if note.tables != tuple(tables):
        raise WorldError(
            f"{location.uri} was written from the tables {', '.join(note.tables)}, and now there are "
            f"{', '.join(tables)}: Flink cannot resume a job of other tables",
            hint="give the lake another location, which then gets all that the topics hold",
        )
    return f"{location.uri}/{folder}/{newest}"


def _folder(number: int) -> str:
    return f"{FOLDER}/{number:08}"


def _name(number: int) -> str:
    return f"{number:08}.json"


def _number(name: str) -> int:
    return int(name.partition(".")[0])
