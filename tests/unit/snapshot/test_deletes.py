"""Finding deletes, where it meets trouble."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tailrace.core.checkpoint import SegmentRef, SnapshotRecord
from tailrace.core.ports import TableFacts
from tailrace.errors import WorldError
from tailrace.snapshot import deletes as deletes_module
from tailrace.snapshot.deletes import Deletes
from tailrace.snapshot.last_records import LastRecord

FACTS = TableFacts("orders", "arn:aws:dynamodb:us-east-1:123456789012:table/orders", {"id": "S"}, 0, 0, None)
SNAPSHOT = SnapshotRecord(id="s", source="scan", reason="gap", segments=1, at_ms=0, offsets={"shop.orders": (10,)})


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


def test_after_a_failure_the_topic_is_read_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of its records were read and not kept: to go on behind them could show deleted items as alive."""
    monkeypatch.setattr(deletes_module, "LastRecords", Unsteady)
    deletes = Deletes(
        SNAPSHOT,
        FACTS,
        cast(Any, None),
        cast(Any, None),
        key_of=lambda key: key,
        user={},
        topics=["shop.orders"],
        region="us-east-1",
        tombstones=True,
        is_of_table=lambda _topic, _value: True,
        now_ms=lambda: 0,
    )
    segment = SegmentRef.for_deletes("orders", "s", "shop.orders", 0)
    with pytest.raises(WorldError):
        deletes.in_partition(segment, None)
    assert (Unsteady.made, Unsteady.closed) == (1, 1)
    assert deletes.in_partition(segment, None) == ([], None)
    assert (Unsteady.made, Unsteady.closed) == (2, 2)
