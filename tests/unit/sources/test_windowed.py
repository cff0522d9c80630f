"""A stream with repeats and disorder is read without the one, and with the other flagged, ordered or dropped."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

from support.log_records import SHARD, change_of, flagged, log_record
from tailrace.core.change_window import CHANGE_BYTES
from tailrace.core.ports import LogPage, LogRecord, ReadError, ReadFailure, SourcePage, SourceRecord
from tailrace.core.shard import Position, ShardRef, Tail
from tailrace.core.windowed_shard import Late, WindowOptions
from tailrace.sources.windowed import WindowedReader

PARENT = ShardRef(SHARD.stream, "parent")
WINDOW_MS = 60_000
HEAD = Position("TRIM_HORIZON")


class Clock:
    """A clock that stands still unless it is set."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> float:
        return self.ms / 1000


@dataclass
class Log:
    """Shards as a source shows them, some records a page."""

    shards: dict[ShardRef, list[LogRecord]]
    closed: set[ShardRef] = field(default_factory=set)
    count: Callable[[], int] = lambda: 2
    trimmed_before: dict[ShardRef, int] = field(default_factory=dict)
    refused: dict[ShardRef, ReadFailure] = field(default_factory=dict)
    reads: list[tuple[ShardRef, Position]] = field(default_factory=list)

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> LogPage:
        if shard in self.refused:
            raise ReadError("refused", self.refused[shard])
        records = self.shards[shard]
        if iterator is None:
            self.reads.append((shard, position))
            if int(position.sequence or 1 << 62) < self.trimmed_before.get(shard, 0):
                raise ReadError("trimmed", ReadFailure.TRIMMED)
            trimmed_before = self.trimmed_before.get(shard, 0)
            begin = sum(int(each.record.origin.sequence) < trimmed_before for each in records)
            if position.sequence is not None:
                is_after = position.kind == "AFTER_SEQUENCE_NUMBER"
                begin = sum(int(each.record.origin.sequence) < int(position.sequence) + is_after for each in records)
        else:
            begin = int(iterator)
        end = min(len(records), begin + self.count())
        is_over = shard in self.closed and end == len(records)
        return LogPage(records[begin:end], None if is_over else str(end), 100, full=end < len(records))


def reader(log: Log, clock: Clock | None = None, *, window_bytes: int = 1 << 24, **options: Any) -> WindowedReader:
    return WindowedReader(
        log,
        WindowOptions(**({"window_ms": WINDOW_MS} | options)),
        window_bytes=window_bytes,
        gone_after_ms=10_000,
        flagged=flagged,
        change_of=change_of,
        is_wanted=lambda table: table != "unwanted",
        clock=clock or Clock(),
    )


def read_all(windowed: WindowedReader, position: Position = HEAD, shard: ShardRef = SHARD) -> list[SourcePage]:
    """Read until the end of the shard, or until there is nothing more for now."""
    pages = [windowed.read(shard, position, None)]
    while pages[-1].next_iterator is not None and (pages[-1].full or pages[-1].records):
        pages.append(windowed.read(shard, position, pages[-1].next_iterator))
    return pages


def published(pages: list[SourcePage]) -> list[str]:
    """What is published, late ones with a mark."""
    records = [record for page in pages for record in page.records if record.skipped is None]
    return [told(record) for record in records]


def told(record: SourceRecord) -> str:
    assert record.change is not None
    return record.origin.raw.decode() + (" late" if record.change.late else "")


def test_a_repeat_is_passed_by_and_counts_for_the_position() -> None:
    log = Log({SHARD: [log_record(1, "a", 1), log_record(2, "a", 2), log_record(3, "a", 1), log_record(4, "a", 2)]})
    pages = read_all(reader(log))
    assert published(pages) == ["a 1", "a 2"]
    assert [(each.origin.sequence, each.skipped) for each in pages[1].records] == [("3", "repeat"), ("4", "repeat")]


@pytest.mark.parametrize(("late", "shown"), [("flag", ["a 2", "a 1 late"]), ("drop", ["a 2"])])
def test_a_change_behind_a_newer_one_of_its_item_is_late(late: Late, shown: list[str]) -> None:
    pages = read_all(reader(Log({SHARD: [log_record(1, "a", 2), log_record(2, "a", 1)]}), late=late))
    assert published(pages) == shown
    assert pages[0].records[1].skipped == ("late" if late == "drop" else None)


def test_tables_that_are_not_wanted_are_passed_by() -> None:
    pages = read_all(reader(Log({SHARD: [log_record(1, "a", 2, table="unwanted"), log_record(2, "a", 3)]})))
    assert published(pages) == ["a 3"]
    assert pages[0].records[0].skipped == "unwanted"


