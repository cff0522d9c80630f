"""The window knows what was published lately, and forgets the oldest first."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from support.log_records import log_record
from tailrace.core.change_window import CHANGE_BYTES, ChangeWindow, Verdict, WindowBudget
from tailrace.core.ports import LogRecord

ROOMY = 1 << 30
WINDOW_MS = 8_000


def see(window: ChangeWindow, record: LogRecord) -> Verdict:
    """Let a window see a change that is a page by itself."""
    return window.see([record], record.record.origin.sequence)[0]


@pytest.fixture
def window() -> ChangeWindow:
    return ChangeWindow(WINDOW_MS, WindowBudget(ROOMY))


def test_a_change_with_the_same_identity_is_a_repeat(window: ChangeWindow) -> None:
    assert see(window, log_record(1, "a", 10)) is Verdict.NEW
    assert see(window, log_record(2, "b", 10)) is Verdict.NEW
    assert see(window, log_record(3, "a", 10)) is Verdict.REPEAT


def test_an_older_change_of_an_item_is_late_and_one_of_the_same_time_is_not(window: ChangeWindow) -> None:
    see(window, log_record(1, "a", 10))
    assert see(window, log_record(2, "a", 9)) is Verdict.LATE
    assert see(window, replace(log_record(3, "a", 10), identity=b"another change of that moment")) is Verdict.NEW
    assert see(window, log_record(4, "b", 9)) is Verdict.NEW


def test_a_change_is_remembered_for_the_window_and_forgotten_soon_after(window: ChangeWindow) -> None:
    see(window, log_record(1, "a", 10, arrived_ms=0))
    see(window, log_record(2, "b", 10, arrived_ms=WINDOW_MS))
    assert see(window, log_record(3, "a", 10, arrived_ms=WINDOW_MS)) is Verdict.REPEAT
    see(window, log_record(4, "c", 10, arrived_ms=2 * WINDOW_MS))
    assert see(window, log_record(5, "a", 10, arrived_ms=2 * WINDOW_MS)) is Verdict.REPEAT, "its repeat refreshed it"
    for sequence, arrived_ms in enumerate(range(2 * WINDOW_MS, 5 * WINDOW_MS, WINDOW_MS // 8), start=6):
        see(window, log_record(sequence, "d", sequence, arrived_ms=arrived_ms))
    assert see(window, log_record(99, "a", 9, arrived_ms=5 * WINDOW_MS)) is Verdict.NEW, "neither repeat nor late"


def test_its_beginning_is_that_of_what_it_still_holds(window: ChangeWindow) -> None:
    begins = [window.first]
    window.see([log_record(1, "a", 10)], None)
    begins.append(window.first)
    assert begins == [None, None]
    for sequence in range(2, 40):
        see(window, log_record(sequence, "b", sequence, arrived_ms=sequence * 1_000))
        begins.append(window.first)
        oldest = max(2, sequence - WINDOW_MS // 1_000)
        assert oldest - 2 <= int(window.first or 0) <= oldest


def test_memory_has_a_bound_and_the_oldest_go_first() -> None:
    budget = WindowBudget(5_000 * CHANGE_BYTES)
    quiet, busy = ChangeWindow(WINDOW_MS, budget), ChangeWindow(WINDOW_MS, budget)
    for sequence in range(1_500):
        see(quiet, log_record(sequence, f"q{sequence}", 10, arrived_ms=1))
    for sequence in range(20_000):
        see(busy, log_record(sequence, f"b{sequence}", 10, arrived_ms=2 + sequence // 5_000))
        assert quiet.changes + busy.changes <= 5_000
    assert quiet.changes == 0
    assert budget.forgotten_early == 21_500 - busy.changes
    assert see(busy, log_record(20_000, "b19999", 10, arrived_ms=9)) is Verdict.REPEAT
    assert see(busy, log_record(20_001, "b0", 10, arrived_ms=9)) is Verdict.NEW


def test_a_window_that_is_dropped_gives_its_memory_back() -> None:
    budget = WindowBudget(3_000 * CHANGE_BYTES)
    for _ in range(5):
        window = ChangeWindow(WINDOW_MS, budget)
        for sequence in range(2_500):
            see(window, log_record(sequence, f"{sequence}", 10))
        assert see(window, log_record(2_500, "0", 10)) is Verdict.REPEAT
        budget.remove(window)
    assert budget.forgotten_early == 0


def test_a_record_without_identity_is_always_new(window: ChangeWindow) -> None:
    for sequence in range(3):
        raw = replace(log_record(sequence, "a", 10), identity=b"", item=b"")
        assert see(window, raw) is Verdict.NEW


@pytest.mark.parametrize("seed", range(20))
def test_reading_from_its_beginning_again_finds_every_repeat_that_it_would_have_found(seed: int) -> None:
    rng = random.Random(seed)
    stream: list[LogRecord] = []
    now_ms = 0
    for sequence in range(600):
        now_ms += rng.choice([0, 1, 10, 300])
        item, created_us = f"i{rng.randrange(20)}", sequence + 1
        if stream and rng.random() < 0.3:
            copy = rng.choice(stream[-60:])
            item, created_us = copy.item.decode(), copy.created_us
        stream.append(log_record(sequence, item, created_us, arrived_ms=now_ms))
    cut = rng.randrange(1, len(stream))
    whole = ChangeWindow(WINDOW_MS, WindowBudget(ROOMY))
    for record in stream[:cut]:
        see(whole, record)
    again = ChangeWindow(WINDOW_MS, WindowBudget(ROOMY))
    for record in stream[int(whole.first or 0) : cut]:
        see(again, record)
    last_ms = stream[cut - 1].arrived_ms
    held = {record.identity: record for record in stream[:cut] if record.arrived_ms >= last_ms - WINDOW_MS}
    for sequence, record in enumerate(held.values(), start=cut):
        copy = log_record(sequence, record.item.decode(), record.created_us, arrived_ms=last_ms)
        assert see(whole, copy) is Verdict.REPEAT
        assert see(again, copy) is Verdict.REPEAT


@pytest.mark.parametrize("seed", range(20))
def test_a_page_is_judged_as_its_changes_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    stream = [
        log_record(number, f"i{rng.randrange(30)}", rng.choice([0, *range(1, 90)]), arrived_ms=number * 10)
        for number in range(4_000)
    ]
    one_by_one, by_page = (ChangeWindow(WINDOW_MS, WindowBudget(ROOMY)) for _ in range(2))
    expected = [see(one_by_one, record) for record in stream]
    verdicts: list[Verdict] = []
    while len(verdicts) < len(stream):
        page = stream[len(verdicts) : len(verdicts) + rng.choice([1, 7, 2_500])]
        verdicts += by_page.see(page, page[0].record.origin.sequence)
    assert verdicts == expected
    assert (by_page.changes, set(expected)) == (one_by_one.changes, set(Verdict))
    assert int(by_page.first or 0) <= int(one_by_one.first or 0)


@pytest.mark.parametrize("seed", range(20))
def test_what_ancestors_held_is_known_as_if_their_shards_were_read_again(seed: int) -> None:
    """A shard was split, and its children merged: each change of them goes where its item does."""
    rng, budget = random.Random(seed), WindowBudget(ROOMY)
    made = [
        log_record(at, rng.choice(("left a", "left b", "right c")), rng.randint(1, 60), arrived_ms=at * 50)
        for at in range(1, 120)
    ]
    before, meanwhile, behind = made[:30], made[30:70], made[70:]
    sides = [[each for each in meanwhile if each.item.startswith(side)] for side in (b"left", b"right")]
    grandparent = ChangeWindow(WINDOW_MS, budget)
    grandparent.see(before, "1")
    parents = [ChangeWindow(WINDOW_MS, budget) for _ in sides]
    for parent, side in zip(parents, sides, strict=True):
        parent.take_over([grandparent])
        parent.see(side, "31")
    taken, read = ChangeWindow(WINDOW_MS, budget), ChangeWindow(WINDOW_MS, budget)
    taken.take_over(parents)
    for tail in (before, *sides):
        read.see(tail, None)
    begins = [taken.first]
    assert taken.see(behind, "71") == read.see(behind, "71")
    assert [*begins, taken.first] == [None, "71"]
    known = parents[0].changes
    assert parents[0].see(before, None) == [Verdict.REPEAT] * len(before), "what was taken over is still its own"
    assert parents[0].changes > known
