"""What is known of how much a topic takes: asked for once, again after a refusal and before a record is set aside."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from support.lanes import origin
from tailrace.core.page import Outgoing
from tailrace.errors import UnreachableError
from tailrace.kafka.topic_limits import UNLIMITED, TopicLimits

UNCOMPRESSED = {"compression.type": "none"}


class Cluster:
    """Topics with their limits; counts what it is asked."""

    def __init__(self, **limits: int | None) -> None:
        self.limits: dict[str, int | None] = dict(limits)
        self.asked: list[str] = []
        self.now_s = 0.0

    def describe(self, topics: Collection[str]) -> Mapping[str, int | None]:
        self.asked += topics
        return {topic: self.limits.get(topic) for topic in topics}

    def limits_for(self, properties: Mapping[str, str]) -> TopicLimits:
        return TopicLimits(
            properties, topics_of=lambda table: [table, "letters"], describe=self.describe, clock=lambda: self.now_s
        )


def record(size: int, topic: str = "orders") -> Outgoing:
    return Outgoing(topic, b"k", bytes(size), [("h", b"v")], 0, origin(1))


def test_topics_are_asked_for_once_and_the_least_of_a_table_s_counts() -> None:
    cluster = Cluster(orders=4_000_000, users=500_000, letters=8_000_000)
    limits = cluster.limits_for({})
    assert limits.batch_bytes == 1_000_000
    assert [limits.least_of(tables) for tables in (["orders"], ["orders", "users"], ["orders"], [])] == [
        4_000_000,
        500_000,
        4_000_000,
        UNLIMITED,
    ]
    assert sorted(cluster.asked) == ["letters", "orders", "users"]
    assert limits.batch_bytes == 500_000, "the next producer's batches suit every topic"


def test_batches_are_no_larger_than_the_file_says() -> None:
    cluster = Cluster(orders=4_000_000, letters=8_000_000)
    limits = cluster.limits_for({"batch.size": "6000000"})
    assert limits.batch_bytes == 6_000_000
    limits.least_of(["orders"])
    assert limits.batch_bytes == 4_000_000


def test_where_the_cluster_does_not_tell_refusals_halve_the_batches() -> None:
    cluster = Cluster()
    limits = cluster.limits_for(UNCOMPRESSED)
    assert limits.least_of(["orders"]) == UNLIMITED
    limits.refused("orders", 1_000_000)
    limits.refused("orders", 300_000)
    assert limits.batch_bytes == limits.least_of(["orders"]) == 150_000
    assert limits.why_too_large(record(2_000_000)) is None, "nothing is set aside by a guess"


def test_a_limit_that_was_lowered_is_asked_for_after_the_first_refusal() -> None:
    cluster = Cluster(orders=4_000_000, letters=8_000_000)
    limits = cluster.limits_for({})
    limits.least_of(["orders"])
    cluster.limits["orders"] = 400_000
    limits.refused("orders", 900_000)
    assert limits.least_of(["orders"]) == limits.batch_bytes == 400_000


def test_a_limit_that_does_not_hold_is_halved_too() -> None:
    """A topic with another `compression.type` compares what it makes of the batch."""
    limits = Cluster(orders=4_000_000, letters=8_000_000).limits_for({})
    limits.least_of(["orders"])
    limits.refused("orders", 900_000)
    assert limits.batch_bytes == 450_000


def test_what_is_not_compressed_is_surely_too_large_to_the_byte() -> None:
    limits = Cluster(orders=1_000_000, letters=8_000_000).limits_for(UNCOMPRESSED)
    limits.least_of(["orders"])
    overhead = 61 + 7 + len(b"k") + len(b"hv")
    assert limits.why_too_large(record(1_000_000 - overhead)) is None
    why = limits.why_too_large(record(1_000_001 - overhead))
    assert why == "orders: its 1000001 bytes are more than the topic takes (max.message.bytes 1000000)"
    assert limits.ordinary_bytes < 1_000_000 - 100_000


def test_what_is_compressed_is_only_surely_too_large_for_the_client() -> None:
    limits = Cluster(orders=1_000, letters=1_000).limits_for({"message.max.bytes": "3000000"})
    limits.least_of(["orders"])
    assert limits.why_too_large(record(2_900_000)) is None
    assert limits.why_too_large(record(3_100_000)) is not None
    assert 2_800_000 < limits.ordinary_bytes < 3_000_000


def test_nothing_is_set_aside_by_a_limit_that_may_have_been_raised() -> None:
    cluster = Cluster(orders=1_000_000, letters=8_000_000)
    limits = cluster.limits_for(UNCOMPRESSED)
    limits.least_of(["orders"])
    cluster.limits["orders"] = 3_000_000
    cluster.now_s = 60.0
    assert limits.why_too_large(record(2_000_000)) is None
    assert limits.least_of(["orders"]) == 3_000_000
    cluster.asked.clear()
    for _ in range(15):
        assert limits.why_too_large(record(4_000_000)) is not None
    assert len(cluster.asked) <= 1


def test_a_cluster_that_cannot_be_asked_costs_nothing_but_the_knowledge() -> None:
    def describe(_topics: Collection[str]) -> Mapping[str, int | None]:
        raise UnreachableError("no answer", hint="")

    limits = TopicLimits({}, topics_of=lambda table: [table], describe=describe)
    assert limits.least_of(["orders"]) == UNLIMITED


@pytest.mark.parametrize("codec", ["compression.type", "compression.codec"])
def test_either_name_of_the_codec_counts(codec: str) -> None:
    limits = Cluster(orders=1_000, letters=1_000).limits_for({codec: "none"})
    limits.least_of(["orders"])
    assert limits.why_too_large(record(2_000)) is not None