def test_a_restart_reads_the_tail_again_and_publishes_nothing_of_it() -> None:
    records = [log_record(number, "a", number) for number in range(1, 8)]
    log = Log({SHARD: [*records, log_record(8, "a", 3), log_record(9, "a", 5), log_record(10, "b", 1)]})
    position = Position("AFTER_SEQUENCE_NUMBER", "7", tails=(Tail(SHARD, "2"),))
    pages = read_all(reader(log), position)
    assert log.reads == [(SHARD, Position("AT_SEQUENCE_NUMBER", "2"))]
    assert published(pages) == ["b 1"]
    assert [page.full for page in pages if not page.records][:2] == [True, True], "there is more, so no proof of an end"
    assert {each.origin.sequence for page in pages for each in page.records} == {"8", "9", "10"}


def test_a_child_knows_what_its_ancestors_published() -> None:
    parent = [log_record(1, "a", 1), log_record(2, "a", 2), log_record(3, "b", 1)]
    log = Log(
        {PARENT: parent, SHARD: [log_record(11, "a", 2), log_record(12, "a", 3), log_record(13, "b", 1)]}, {PARENT}
    )
    pages = read_all(reader(log), Position("TRIM_HORIZON", tails=(Tail(PARENT, "2"),)))
    assert published(pages) == ["a 3"]


def test_a_child_goes_on_without_a_parent_that_is_surely_gone() -> None:
    clock, position = Clock(), Position("TRIM_HORIZON", tails=(Tail(PARENT, "1"),))
    log = Log({SHARD: [log_record(11, "a", 2)]}, {PARENT}, refused={PARENT: ReadFailure.GONE})
    windowed = reader(log, clock)
    for _ in range(2):  # a moment may be wrong
        with pytest.raises(ReadError) as told_of:
            windowed.read(SHARD, position, None)
        assert told_of.value.failure is ReadFailure.UNAVAILABLE, "it says nothing of the shard itself"
        clock.ms += 9_000
    clock.ms += 1_000
    assert published(read_all(windowed, position)) == ["a 2"]


def test_tails_that_can_be_read_do_not_hide_that_the_shard_is_denied() -> None:
    log = Log({PARENT: [log_record(1, "a", 1)]}, {PARENT}, refused={SHARD: ReadFailure.GONE})
    windowed, position = reader(log), Position("TRIM_HORIZON", tails=(Tail(PARENT, "1"),))
    page = windowed.read(SHARD, position, None)
    iterator = page.next_iterator
    for _ in range(3):
        with pytest.raises(ReadError) as told_of:
            windowed.read(SHARD, position, iterator)
        assert told_of.value.failure is ReadFailure.GONE
        iterator = None


def test_what_is_left_of_a_trimmed_tail_counts() -> None:
    log = Log({PARENT: [log_record(5, "a", 1)], SHARD: [log_record(11, "a", 1), log_record(12, "a", 2)]}, {PARENT})
    log.trimmed_before[PARENT] = 5
    assert published(read_all(reader(log), Position("TRIM_HORIZON", tails=(Tail(PARENT, "3"),)))) == ["a 2"]


def test_what_is_left_of_the_trimmed_tail_of_the_shard_itself_counts() -> None:
    of_item_b = [log_record(sequence, "b", sequence) for sequence in (11, 12, 13)]
    log = Log({SHARD: [*of_item_b, log_record(14, "a", 2), log_record(15, "a", 1), log_record(16, "a", 3)]})
    log.trimmed_before[SHARD] = 12
    found = published(read_all(reader(log), Position("AFTER_SEQUENCE_NUMBER", "14", tails=(Tail(SHARD, "11"),))))
    assert found == ["a 1 late", "a 3"]


def test_a_trimmed_position_is_told_even_if_the_tail_is_trimmed_too() -> None:
    log = Log({SHARD: [log_record(11, "a", 2)]}, trimmed_before={SHARD: 11})
    with pytest.raises(ReadError) as told_of:
        read_all(reader(log), Position("AFTER_SEQUENCE_NUMBER", "7", tails=(Tail(SHARD, "2"),)))
    assert told_of.value.failure is ReadFailure.TRIMMED
    assert log.reads[-1] == (SHARD, Position("AFTER_SEQUENCE_NUMBER", "7"))


def test_only_the_last_iterator_counts_and_only_for_a_while() -> None:
    clock = Clock()
    windowed = reader(Log({SHARD: [log_record(number, "a", number) for number in range(9)]}), clock)
    first = windowed.read(SHARD, HEAD, None)
    second = windowed.read(SHARD, HEAD, first.next_iterator)
    for iterator, later_ms in ((first.next_iterator, 0), (second.next_iterator, 301_000)):
        clock.ms += later_ms
        with pytest.raises(ReadError) as told_of:
            windowed.read(SHARD, HEAD, iterator)
        assert told_of.value.failure is ReadFailure.EXPIRED


