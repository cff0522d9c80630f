"""A table is read as fast as allowed, and slower while it throttles."""

from __future__ import annotations

from tailrace.core.read_rate import ReadRate


def read_for(rate: ReadRate, seconds: int, *, units: float, from_ms: int = 0, throttles: bool = False) -> float:
    """Read pages of so many units for so long; return the units used in a second."""
    now_ms, used = from_ms, 0.0
    while now_ms < from_ms + seconds * 1000:
        if wait_ms := rate.wait_ms(now_ms):
            now_ms += wait_ms
        elif throttles:
            rate.throttled(now_ms)
        else:
            rate.used(units, now_ms)
            used += units
    return used / seconds


def test_the_limit_is_kept_and_used() -> None:
    rate = ReadRate(0)
    rate.allow(100, 0)
    assert 90 < read_for(rate, 60, units=128) < 110


def test_throttling_halves_the_rate_and_it_recovers() -> None:
    rate = ReadRate(0)
    rate.allow(100, 0)
    rate.throttled(0)
    rate.throttled(0)
    assert rate.units_per_s == 25
    assert rate.wait_ms(0) > 0
    read_for(rate, 30, units=1)
    assert rate.units_per_s == 100


def test_it_never_stops_for_good() -> None:
    rate = ReadRate(0)
    rate.allow(0.1, 0)
    read_for(rate, 600, units=1, throttles=True)
    assert rate.units_per_s >= 1


def test_reads_under_way_count_as_much_as_the_last_one_cost() -> None:
    rate = ReadRate(0)
    rate.allow(100, 0)
    assert rate.wait_ms(0) == 0
    assert rate.wait_ms(0, under_way=1) > 0, "the first one shows what a read costs"
    rate.used(30, 0)
    assert rate.wait_ms(1_300) == 0
    assert rate.wait_ms(1_300, under_way=3) == 0
    assert rate.wait_ms(1_300, under_way=4) > 0
