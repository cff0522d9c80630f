"""Finding deletes, where it meets trouble."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import Mock

import pytest

from tailrace.core.checkpoint import SegmentRef, SnapshotRecord
from tailrace.core.ports import TableFacts
from tailrace.errors import WorldError
from tailrace.snapshot import deletes as deletes_module
from tailrace.snapshot.deletes import Deletes
from tailrace.snapshot.last_records import LastRecord

FACTS = TableFacts("orders", "arn:aws:dynamodb:us-east-1:123456789012:table/orders", {"id": "S"}, 0, 0, None)
SNAPSHOT = SnapshotRecord(id="s", source="scan", reason="gap", segments=1, at_ms=0, offsets={"shop.orders": (10,)})


SEGMENT = SegmentRef.for_deletes("orders", "s", "shop.orders", 0)


class Unsteady:
    """Last records that cannot be read to the end the first time."""

    made = 0
    closed = 0

    def __init__(self, *_arguments: object) -> None:
        type(self).made += 1

    def catch_up(self) -> None:
        if self.made == 1:
            raise WorldError("reading shop.orders: nothing came")

    def alive(self, *_bounds: int) -> list[LastRecord]:
        return []

    def close(self) -> None:
        type(self).closed += 1


class Watched:
    """Last records that never end, and what is done while the first read uses them."""

    def __init__(self, during: Callable[[], None]) -> None:
        self.made: list[Watched] = []
        self.during: Callable[[], None] | None = during
        self.uses = 0
        self.is_open = True

    def __call__(self, *_arguments: object) -> Watched:
        made = Watched(lambda: None)
        made.during, self.during = self.during, None
        self.made.append(made)
        return made

    def catch_up(self) -> None:
        assert self.is_open
        self.uses += 1
        during, self.during = self.during, None
        if during is not None:
            during()
            assert self.is_open, "it was closed while it was used"
            assert self.uses == 1, "another read used it at the same time"

    def alive(self, *_bounds: int) -> list[LastRecord]:
        return [LastRecord(b"{}", b"{}", 0, 3)] * deletes_module.DELETES_PER_CHUNK

    def close(self) -> None:
        assert self.is_open
        self.is_open = False


def make_deletes() -> Deletes:
    tables, format_ = Mock(), Mock()
    tables.get.return_value.records = []
    format_.delete_after.return_value = None
    return Deletes(
        SNAPSHOT,
        FACTS,
        tables,
        format_,
        key_of=lambda key: key,
        user={},
        topics=["shop.orders"],
        region="us-east-1",
        tombstones=True,
        is_of_table=lambda _topic, _value: True,
        now_ms=lambda: 0,
    )


def test_after_a_failure_the_topic_is_read_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of its records were read and not kept: to go on behind them could show deleted items as alive."""
    monkeypatch.setattr(deletes_module, "LastRecords", Unsteady)
    deletes = make_deletes()
    with pytest.raises(WorldError):
        deletes.in_partition(SEGMENT, None)
    assert (Unsteady.made, Unsteady.closed) == (1, 1)
    assert deletes.in_partition(SEGMENT, None) == ([], None)
    assert (Unsteady.made, Unsteady.closed) == (2, 2)


def test_a_read_of_before_the_lane_was_taken_again_shares_nothing_with_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deletes = make_deletes()

    def lose_and_take_again() -> None:
        deletes.leave(SEGMENT)
        assert deletes.in_partition(SEGMENT, None) == ([], "4")

    records = Watched(lose_and_take_again)
    monkeypatch.setattr(deletes_module, "LastRecords", records)
    deletes.in_partition(SEGMENT, None)
    assert [each.is_open for each in records.made] == [False, True], "the new read's are kept"
    deletes.in_partition(SEGMENT, "4")
    assert [each.uses for each in records.made] == [1, 2], "the next chunk continues with them"
    deletes.close()
    assert not any(each.is_open for each in records.made)


@pytest.mark.parametrize("end", [lambda deletes: deletes.leave(SEGMENT), Deletes.close])
def test_what_a_read_uses_is_deleted_when_it_is_done(
    monkeypatch: pytest.MonkeyPatch, end: Callable[[Deletes], None]
) -> None:
    deletes = make_deletes()
    records = Watched(lambda: end(deletes))
    monkeypatch.setattr(deletes_module, "LastRecords", records)
    deletes.in_partition(SEGMENT, None)
    assert [each.is_open for each in records.made] == [False]


def test_a_read_that_begins_after_the_end_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    records = Watched(lambda: None)
    monkeypatch.setattr(deletes_module, "LastRecords", records)
    deletes = make_deletes()
    deletes.close()
    deletes.in_partition(SEGMENT, None)
    assert [each.is_open for each in records.made] == [False]
