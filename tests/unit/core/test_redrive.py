"""Which dead letters are meant, which are published already, and what counts as a newer change."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tailrace.core.change import Origin
from tailrace.core.page import Outgoing
from tailrace.core.redrive import DeadLetter, Pending, Place, Published, Selection, SourcePosition
from tailrace.core.shard import ShardRef

STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
SHARD = ShardRef(STREAM, "shard-1")
BIG = 10**21


def letter(offset: int, *, partition: int = 0, **changes: Any) -> DeadLetter:
    made = DeadLetter(
        place=Place(partition, offset),
        table="orders",
        shard=SHARD,
        sequence=str(BIG + offset),
        created_ms=1000 * offset,
        stage="TRANSFORMATION",
        exception="RecordError",
        message="the function raised KeyError",
        size_bytes=10,
    )
    return msgspec.structs.replace(made, **changes)


@pytest.mark.parametrize(
    ("selection", "is_meant"),
    [
        (Selection(), True),
        (Selection(tables=("orders",)), True),
        (Selection(tables=("users", "ord*")), True),
        (Selection(tables=("users",)), False),
        (Selection(reason="keyerror"), True),
        (Selection(reason="RECORDERROR"), True),
        (Selection(reason="too large"), False),
        (Selection(stages=("TRANSFORMATION", "PRODUCE")), True),
        (Selection(stages=("PRODUCE",)), False),
        (Selection(since_ms=5000), True),
        (Selection(since_ms=5001), False),
        (Selection(until_ms=5001), True),
        (Selection(until_ms=5000), False),
        (Selection(tables=("orders",), reason="no such"), False),
    ],
)
def test_a_dead_letter_is_meant_when_all_that_is_asked_fits(selection: Selection, is_meant: bool) -> None:
    assert selection.matches(letter(5)) == is_meant


def test_what_has_a_mark_is_not_pending() -> None:
    pending = Pending(Selection())
    for found in (letter(1), letter(2), letter(1, partition=1), Place(0, 1)):
        pending.add(found)
    assert [one.place for one in pending.in_order()] == [Place(1, 1), Place(0, 2)]
    assert letter(1) not in pending
    assert letter(2) in pending


def test_dead_letters_keep_the_order_of_their_partition_whatever_their_times() -> None:
    pending = Pending(Selection())
    for found in (letter(1, created_ms=9), letter(2, created_ms=5), letter(1, partition=1, created_ms=7)):
        pending.add(found)
    assert [one.place for one in pending.in_order()] == [Place(1, 1), Place(0, 1), Place(0, 2)]


def outgoing(sequence: int = 5, created_ms: int = 1000, *, key: bytes = b"a", value: bytes | None = b"v") -> Outgoing:
    return Outgoing("topic", key, value, None, created_ms, Origin("orders", str(BIG + sequence), created_ms, b""))


def at(sequence: int, created_ms: int = 1000, *, shard: str | None = "shard-1", stream: str = STREAM) -> SourcePosition:
    return SourcePosition(stream, shard, BIG + sequence, created_ms)


def published(*found: tuple[SourcePosition | None, int], key: bytes = b"a", value: bytes = b"v") -> Published:
    topics = Published()
    topics.want(SHARD, [outgoing()])
    for position, created_ms in found:
        topics.add("topic", key, value, position, created_ms)
    return topics


@pytest.mark.parametrize(
    ("position", "created_ms", "is_newer"),
    [
        pytest.param(at(6), 1000, True, id="a later number of the shard"),
        pytest.param(at(4), 1000, False, id="an earlier number of the shard"),
        pytest.param(at(5), 1000, False, id="the change itself"),
        pytest.param(at(4, 2000), 2000, False, id="in a shard the number decides, not the time"),
        pytest.param(at(6, 500), 500, True, id="in a shard the number decides, though the time went back"),
        pytest.param(at(4, 2000, shard=None), 2000, True, id="without a shard the time decides"),
        pytest.param(at(6, 500, shard=None), 500, False, id="without a shard an earlier time is older"),
        pytest.param(at(6, shard=None), 1000, True, id="without a shard, at the same time, the number decides"),
        pytest.param(at(4, shard=None), 1000, False, id="without a shard, at the same time, an earlier number"),
        pytest.param(at(4, 2000, shard="shard-2"), 2000, True, id="a child shard, later"),
        pytest.param(at(4, 500, shard="shard-0"), 500, False, id="a parent shard, earlier"),
        pytest.param(at(1, 999, stream="another"), 999, False, id="another stream, earlier"),
        pytest.param(at(1, 1000, stream="another"), 1000, True, id="another stream, the same time"),
        pytest.param(None, 999, False, id="only a time, earlier"),
        pytest.param(None, 1000, True, id="only a time, the same"),
    ],
)
def test_a_newer_change_of_the_key(position: SourcePosition | None, created_ms: int, is_newer: bool) -> None:
    assert published((position, created_ms)).has_newer(SHARD, outgoing()) == is_newer


def test_of_many_changes_one_newer_is_enough() -> None:
    assert published((at(6), 1000), (at(2), 1000)).has_newer(SHARD, outgoing())
    assert not published((at(1), 1000), (at(2), 1000)).has_newer(SHARD, outgoing())


def test_other_keys_count_for_nothing() -> None:
    topics = published((at(6), 1000), (at(5), 1000), key=b"b")
    assert not topics.has_newer(SHARD, outgoing())
    assert not topics.holds(SHARD, outgoing())


def test_numbers_of_other_lengths_compare_as_integers() -> None:
    topics = Published()
    record = msgspec.structs.replace(outgoing(), origin=Origin("orders", "9" * 21, 1000, b""))
    topics.want(SHARD, [record])
    topics.add("topic", b"a", b"v", SourcePosition(STREAM, "shard-1", 10**21, 1000), 1000)
    assert topics.has_newer(SHARD, record)


def test_a_topic_holds_the_change_of_the_same_number() -> None:
    assert published((at(5), 1000)).holds(SHARD, outgoing())
    assert published((at(5, shard=None), 1000)).holds(SHARD, outgoing())
    assert not published((at(4), 1000), (at(5, stream="another"), 1000)).holds(SHARD, outgoing())


def test_the_same_bytes_at_the_same_time_stand_for_one_change_only() -> None:
    topics = published((None, 1000), (None, 2000))
    assert topics.take_same(outgoing())
    assert not topics.take_same(outgoing())
    assert not topics.take_same(outgoing(created_ms=2000, value=b"other"))
    assert topics.has_newer(SHARD, outgoing()), "the one of 2000 is still there"
    assert topics.take_same(outgoing(created_ms=2000))
    assert not topics.has_newer(SHARD, outgoing()), "what was found to be an older change is no newer one"


def test_a_replayed_record_is_newer_than_what_is_older_but_its_change_is_still_missing() -> None:
    topics = Published()
    topics.want(SHARD, [outgoing(4), outgoing(5)])
    topics.add("topic", b"a", b"v", at(5), 1000, replayed=True)
    assert not topics.holds(SHARD, outgoing(5))
    assert not topics.has_newer(SHARD, outgoing(5))
    assert topics.has_newer(SHARD, outgoing(4))


def test_an_older_change_that_was_replayed_behind_a_newer_one_hides_nothing() -> None:
    topics = Published()
    topics.want(SHARD, [outgoing()])
    for sequence, replayed in ((5, False), (6, False), (4, True), (5, True)):
        topics.add("topic", b"a", b"v", at(sequence), 1000, replayed=replayed)
    assert topics.holds(SHARD, outgoing())
    assert topics.has_newer(SHARD, outgoing())
