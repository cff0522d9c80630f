"""Records that the broker refuses for their size: remembered over the takings of a lane until they are past.

The broker refuses a whole batch for one record, so the first refusal only gives suspects. They are sent again each
alone; one that is refused alone is set aside: a dead letter takes its place, first with the record, then bare.
"""

from __future__ import annotations

from collections import defaultdict
from enum import Enum, auto

import msgspec

from tailrace.core.page import Page, SetAside
from tailrace.core.shard import ShardRef, is_after

_Identity = tuple[str, int]
"""Sequence number, and the record's place among those made of the one change: a tombstone, a transformation's."""


class Learned(Enum):
    """What a refusal tells of a record."""

    SUSPECT = auto()
    """It may be too large: it is sent alone from now on."""
    TOO_LARGE = auto()
    """It is: a dead letter takes its place."""
    LETTER_TOO_LARGE = auto()
    """Even the dead letter is: it goes bare."""
    NOTHING = auto()
    """Even the bare one was refused: there is nothing left to try."""


class RefusedRecords:
    """What is known of the refused records of one lane."""

    def __init__(self) -> None:
        self._suspects: defaultdict[ShardRef, set[_Identity]] = defaultdict(set)
        self._set_aside: defaultdict[ShardRef, dict[_Identity, SetAside]] = defaultdict(dict)

    def note(self, page: Page, index: int, reason: str, *, sure: bool) -> Learned:
        """Note a refusal. `sure`: the record was alone in its batch."""
        identity = _identity(page, index)
        if not sure:
            is_new = identity not in self._suspects[page.shard]
            self._suspects[page.shard].add(identity)
            return Learned.SUSPECT if is_new else Learned.NOTHING
        before = self._set_aside[page.shard].get(identity)
        self._set_aside[page.shard][identity] = SetAside(before.reason if before else reason, bare=before is not None)
        if before is None:
            return Learned.TOO_LARGE
        return Learned.NOTHING if before.bare else Learned.LETTER_TOO_LARGE

    def apply(self, page: Page, *, stop: bool) -> Page:
        """Mark the page's known records; with `stop` cut the page before the first one that is to be set aside."""
        suspects, set_aside = self._suspects.get(page.shard), self._set_aside.get(page.shard)
        if not suspects and not set_aside:
            return page
        identities = [_identity(page, index) for index in range(len(page.records))]
        marks = {i: set_aside[one] for i, one in enumerate(identities) if set_aside and one in set_aside}
        alone = frozenset(i for i, one in enumerate(identities) if suspects and one in suspects)
        if stop and marks:
            first = min(marks)
            cut = page.cut_before(first, marks[first].reason)
            return msgspec.structs.replace(cut, alone=frozenset(i for i in alone if i < len(cut.records)))
        return msgspec.structs.replace(page, set_aside=marks, alone=alone)

    def forget(self, shard: ShardRef, sequence: str | None) -> None:
        """Forget what is published: all records of `shard` up to `sequence`."""
        if sequence is None:
            return
        suspects = {one for one in self._suspects.pop(shard, ()) if is_after(one[0], sequence)}
        if suspects:
            self._suspects[shard] = suspects
        marks = {one: mark for one, mark in self._set_aside.pop(shard, {}).items() if is_after(one[0], sequence)}
        if marks:
            self._set_aside[shard] = marks


def _identity(page: Page, index: int) -> _Identity:
    sequence, place = page.records[index].sequence, 0
    while place < index and page.records[index - place - 1].sequence == sequence:
        place += 1
    return sequence, place
