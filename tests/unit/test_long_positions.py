"""Positions of up to 129 digits, whichever source has them, through all that reads or writes a position."""

from __future__ import annotations

import json

import msgspec
import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message
from hypothesis import given
from hypothesis import strategies as st

from support.lanes import checkpoint, origin
from tailrace.core.change import Change
from tailrace.core.checkpoint import Checkpoint, CheckpointKey
from tailrace.core.checkpoint_bytes import decode, encode_key, encode_record
from tailrace.core.page import Outgoing
from tailrace.core.redrive import DeadLetter, Published
from tailrace.core.shard import SEQUENCE_DIGITS_MAX, ShardRef, is_after, is_sequence_number
from tailrace.formats import FORMATS, FormatName, make_format
from tailrace.kafka.dead_letters import dead_letter, read

SHARD = ShardRef("stream", "shard-1")
positions = st.integers(1, SEQUENCE_DIGITS_MAX).flatmap(lambda digits: st.integers(0, 10**digits - 1)).map(str)


def change_at(sequence: str) -> Change:
    return Change(
        op="u",
        table="orders",
        keys=b'{"id":{"S":"a"}}',
        before=None,
        after=b'{"id":{"S":"a"}}',
        created_ms=1_700_000_000_000,
        event_id="1",
        sequence=sequence,
        sequence_digits=SEQUENCE_DIGITS_MAX,
        shard_id=SHARD.shard_id,
        stream_arn=SHARD.stream,
        region="eu-west-1",
        view_type="NEW_IMAGE",
    )


def letter_at(sequence: str) -> Outgoing:
    return dead_letter(
        "letters",
        pipeline="shop",
        shard=SHARD,
        origin=origin(sequence, created_ms=5000),
        key=None,
        value=b"{}",
        intended_topic="shop.orders",
        stage="TRANSFORMATION",
        exception="RecordError",
        message="no",
    )


@given(positions, positions)
def test_they_compare_as_integers(one: str, other: str) -> None:
    assert is_after(one, other) == (int(one) > int(other))
    assert is_after(one, None)


@given(positions)
def test_a_checkpoint_comes_back_as_it_was_written(sequence: str) -> None:
    said = msgspec.structs.replace(checkpoint("open", 0), sequence=sequence)
    key, record = decode(encode_key(CheckpointKey(*SHARD)), encode_record(said), "here")
    assert isinstance(record, Checkpoint)
    assert (key, record, record.sequence) == (CheckpointKey(*SHARD), said, sequence)


@given(positions)
def test_a_dead_letter_comes_back_as_it_was_written(sequence: str) -> None:
    record = letter_at(sequence)
    stored = Message(
        "letters", 0, 7, None, record.value, [*(record.headers or [])], None, (TIMESTAMP_CREATE_TIME, 5000)
    )
    found = read(stored, "shop")
    assert isinstance(found, DeadLetter)
    assert (found.sequence, found.shard) == (sequence, SHARD)


@given(st.sampled_from([name for name in FORMATS if FORMATS[name].tells_position]), positions, positions)
def test_a_redrive_finds_the_change_in_its_topic_and_whatever_is_newer(name: FormatName, one: str, other: str) -> None:
    """The value tells its change, which is compared with the one that is published again."""
    encode = make_format(name, pipeline="shop", numbers="exact").encode
    message = encode(change_at(one), 0)
    said = FORMATS[name].read(message.value or b"")
    assert said is not None
    found = said.position
    assert found is not None
    assert found.sequence == int(one)
    again = Outgoing("topic", b"a", b"v", None, 1_700_000_000_000, origin(other))
    topics = Published()
    topics.want(SHARD, [again])
    topics.add("topic", b"a", message.value, msgspec.structs.replace(found, stream=SHARD.stream), found.created_ms)
    assert topics.holds(SHARD, again) == (int(one) == int(other))
    assert topics.has_newer(SHARD, again) == (int(one) > int(other))


@given(positions, positions)
def test_cloudevents_of_a_source_with_longer_numbers_are_ordered_by_text_as_by_number(one: str, other: str) -> None:
    encode = make_format("cloudevents", pipeline="shop", numbers="exact").encode
    first, second = (json.loads(encode(change_at(each), 0).value or b"")["sequence"] for each in (one, other))
    assert (len(first), len(second)) == (SEQUENCE_DIGITS_MAX, SEQUENCE_DIGITS_MAX)
    assert (first < second, first == second) == (int(one) < int(other), int(one) == int(other))


@pytest.mark.parametrize("text", ["", "-1", "1.0", "²", "7\n", "1" * (SEQUENCE_DIGITS_MAX + 1), "a"])
def test_what_is_no_position_is_none(text: str) -> None:
    assert not is_sequence_number(text)