def test_reorder_puts_changes_in_order_and_flags_what_comes_later_still() -> None:
    clock = Clock()
    records = [log_record(1, "a", 2), log_record(2, "b", 7, arrived_ms=100), log_record(3, "a", 1, arrived_ms=200)]
    log = Log({SHARD: records}, count=lambda: 9)
    windowed = reader(log, clock, late="reorder", late_wait_ms=500)
    held = windowed.read(SHARD, HEAD, None)
    assert (held.records, held.full) == ([], True)
    clock.ms += 499
    held = windowed.read(SHARD, HEAD, held.next_iterator)
    assert held.records == []
    clock.ms += 1
    page = windowed.read(SHARD, HEAD, held.next_iterator)
    assert published([page]) == ["a 1", "b 7", "a 2"]
    assert page.last_sequence == "3"
    log.shards[SHARD].append(log_record(4, "a", 1, arrived_ms=201))
    log.shards[SHARD].append(replace(log_record(5, "a", 0, arrived_ms=202), created_us=1, identity=b"x"))
    held = windowed.read(SHARD, HEAD, page.next_iterator)
    clock.ms += 500
    assert published([windowed.read(SHARD, HEAD, held.next_iterator)]) == ["a 0 late"]


def test_reorder_lets_all_go_at_the_end_of_the_shard() -> None:
    log = Log({SHARD: [log_record(1, "a", 2), log_record(2, "a", 1)]}, {SHARD}, count=lambda: 9)
    page = reader(log, late="reorder").read(SHARD, HEAD, None)
    assert (published([page]), page.next_iterator) == (["a 1", "a 2"], None)


def mixed(rng: random.Random) -> tuple[list[LogRecord], list[str]]:
    """Return a stream with repeats and disorder, and each of its changes once."""
    changes: list[str] = []
    stream: list[tuple[str, int]] = []
    for number in range(1, 120):
        item = f"i{rng.randrange(6)}"
        changes.append(f"{item} {number}")
        stream.append((item, number))
        if rng.random() < 0.2:
            stream.insert(rng.randrange(max(0, len(stream) - 12), len(stream)), rng.choice(stream[-20:]))
        if rng.random() < 0.2:
            stream.append(stream.pop(rng.randrange(max(0, len(stream) - 8), len(stream))))
    return [log_record(at, item, us, arrived_ms=at * 50) for at, (item, us) in enumerate(stream, start=1)], changes


def read_with_losses(
    windowed: WindowedReader, shard: ShardRef, tails: tuple[Tail, ...], rng: random.Random, clock: Clock
) -> tuple[list[str], str | None]:
    """Read a shard to its end, now and then again from what is committed; return what is published, and the tail's
    beginning."""
    shown: list[str] = []
    position, iterator, window_from = replace(HEAD, tails=tails), None, None
    while True:
        page = windowed.read(shard, position, iterator)
        clock.ms += rng.randint(0, 400)
        if rng.random() < 0.1:  # read, and lost with all that was not committed
            iterator = None
            continue
        shown += published([page])
        if page.records:
            window_from = page.window_from
            sequence = page.last_sequence or page.records[-1].origin.sequence
            position = Position("AFTER_SEQUENCE_NUMBER", sequence, tails=(*tails, Tail(shard, window_from)))
        iterator = page.next_iterator
        if iterator is None:
            return shown, window_from


@pytest.mark.parametrize("late", ["flag", "reorder"])
@pytest.mark.parametrize("seed", range(25))
def test_whatever_is_lost_and_read_again_each_change_is_published_once(seed: int, late: Late) -> None:
    rng, clock = random.Random(seed), Clock()
    records, changes = mixed(rng)
    half = len(records) // 2
    log = Log({PARENT: records[:half], SHARD: records[half:]}, {PARENT, SHARD}, count=lambda: rng.randint(0, 9))
    windowed = reader(log, clock, late=late, late_wait_ms=300)
    shown, window_from = read_with_losses(windowed, PARENT, (), rng, clock)
    if seed % 2:  # another worker has the child
        windowed = reader(log, clock, late=late, late_wait_ms=300)
    shown += read_with_losses(windowed, SHARD, (Tail(PARENT, window_from),), rng, clock)[0]
    assert sorted(each.removesuffix(" late") for each in shown) == sorted(changes)
    newest: dict[str, int] = {}
    for item, number, *mark in map(str.split, shown):
        assert bool(mark) == (int(number) < newest.get(item, 0))
        newest[item] = max(int(number), newest.get(item, 0))


