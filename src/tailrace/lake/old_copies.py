"""What a table's present state in Parquet files no longer needs: old copies, their steps, and what killed writers left.

A file is named after the position that its writer continued from. Once the last step continues from there or from a
later one, and does not have the file, no step that counts ever will: so it may go, however slow its writer is. Readers
have the time for which copies are kept, from when another one took their place, by the store's clock.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from tailrace.kafka.watched_consumer import Place
from tailrace.lake.ledger import Ledger
from tailrace.lake.location import MaintainedLocation

CURRENT: Final = "current"
"""The folder of the steps of present states."""


def folder_of(table: str, place: Place) -> str:
    """Return the folder of the files of a partition's state."""
    return f"{table}/_current/{place.topic}/{place.partition}"


def old_copies(
    location: MaintainedLocation, ledger: Ledger, table: str, place: Place, *, keep_ms: int, now_ms: int
) -> list[str]:
    """Return the names of files that may be removed, in an order in which no step is left without its files.

    `ledger` is that of present states. Raises WorldError.
    """
    steps = sorted(location.files(ledger.folder(place)))
    old = [each.name for each, later in pairwise(steps) if later.modified_ms <= now_ms - keep_ms]
    kept = [step for each in steps if each.name not in old and (step := ledger.step(each.name)) is not None]
    if not kept:
        return []
    last = max(each.after for each in kept)
    needed = {file.name for step in kept for file in step.files}
    copies = (each.name for each in location.files(folder_of(table, place)))
    return [*old, *(name for name in copies if name not in needed and _after(name) <= last)]


def _after(name: str) -> int:
    return int(name.rpartition("/")[2].partition("-")[0])
