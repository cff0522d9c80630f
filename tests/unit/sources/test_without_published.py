"""DynamoDB Streams, or Kinesis, read on where another source published before: what is left out, over restarts too."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from support.log_records import SHARD, change_of, flagged, log_record
from tailrace.core.handover import Handover, digest_of
from tailrace.core.ports import LogPage, LogRecord, SourcePage, SourceRecord
from tailrace.core.shard import Position, ShardRef, Tail
from tailrace.core.windowed_shard import WindowOptions
from tailrace.sources.windowed import WindowedReader

PARENT = ShardRef(SHARD.stream, "parent")
FROM_MS, UNTIL_MS = 1_000_000, 2_000_000


def made(sequence: int, item: str, second: int, *, text: str = "", repeats: bool = False) -> LogRecord:
    """A change of the second, told apart by its text alone; it arrives at once."""
    record = log_record(sequence, item, second * 1_000_000, arrived_ms=second * 1_000)
    assert record.record.change is not None
    change = replace(record.record.change, after=text.encode())
    identity = b"%b %d %d" % (item.encode(), second, sequence) if repeats else b""
    return replace(record, record=replace(record.record, change=change), identity=identity)


def handover(*published: LogRecord) -> Handover:
    changes = [each.record.change for each in published]
    digests = [digest_of(each, "NEW_AND_OLD_IMAGES") for each in changes if each is not None]
    return Handover(from_ms=FROM_MS, until_ms=UNTIL_MS, view_types={"orders": "NEW_AND_OLD_IMAGES"}, changes=digests)


class Log:
    """A log that gives two records at a time."""

    def __init__(
        self, shards: dict[ShardRef, list[LogRecord]], closed: set[ShardRef] | None = None, *, iterators: str = "at "
    ) -> None:
        """`iterators` is what its iterators begin with, before a number."""
        self.shards = shards
        self.closed = closed or set()
        self.iterators = iterators

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> LogPage:
        records = self.shards[shard]
        begin = int(iterator.removeprefix(self.iterators)) if iterator is not None else 0
        if iterator is None and position.sequence is not None:
            is_after = position.kind == "AFTER_SEQUENCE_NUMBER"
            begin = sum(int(each.record.origin.sequence) < int(position.sequence) + is_after for each in records)
        end = min(len(records), begin + 2)
        is_over = shard in self.closed and end == len(records)
        return LogPage(records[begin:end], None if is_over else f"{self.iterators}{end}", 100, full=end < len(records))


def reader(log: Log, **options: Any) -> WindowedReader:
    return WindowedReader(
        log,
        WindowOptions(**({"window_ms": 0} | options)),
        window_bytes=1 << 20,
        gone_after_ms=10_000,
        flagged=flagged,
        change_of=change_of,
    )


def read_all(windowed: WindowedReader, position: Position, log: Log) -> list[SourcePage]:
    """Read as a lane does: iterators of the log itself are not the windowed reader's."""
    pages = [windowed.read(SHARD, position, None)]
    while (iterator := pages[-1].next_iterator) is not None and pages[-1].full:
        if WindowedReader.returned(iterator):
            pages.append(windowed.read(SHARD, position, iterator))
        else:
            page = log.read(SHARD, position, iterator)
            pages.append(SourcePage([each.record for each in page.records], page.next_iterator, 0, full=page.full))
    return pages


def published(pages: list[SourcePage]) -> list[str]:
    found: list[SourceRecord] = [record for page in pages for record in page.records if record.skipped is None]
    return [record.origin.sequence + (" late" if record.change and record.change.late else "") for record in found]


def test_what_was_handed_over_is_left_out_and_counts_for_the_position() -> None:
    records = [made(1, "a", 900), made(2, "a", 1_100, text="x"), made(3, "a", 1_100, text="x"), made(4, "b", 1_200)]
    log = Log({SHARD: records})
    pages = read_all(reader(log), Position("TRIM_HORIZON", handover=handover(records[1], records[3])), log)
    assert published(pages) == ["3"]
    skipped = [(each.origin.sequence, each.skipped) for page in pages for each in page.records if each.skipped]
    assert skipped == [("1", "switched"), ("2", "switched"), ("4", "switched")]
    assert [page.window_from for page in pages] == ["1", "1"], "a restart has to count from the first one"


def test_a_restart_counts_what_was_left_out_before() -> None:
    same = [made(number, "a", 1_100, text="x") for number in range(1, 6)]
    log = Log({SHARD: same})
    position = Position("AFTER_SEQUENCE_NUMBER", "3", tails=(Tail(SHARD, "1"),), handover=handover(*same[:4]))
    assert published(read_all(reader(log), position, log)) == ["5"]


def test_a_child_counts_what_its_ancestors_left_out() -> None:
    log = Log({PARENT: [made(1, "a", 1_100)], SHARD: [made(2, "a", 1_100), made(3, "a", 1_100)]}, {PARENT})
    position = Position("TRIM_HORIZON", tails=(Tail(PARENT, None),), handover=handover(made(1, "a", 1_100)))
    assert published(read_all(reader(log), position, log)) == ["2", "3"]


def test_a_change_behind_a_published_newer_one_says_that_it_is_late() -> None:
    records = [made(1, "a", 1_100, text="late"), made(2, "a", 1_101, text="known"), made(3, "a", 1_101, text="new")]
    log = Log({SHARD: records})
    assert published(read_all(reader(log), Position("TRIM_HORIZON", handover=handover(records[1])), log)) == [
        "1 late",
        "3",
    ]


@pytest.mark.parametrize("iterators", ["at ", "1:"])
def test_behind_its_time_the_log_is_read_as_it_is(iterators: str) -> None:
    records = [made(number, "a", second) for number, second in ((1, 1_100), (2, 2_001), (3, 2_002), (4, 2_003))]
    log = Log({SHARD: records}, iterators=iterators)
    pages = read_all(reader(log), Position("TRIM_HORIZON", handover=handover(records[0])), log)
    assert published(pages) == ["2", "3", "4"]
    assert pages[0].next_iterator == f"{iterators}2"


def test_with_a_window_repeats_of_what_was_handed_over_use_nothing_up() -> None:
    first, second = made(1, "a", 1_100, repeats=True), made(3, "a", 1_100, repeats=True)
    repeat = replace(first, record=replace(first.record, origin=replace(first.record.origin, sequence="2")))
    log = Log({SHARD: [first, repeat, second, made(4, "a", 1_050, text="unpublished", repeats=True)]})
    pages = read_all(reader(log, window_ms=600_000), Position("TRIM_HORIZON", handover=handover(first, second)), log)
    skipped = [each.skipped for page in pages for each in page.records]
    assert skipped == ["switched", "repeat", "switched", None]
    assert published(pages) == ["4 late"]


def test_a_child_of_a_shard_that_is_past_the_time_is_read_itself() -> None:
    log = Log({PARENT: [made(1, "a", 2_001)], SHARD: [made(2, "a", 2_002)]}, {PARENT, SHARD})
    position = Position("TRIM_HORIZON", tails=(Tail(PARENT, None),), handover=handover(made(1, "a", 1_100)))
    assert published(read_all(reader(log), position, log)) == ["2"]
