"""What a switch of sources reads again of the source before: all that it needs, and from a shard's head only once."""

from __future__ import annotations

from typing import Any, cast

import pytest
from msgspec.structs import replace

from support.lanes import checkpoint
from support.log_records import SHARD, log_record
from tailrace.core.checkpoint import CheckpointKey
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.handover import CLOCKS_DIFFER_MS, digest_of
from tailrace.core.ports import LogPage
from tailrace.core.shard import Position, ShardRef
from tailrace.operations.published_changes import Noted, PublishedChanges
from tailrace.operations.surroundings import THIS_PROCESS
from tailrace.sources.dynamodb.policy import POLICY

MINUTE_MS = 60_000
BORN_MS = 1_700_000_040_000
CHANGES = [log_record(number, "a", (BORN_MS + number * MINUTE_MS) * 1000) for number in range(200)]
"""One a minute."""
VIEW_TYPES = {"orders": "NEW_AND_OLD_IMAGES"}


class Log:
    """A log that cannot seek a time, ten records a page, and tells which of them it was asked for."""

    def __init__(self) -> None:
        self.read_numbers: list[int] = []

    def read(self, _shard: ShardRef, position: Position, iterator: str | None) -> LogPage:
        begin = int(iterator or position.sequence or 0)
        if iterator is None and position.kind == "AFTER_SEQUENCE_NUMBER":
            begin += 1
        end = min(begin + 10, len(CHANGES))
        self.read_numbers += range(begin, end)
        records = [each for each in CHANGES[begin:end] if _made_ms(each) >= (position.since_ms or 0)]
        return LogPage(records, str(end), 0, full=end < len(CHANGES) or len(records) < end - begin)


def _made_ms(record: Any) -> int:
    return cast(int, record.record.origin.created_ms)


def look(log: Log, published: int, noted: dict[ShardRef, Noted]) -> PublishedChanges:
    """Look at the log while it is published up to a change."""
    state = CheckpointState(1)
    read = replace(checkpoint("open", published), created_ms=BORN_MS + published * MINUTE_MS)
    state.apply(0, CheckpointKey(*SHARD), read)
    return PublishedChanges(cast(Any, log), POLICY, state, THIS_PROCESS, noted)


def since(minute: int) -> int:
    """Return a time from which the changes of a minute on are needed, with those that clocks may be off by."""
    return BORN_MS + minute * MINUTE_MS + CLOCKS_DIFFER_MS


@pytest.mark.parametrize(("minute", "read_from"), [(150, 150), (190, 150), (149, 0)])
def test_a_shard_is_read_from_where_its_changes_since_an_earlier_time_begin(minute: int, read_from: int) -> None:
    log, noted = Log(), dict[ShardRef, Noted]()
    look(log, 170, noted).since(SHARD, since(150), cast(Any, VIEW_TYPES))
    assert log.read_numbers[0] == 0
    log.read_numbers.clear()
    found = look(log, 195, noted).since(SHARD, since(minute), cast(Any, VIEW_TYPES))
    assert log.read_numbers[0] == read_from
    needed = [each.record.change for each in CHANGES[minute + 1 : 196]]
    assert [each.digest for each in found] == [digest_of(cast(Any, each), "NEW_AND_OLD_IMAGES") for each in needed]
