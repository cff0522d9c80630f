"""When rows were read is told by the worker's clock, as the barrier is: the wall's may be set back."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

from support.checkpoints import view_of
from support.snapshot_records import facts, segments, snapshot
from tailrace.core.checkpoint import SnapshotRecord
from tailrace.core.ports import TableFacts
from tailrace.process.host import ThreadedHost
from tailrace.snapshot.observer import SnapshotObserver
from tailrace.snapshot.parts import SnapshotParts
from tailrace.snapshot.segments import Segments

LANES = 4


class Idle:
    """A window that follows nothing."""

    def follow(self, _topics: object) -> None:
        """Follow nothing."""


def test_a_reader_is_given_the_workers_clock() -> None:
    clocks: list[Callable[[], int]] = []

    def reader(_snapshot: SnapshotRecord, _facts: TableFacts, now_ms: Callable[[], int]) -> None:
        clocks.append(now_ms)

    parts = SimpleNamespace(
        lane_count=LANES,
        parallel_tables=None,
        ensure_topics=lambda _: None,
        window=lambda _: Idle(),
        facts=facts,
        reader=reader,
        topics_of=lambda table: (table,),
    )
    host = ThreadedHost()
    followed = Segments(cast(SnapshotParts, parts), cast(SnapshotObserver, None), host)
    followed.follow(view_of(LANES, snapshot(), *segments(LANES)), range(LANES))
    assert clocks == [host.now_ms]
