"""How fast tables are written, and how that follows throttling."""

from __future__ import annotations

import pytest

from tailrace.core.write_rate import WriteRate


def _written(rate: WriteRate, from_ms: int, until_ms: int, *, capacity: float | None = None) -> int:
    """Write as fast as the rate lets, one unit each; the table throttles beyond its capacity. Return the writes."""
    now_ms, count, tokens = from_ms, 0, 0.0
    while now_ms < until_ms:
        if wait_ms := rate.wait_ms(now_ms):
            now_ms += wait_ms
            tokens = min(capacity or 0, tokens + (capacity or 0) * wait_ms / 1000)
            continue
        if capacity is not None and tokens < 1:
            rate.throttled(now_ms)
        else:
            rate.used(1, now_ms)
            tokens -= 1
            count += 1
        now_ms += 1
        tokens = min(capacity or 0, tokens + (capacity or 0) / 1000)
    return count


def test_a_limit_is_kept() -> None:
    assert _written(WriteRate(50, 0), 0, 10_000) == pytest.approx(500, abs=55)


def test_without_a_limit_nothing_waits() -> None:
    rate = WriteRate(None, 0)
    assert _written(rate, 0, 1_000) == 1_000
    assert rate.units_per_s is None


@pytest.mark.parametrize("capacity", [5, 100, 500])
def test_a_table_that_throttles_is_written_about_as_fast_as_it_takes(capacity: int) -> None:
    rate = WriteRate(None, 0)
    _written(rate, 0, 20_000, capacity=capacity)
    assert _written(rate, 20_000, 60_000, capacity=capacity) > capacity * 40 * 0.6
    assert (rate.units_per_s or 0) < capacity * 4


def test_once_it_is_not_throttled_any_more_the_limit_comes_back() -> None:
    rate = WriteRate(100, 0)
    _written(rate, 0, 2_000)
    rate.throttled(2_000)
    assert (rate.units_per_s or 0) < 80
    _written(rate, 2_000, 20_000)
    assert rate.units_per_s == 100
