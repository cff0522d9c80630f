"""A consumer that has stopped is told from one that is at its end, slow, or cut off."""

from __future__ import annotations

from tailrace.core.stall import GLANCE_MS, PATIENCE_MS, Stall, Verdict, behind

LOOK_MS = 1_000


class Watched:
    """A watch, a clock, and what the brokers say."""

    def __init__(self) -> None:
        self.stall: Stall[int] = Stall()
        self.now_ms = 1_700_000_000_000

    def look(self, positions: dict[int, int], ends: dict[int, int], after_ms: int = LOOK_MS) -> Verdict:
        self.now_ms += after_ms
        return self.stall.look(behind(positions, ends), self.now_ms)

    def stand(self, positions: dict[int, int], ends: dict[int, int], milliseconds: int) -> list[Verdict]:
        """Look for a while; give the verdicts that are not to keep it."""
        verdicts = [self.look(positions, ends) for _ in range(milliseconds // LOOK_MS)]
        return [verdict for verdict in verdicts if verdict is not Verdict.KEEP]


def test_behind_is_what_is_known_not_to_be_at_its_end() -> None:
    assert behind({0: 5, 1: 5, 2: 5}, {0: 5, 1: 6}) == {1: 5}
    assert behind({}, {0: 0, 1: 1}) == {0: -1, 1: -1}


def test_one_that_stands_still_below_the_end_is_replaced_once_its_time_is_up() -> None:
    watched = Watched()
    watched.look({0: 5, 1: 7}, {0: 6, 1: 7})
    assert watched.stand({0: 5, 1: 7}, {0: 6, 1: 7}, PATIENCE_MS[0] - LOOK_MS) == []
    assert watched.look({0: 5, 1: 7}, {0: 6, 1: 7}) is Verdict.REPLACE
    assert watched.stall.stopped == [0]


def test_a_partition_that_was_never_read_counts_from_the_start() -> None:
    watched = Watched()
    watched.look({}, {0: 1})
    assert watched.stand({}, {0: 1}, PATIENCE_MS[0]) == [Verdict.REPLACE]


def test_one_that_is_at_its_end_or_moves_is_kept() -> None:
    watched = Watched()
    assert watched.stand({0: 6}, {0: 6}, 10 * PATIENCE_MS[0]) == []
    for position in range(1_000):
        assert watched.look({0: position}, {0: 10_000}, after_ms=PATIENCE_MS[0] - LOOK_MS) is Verdict.KEEP


def test_an_outage_is_no_stall_however_long_it_lasts_and_the_time_before_it_does_not_count() -> None:
    watched = Watched()
    nearly_ms = PATIENCE_MS[0] - LOOK_MS
    for _ in range(3):
        watched.look({0: 5}, {0: 6})
        assert watched.stand({0: 5}, {0: 6}, nearly_ms) == []
        assert watched.stand({0: 5}, {}, 10 * PATIENCE_MS[0]) == []


def test_a_process_that_was_frozen_has_not_waited() -> None:
    watched = Watched()
    watched.look({0: 5}, {0: 6})
    assert watched.look({0: 5}, {0: 6}, after_ms=3_600_000) is Verdict.KEEP
    assert watched.stand({0: 5}, {0: 6}, PATIENCE_MS[0] - GLANCE_MS) == [Verdict.REPLACE]


def test_a_clock_that_goes_back_takes_nothing_from_what_was_waited() -> None:
    watched = Watched()
    watched.look({0: 5}, {0: 6})
    assert watched.look({0: 5}, {0: 6}, after_ms=-3_600_000) is Verdict.KEEP
    assert watched.stand({0: 5}, {0: 6}, PATIENCE_MS[0]) == [Verdict.REPLACE]


def test_when_new_ones_stop_in_the_same_place_it_gives_up_after_longer_and_longer_times() -> None:
    watched = Watched()
    watched.look({0: 5}, {0: 6})
    for patience_ms, verdict in zip(PATIENCE_MS, (Verdict.REPLACE, Verdict.REPLACE, Verdict.GIVE_UP), strict=True):
        assert watched.stand({0: 5}, {0: 6}, patience_ms - LOOK_MS) == []
        assert watched.look({0: 5}, {0: 6}) is verdict


def test_one_that_went_on_after_its_replacement_has_all_its_time_and_tries_again() -> None:
    watched = Watched()
    for position in range(10):
        watched.look({0: position}, {0: 100})
        assert watched.stand({0: position}, {0: 100}, PATIENCE_MS[0]) == [Verdict.REPLACE]


def test_that_another_partition_goes_on_does_not_hide_the_one_that_stands_still() -> None:
    watched = Watched()
    verdicts = [
        watched.look({0: 5, 1: number}, {0: 6, 1: 100_000}) for number in range(sum(PATIENCE_MS) // LOOK_MS + 1)
    ]
    replacements = [verdict for verdict in verdicts if verdict is not Verdict.KEEP]
    assert replacements == [Verdict.REPLACE, Verdict.REPLACE, Verdict.GIVE_UP]
