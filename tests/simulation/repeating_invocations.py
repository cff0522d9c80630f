"""Deliveries of AWS Lambda of a stream that repeats its changes: a shard, and behind it its child."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from simulation.invocations import MakePages, TimeIsUpError, deliver
from support.lanes import NOW_MS, TABLE, outgoing
from support.log_records import change_of, flagged, log_record
from tailrace.core.change_window import ChangeWindow, Verdict, WindowBudget
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.page import Page, empty_page
from tailrace.core.ports import LogPage, LogReader, LogRecord, ReadError, ReadFailure, SourcePage, StreamListing
from tailrace.core.shard import ListedShard, Position, ShardRef
from tailrace.core.shard_publisher import ShardPublisher
from tailrace.core.windowed_shard import Late, WindowOptions
from tailrace.sources.aws_lambda.event import Batch
from tailrace.sources.aws_lambda.kinesis_intake import KinesisDelivery, KinesisIntake
from tailrace.sources.delivered import DeliveredLog
from tailrace.sources.kinesis.policy import policy
from tailrace.sources.windowed import WindowedReader

PARENT = ShardRef("stream", "parent")
CHILD = ShardRef("stream", "child")
NUMBERS = {PARENT: range(1, 21), CHILD: range(21, 51)}
WINDOW_MS = 1_000
_SPACE_MS = 10
"""Between two arrivals: all changes of both shards are within the window."""


@dataclass
class Stream(LogReader):
    """Both shards, as they are read again: with pages of up to three records, and faults."""

    rng: random.Random
    records: dict[int, LogRecord] = field(default_factory=dict)
    policy = policy(WINDOW_MS)

    def __post_init__(self) -> None:
        """Make changes, a third of them repeats of others, and some older than those before them."""
        made: list[tuple[str, int]] = []
        for shard, numbers in NUMBERS.items():
            for number in numbers:
                change = self.rng.choice("abc"), 1_000 * number - self.rng.choice((0, 0, 0, 5_000))
                if made and self.rng.random() < 0.3:
                    change = self.rng.choice(made)
                made.append(change)
                self.records[number] = log_record(
                    number, *change, arrived_ms=NOW_MS + number * _SPACE_MS, table=TABLE, shard=shard
                )

    def verdicts(self) -> dict[int, Verdict]:
        """What each change is to those before it."""
        window = ChangeWindow(WINDOW_MS, WindowBudget(1 << 20))
        return dict(zip(self.records, window.see(list(self.records.values()), None), strict=True))

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> LogPage:
        """Read a page, or fail now and then."""
        if self.rng.random() < 0.1:
            raise ReadError("as asked", self.rng.choice([ReadFailure.EXPIRED, ReadFailure.THROTTLED]))
        first = int(iterator or position.sequence or NUMBERS[shard][0])
        since_ms = position.since_ms or 0
        found = [self.records[number] for number in NUMBERS[shard] if number >= first]
        found = [record for record in found if record.arrived_ms >= since_ms]
        page = found[: self.rng.randint(0, 3)]
        following = int(page[-1].record.origin.sequence) + 1 if page else first
        is_over = shard == PARENT and len(page) == len(found)
        return LogPage(page, None if is_over else str(following), 10, full=len(page) < len(found))

    def shards(self, stream: str) -> StreamListing:
        """List both."""
        return StreamListing(stream, 0, (ListedShard("parent", (), True), ListedShard("child", ("parent",))))


MakeIntake = Callable[..., KinesisIntake]


def run(seed: int, make_intake: MakeIntake = KinesisIntake, late: Late = "flag") -> dict[int, str]:
    """Deliver both shards; give what was committed of each change: `{}`, or `late`.

    Raises AssertionError when a change is committed twice or out of order, or when that does not end.
    """
    stream: Any = Stream(random.Random(seed))
    committed: dict[int, str] = {}
    for shard, numbers in NUMBERS.items():

        def make_pages() -> MakePages:
            log = DeliveredLog(stream)
            options = WindowOptions(window_ms=WINDOW_MS, late=late, late_wait_ms=0)
            reader = WindowedReader(
                log, options, window_bytes=1 << 20, gone_after_ms=1, flagged=flagged, change_of=change_of
            )
            intake = make_intake(stream, log, reader, _no_decoder, orders=late == "reorder")
            return lambda batch, publisher: _pages(stream, intake, batch, publisher)

        def make(owner: str, checkpoint_state: CheckpointState, shard: ShardRef = shard) -> ShardPublisher:
            return ShardPublisher(shard, owner, checkpoint_state, table=TABLE, source=stream.policy, errors_fail=False)

        broker = deliver(seed, numbers, make, make_pages)
        if late == "flag":
            assert broker.changes == sorted(set(broker.changes)), broker.changes
        assert len(broker.changes) == len(set(broker.changes)), broker.changes
        committed |= {
            number: str(value, "ascii") for number, value in zip(broker.changes, broker.values, strict=True) if value
        }
    return committed


def expected(seed: int) -> dict[int, str]:
    """What should be committed of each change."""
    verdicts = Stream(random.Random(seed)).verdicts()
    return {
        number: "late" if verdict is Verdict.LATE else "{}"
        for number, verdict in verdicts.items()
        if verdict is not Verdict.REPEAT
    }


def _pages(stream: Stream, intake: KinesisIntake, batch: list[int], publisher: ShardPublisher) -> Iterator[Page]:
    def pause(_seconds: float) -> None:
        if stream.rng.random() < 0.01:
            raise TimeIsUpError

    of = Batch(publisher.shard, TABLE, "region", b"", has_window=True)
    delivery = KinesisDelivery(intake, of, [stream.records[number] for number in batch])
    for source in delivery.pages(publisher, 3, pause):
        yield _page(source, publisher.shard)


def _page(source: SourcePage, shard: ShardRef) -> Page:
    page = empty_page(shard)
    changes = [record.origin for record in source.records]
    outgoings = [
        outgoing(record.origin, value=b"late" if record.change and record.change.late else b"{}")
        for record in source.records
        if record.skipped is None
    ]
    last = max((each.sequence for each in changes), key=int)
    return replace(
        page,
        changes=changes,
        records=outgoings,
        last_sequence=last,
        window_from=source.window_from,
        arrived_ms=source.arrived_ms,
    )


def _no_decoder(body: bytes, *, shard: ShardRef) -> LogPage:
    raise AssertionError((body, shard))
