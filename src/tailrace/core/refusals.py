"""Records that are too large for their topics, remembered across claims of a lane until the lane is past them.

Some are known before they are sent: their page is marked. The broker refuses the others, each in a batch of its own. A
dead letter replaces the record, first with the source's record in it, then bare.
"""

from __future__ import annotations

from collections import defaultdict
from enum import Enum, auto

import msgspec

from tailrace.core.page import Page, SetAside
from tailrace.core.shard import ShardRef, is_after

_Identity = tuple[str, int]
"""Sequence number, and the record's index among those with that number: a tombstone, another record of a
transformation, the dead letter of a record whose own number cannot be parsed."""


class Learned(Enum):
    """What a refusal says about a record."""

    TOO_LARGE = auto()
    """It is too large: a dead letter replaces it."""
    LETTER_TOO_LARGE = auto()
    """Even the dead letter is too large: it is sent bare."""
    NOTHING = auto()
    """Even the bare one was refused: nothing is left to try."""


class RefusedRecords:
    """What is known about the records of one lane that are too large."""

    def __init__(self) -> None:
        self._set_aside: defaultdict[ShardRef, dict[_Identity, SetAside]] = defaultdict(dict)

    def note(self, page: Page, index: int, reason: str) -> Learned:
        """Record that the broker refused a record for its size."""
        known = self._set_aside[page.shard]
        identity = _identities(page)[index]
        before = known.get(identity)
        known[identity] = SetAside(before.reason if before else reason, bare=before is not None)
        if before is None:
            return Learned.TOO_LARGE
        return Learned.NOTHING if before.bare else Learned.LETTER_TOO_LARGE

    def note_marks(self, page: Page) -> list[str]:
        """Take in what the page says about its records; return the reasons of those not known before."""
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
        """Mark the page's known records; with `stop`, cut the page before the first one to set aside."""
        known = self._set_aside.get(page.shard)
        if not known:
            return page
        marks = {index: known[identity] for index, identity in enumerate(_identities(page)) if identity in known}
        if stop and marks:
            first = min(marks)
            return page.cut_before(first, marks[first].reason)
        return msgspec.structs.replace(page, set_aside=marks)

    def forget(self, shard: ShardRef, sequence: str | None) -> None:
        """Forget published records: those of `shard` up to `sequence`."""
        if sequence is None or shard not in self._set_aside:
            return
        known = self._set_aside.pop(shard)
        if left := {identity: mark for identity, mark in known.items() if is_after(identity[0], sequence)}:
            self._set_aside[shard] = left


def _identities(page: Page) -> list[_Identity]:
    """Return the identity of each record of a page; a page that is read again, or cut, has the same."""
    identities: list[_Identity] = []
    previous, place = "", 0
    for record in page.records:
        sequence = record.origin.sequence
        place = place + 1 if sequence == previous else 0
        identities.append((sequence, place))
        previous = sequence
    return identities
