"""Records that are too large for their topics: remembered over the takings of a lane until they are past.

Some are known to be before they are sent: the page that brings them is marked. The broker refuses the others, each in a
batch of its own. A dead letter takes the record's place, first with the source's record in it, then bare.
"""

from __future__ import annotations

from collections import defaultdict
from enum import Enum, auto

import msgspec

from tailrace.core.page import Page, SetAside
from tailrace.core.shard import ShardRef, is_after

_Identity = tuple[str, int]
"""Sequence number, and the record's place among those of that number: a tombstone, a transformation's further one, the
dead letter of a record whose own number cannot be read."""


class Learned(Enum):
    """What a refusal tells of a record."""

    TOO_LARGE = auto()
    """It is too large: a dead letter takes its place."""
    LETTER_TOO_LARGE = auto()
    """Even the dead letter is: it goes bare."""
    NOTHING = auto()
    """Even the bare one was refused: there is nothing left to try."""


class RefusedRecords:
    """What is known of the records of one lane that are too large."""

    def __init__(self) -> None:
        self._set_aside: defaultdict[ShardRef, dict[_Identity, SetAside]] = defaultdict(dict)

    def note(self, page: Page, index: int, reason: str) -> Learned:
        """Note that the broker refused a record for its size."""
        known = self._set_aside[page.shard]
        identity = _identities(page)[index]
        before = known.get(identity)
        known[identity] = SetAside(before.reason if before else reason, bare=before is not None)
        if before is None:
            return Learned.TOO_LARGE
        return Learned.NOTHING if before.bare else Learned.LETTER_TOO_LARGE

    def note_marks(self, page: Page) -> list[str]:
        """Note what the page says of its records; give the reasons of those that were not known."""
        if not page.set_aside:
            return []
        reasons = []
        known, identities = self._set_aside[page.shard], _identities(page)
        for index, mark in page.set_aside.items():
            if (identity := identities[index]) not in known:
                known[identity] = mark
                reasons.append(mark.reason)
        return reasons

    def apply(self, page: Page, *, stop: bool) -> Page:
        """Mark the page's known records; with `stop` cut the page before the first one that is to be set aside."""
        known = self._set_aside.get(page.shard)
        if not known:
            return page
        marks = {index: known[identity] for index, identity in enumerate(_identities(page)) if identity in known}
        if stop and marks:
            first = min(marks)
            return page.cut_before(first, marks[first].reason)
        return msgspec.structs.replace(page, set_aside=marks)

    def forget(self, shard: ShardRef, sequence: str | None) -> None:
        """Forget what is published: all records of `shard` up to `sequence`."""
        if sequence is None or shard not in self._set_aside:
            return
        known = self._set_aside.pop(shard)
        if left := {identity: mark for identity, mark in known.items() if is_after(identity[0], sequence)}:
            self._set_aside[shard] = left


def _identities(page: Page) -> list[_Identity]:
    """Return what each record of a page is known by; a page that is read again, or cut, has the same."""
    identities: list[_Identity] = []
    previous, place = "", 0
    for record in page.records:
        sequence = record.origin.sequence
        place = place + 1 if sequence == previous else 0
        identities.append((sequence, place))
        previous = sequence
    return identities
