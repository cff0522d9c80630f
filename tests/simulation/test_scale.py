"""10,000 shards over 500 tables: within DescribeStream's limit for the account, new shards are soon read."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from simulation.scale import BEGAN_MS, DESCRIBE_STREAM_PER_SECOND, Scale, percentiles

SIZES = [1_000, 300, 300, *[200] * 5, *[15] * 492]
"""A few large tables and a long tail; a page of DescribeStream shows 100 shards."""
ACCOUNT_LIMIT = 10
"""DescribeStream calls a second that AWS allows an account."""
STEADY_S = 200
LIFE_S = 4 * 3_600
"""How long a shard stays open."""


@pytest.fixture
def scale() -> Iterator[Scale]:
    made = Scale(SIZES)
    yield made
    made.stop()


@pytest.mark.timeout(600)
def test_new_shards_of_500_tables_are_soon_read_within_the_limit_of_describe_stream(
    scale: Scale, tell: Callable[[str], None]
) -> None:
    rng = random.Random(1)
    told = [f"{sum(SIZES):,} open shards of {len(SIZES)} tables, time from a shard's making until it is first read:"]

    def play(what: str, happen: Callable[[], None]) -> list[int]:
        """Let something happen and wait until every shard is read; give the times, in order, in milliseconds."""
        before, calls, began_ms = set(scale.read_after_ms), len(scale.described_ms), scale.now_ms()
        happen()
        while scale.unread:
            scale.pass_s(1)
            assert scale.now_ms() < began_ms + 600_000, f"{what}: {len(scale.unread)} shards are not read"
        times_ms = sorted(after_ms for shard, after_ms in scale.read_after_ms.items() if shard not in before)
        calls_a_second = (len(scale.described_ms) - calls) * 1_000 / (scale.now_ms() - began_ms)
        told.append(
            f"  {what}: {len(times_ms):,} shards, {percentiles(times_ms)}; {calls_a_second:.1f} DescribeStream a second"
        )
        return times_ms

    def shards_end_one_by_one() -> None:
        for _ in range(STEADY_S):
            if rng.random() < sum(SIZES) / LIFE_S:
                scale.replace(*rng.choice(scale.open_shards()), split=rng.random() < 0.1)
            scale.pass_s(1)

    def end(*tables: str) -> None:
        for shard in [shard for table in tables for shard in scale.open_shards(table)]:
            scale.replace(*shard)

    def one_more_table() -> None:
        scale.make_table(20)

    first = play("the first start", scale.start)
    scale.act("settings", settings={"listing_lag_calls": 1})  # from now on half of the shards show late
    steady = play("shards roll over and split one by one", shards_end_one_by_one)
    large = play("all shards of the largest table roll over at once", lambda: end("table-0000"))
    many = play("all shards of 100 tables roll over at once", lambda: end(*[f"table-{n:04}" for n in range(200, 300)]))
    scale.pass_s(60)
    new = play("one more table", one_more_table)
    most = scale.most_described_in_a_second()
    told.append(f"  at most {most} DescribeStream in a second, of {ACCOUNT_LIMIT}")
    tell("\n".join(told))

    assert most <= DESCRIBE_STREAM_PER_SECOND <= ACCOUNT_LIMIT / 2
    assert scale.throttled == 0
    assert scale.now_ms() > BEGAN_MS + STEADY_S * 1_000
    assert first[-1] < 120_000
    assert steady[len(steady) // 2] < 2_000
    assert steady[len(steady) * 99 // 100] < 10_000
    assert large[-1] < 8_000
    assert many[-1] < 60_000
    assert new[-1] < 80_000