def test_the_windows_of_ended_shards_are_kept_for_a_while_and_not_without_bound() -> None:
    clock = Clock()
    shards = {
        ShardRef(SHARD.stream, f"parent {n}"): [log_record(at, f"{n} {at}", at) for at in range(1, 101)]
        for n in range(5)
    }
    log = Log({**shards, SHARD: []}, set(shards), count=lambda: 100)
    windowed = reader(log, clock, window_bytes=1_000 * CHANGE_BYTES)

    def tails_read() -> list[str]:
        log.reads.clear()
        windowed.read(SHARD, replace(HEAD, tails=tuple(Tail(shard, None) for shard in shards)), None)
        return [shard.shard_id for shard, _ in log.reads if shard != SHARD]

    for shard in shards:
        read_all(windowed, shard=shard)
    assert tails_read() == ["parent 0", "parent 1", "parent 2"], "those of 250 changes are kept, the youngest"
    clock.ms += 61_000
    assert tails_read() == [shard.shard_id for shard in shards]


def test_what_is_forgotten_for_want_of_memory_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    log = Log({SHARD: [log_record(n, f"i{n}", n) for n in range(1, 4_001)]}, {SHARD}, count=lambda: 500)
    windowed = reader(log, window_bytes=2_000 * CHANGE_BYTES)
    read_all(windowed)
    assert windowed.forgotten_early == 2_000
    (told,) = caplog.records
    assert (told.message, told.__dict__["count"]) == ("window cut short", 1_000)  # the rest within the minute


def test_an_iterator_of_an_ancestor_that_expired_is_not_used_again() -> None:
    class Expiring(Log):
        def read(self, shard: ShardRef, position: Position, iterator: str | None) -> LogPage:
            if iterator is not None:
                raise ReadError("expired", ReadFailure.EXPIRED)
            return super().read(shard, position, iterator)

    log = Expiring({PARENT: [log_record(n, "a", n, shard=PARENT) for n in range(1, 4)], SHARD: []})
    windowed = reader(log)
    position = Position("TRIM_HORIZON", tails=(Tail(PARENT, None),))
    page = windowed.read(SHARD, position, None)
    with pytest.raises(ReadError):
        windowed.read(SHARD, position, page.next_iterator)
    assert windowed.read(SHARD, position, None).next_iterator is not None


def chain(length: int, changes: int = 3) -> dict[ShardRef, list[LogRecord]]:
    """Shards of a second each, every one the child of the one before it; each begins with a change of its parent."""
    shards = {}
    for generation in range(length):
        shard = ShardRef(SHARD.stream, f"generation {generation}")
        of = range(generation * changes - 1, (generation + 1) * changes)
        shards[shard] = [
            log_record(
                1_000 * generation + at, f"item {change}", change + 1, arrived_ms=1_000 * generation + at, shard=shard
            )
            for at, change in enumerate(of, start=1)
            if change >= 0
        ]
    return shards


@pytest.mark.parametrize("workers", [1, 4])
def test_a_stream_that_splits_each_second_is_kept_up_with(workers: int) -> None:
    """In simulated time: a call takes 25 ms, and the shard that is read rests for 200 ms, as the lane lets it."""
    clock, rng, window_s = Clock(), random.Random(workers), 120
    shards = chain(4 * window_s)
    names = list(shards)

    class Slow(Log):
        def read(self, shard: ShardRef, position: Position, iterator: str | None) -> LogPage:
            clock.ms += 25
            return super().read(shard, position, iterator)

    log = Slow(shards, set(shards), count=lambda: 100)
    readers = [reader(log, clock, window_ms=window_s * 1_000) for _ in range(workers)]
    clock.ms = window_s * 1_000  # it begins with a whole window to read
    behind_ms, shown = [], []
    for generation in range(window_s, len(names)):
        clock.ms = max(clock.ms, (generation + 1) * 1_000)
        shard, windowed = names[generation], rng.choice(readers)
        tails = tuple(Tail(each, None) for each in names[generation - window_s : generation])
        iterator: str | None = None
        while True:
            asked_ms = clock.ms
            page = windowed.read(shard, replace(HEAD, tails=tails), iterator)
            shown += published([page])
            if (iterator := page.next_iterator) is None:
                break
            clock.ms = max(clock.ms, asked_ms + 200)
        behind_ms.append(clock.ms - (generation + 1) * 1_000)
    assert max(behind_ms[-window_s:]) < 1_000, behind_ms
    assert len(shown) == len(set(shown)) == 3 * (len(names) - window_s)
