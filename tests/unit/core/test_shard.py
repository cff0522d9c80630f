"""Sequence numbers are integers; a shard's lane is what any Kafka client would compute."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.core.pacing import Backoff, Pacing
from tailrace.core.shard import ShardRef, _murmur2, is_after, lane_of


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_the_hash_is_that_of_kafkas_own_tests(key: str, expected: int) -> None:
    assert _murmur2(key.encode()) == expected & 0xFFFFFFFF


def test_a_lane_is_the_positive_hash_of_the_whole_name_modulo_the_lanes() -> None:
    name = b"arn:aws:dynamodb:eu-west-1:1:table/t/stream/1/shardId-1"
    shard = ShardRef("arn:aws:dynamodb:eu-west-1:1:table/t/stream/1", "shardId-1")
    assert [lane_of(shard, lanes) for lanes in (7, 16)] == [(_murmur2(name) & 0x7FFFFFFF) % lanes for lanes in (7, 16)]


@pytest.mark.parametrize("lanes", [1, 3, 16, 64])
def test_lanes_are_filled_evenly(lanes: int) -> None:
    stream = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2024-05-01T10:00:00.000"
    shards = [ShardRef(stream, f"shardId-0000000171458{n:07d}-0a1b2c3d") for n in range(lanes * 100)]
    filled = Counter(lane_of(shard, lanes) for shard in shards)
    assert filled.keys() == set(range(lanes))
    assert max(filled.values()) < 100 * 1.5
    assert min(filled.values()) > 100 * 0.5


@given(st.integers(10**20, 10**40), st.integers(10**20, 10**40))
def test_sequence_numbers_compare_as_integers(one: int, other: int) -> None:
    assert is_after(str(one), str(other)) is (one > other)


def test_a_longer_sequence_number_is_later_although_its_text_is_earlier() -> None:
    assert is_after("1" + "0" * 21, "9" * 21)
    assert not is_after("9" * 21, "1" + "0" * 21)


def test_every_sequence_number_is_after_none() -> None:
    assert is_after("1", None)
    assert not is_after("1", "1")


# Pauses


@given(st.integers(0, 10**6))
def test_an_open_shard_is_read_again_within_the_bounds(empty_reads: int) -> None:
    pause_ms = Pacing(min_ms=100, max_ms=1_000).pause_ms(empty_reads=empty_reads, full=False, closed=False)
    assert 100 <= pause_ms <= 1_000


def test_a_full_page_is_followed_at_once() -> None:
    assert Pacing().pause_ms(empty_reads=0, full=True, closed=False) == 0


def test_a_closed_shard_is_read_at_once_unless_it_gives_nothing_for_long() -> None:
    pauses = [Pacing(100, 1_000).pause_ms(empty_reads=n, full=False, closed=True) for n in (0, 10, 11, 1_000)]
    assert pauses == [0, 0, 1_000, 1_000]


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_a_backoff_stays_between_half_of_its_ceiling_and_its_ceiling(failures: int, jitter: float) -> None:
    backoff = Backoff(base_ms=200, max_ms=20_000)
    ceiling = min(20_000, 200 * 2 ** min(failures - 1, 20))
    assert ceiling // 2 <= backoff.pause_ms(failures, jitter) <= ceiling


def test_a_backoff_is_spread_by_its_jitter() -> None:
    assert Backoff(200, 20_000).pause_ms(3, 0.0) == 400
    assert Backoff(200, 20_000).pause_ms(3, 0.999) == 799
