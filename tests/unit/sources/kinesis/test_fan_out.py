"""Enhanced fan-out: polled to the end first, then pushed, renewed behind what came last."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from support.fake_aws import Answer, FakeAws, failure, ok
from support.kinesis_answers import ARN, SHARD, failed, page, sequences, summary
from support.waiting import wait_for
from tailrace.aws.session import AwsSession
from tailrace.core.ports import LogPage, ReadFailure
from tailrace.core.shard import Position
from tailrace.sources.kinesis.fan_out import FanOut
from tailrace.sources.kinesis.log_page import LogPageDecoder
from tailrace.sources.kinesis.streams import KinesisClients

HEAD = Position("TRIM_HORIZON")
CONSUMER = {"ConsumerName": "tailrace", "ConsumerARN": f"{ARN}/consumer/tailrace:1", "ConsumerStatus": "ACTIVE"}


def frame(payload: bytes, **headers: str) -> bytes:
    """Encode one event: https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html."""
    encoded = b""
    for name, value in headers.items():
        key = f":{name.replace('_', '-')}".encode()
        encoded += bytes([len(key)]) + key + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(encoded) + len(payload), len(encoded))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + encoded + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def event(*numbers: int, after: int | None, **more: Any) -> bytes:
    body = json.loads(page(*numbers).body) | more
    body |= {"ContinuationSequenceNumber": str(after)} if after is not None else {}
    return frame(json.dumps(body).encode(), event_type="SubscribeToShardEvent", message_type="event")


def pushed(*events: bytes) -> Answer:
    """Answer with events in chunks that cut them anywhere, and end."""
    data = frame(b"{}", event_type="initial-response", message_type="event") + b"".join(events)
    chunks = [data[at : at + 37] for at in range(0, len(data), 37)]
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    return Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)


@pytest.fixture
def fan_out(fake: FakeAws, session: AwsSession, slept: list[float]) -> Iterator[FanOut]:
    clients = KinesisClients(session, readers=2, connect_timeout_s=30, read_timeout_s=30, sleep=slept.append)
    fake.answers("DescribeStreamSummary", summary())
    fake.answers("GetShardIterator", ok(ShardIterator="first"))
    yield clients.fan_out(LogPageDecoder("raw"), "tailrace")
    clients.close()


def read_until(fan_out: FanOut, iterator: str | None, count: int) -> tuple[list[int], LogPage]:
    """Read on until so many records have come."""
    found: list[int] = []
    last: list[LogPage] = []

    def came() -> bool:
        following = last[-1].next_iterator if last else iterator
        last.append(fan_out.read(SHARD, HEAD, following))
        found.extend(sequences(last[-1]))
        return len(found) >= count

    wait_for("the records", came)
    return found, last[-1]


def caught_up(fake: FakeAws, fan_out: FanOut) -> str | None:
    """Poll a shard until there is nothing more behind its first record."""
    fake.answers("GetRecords", page(1), page(), page())
    iterator = None
    for _ in range(3):
        iterator = fan_out.read(SHARD, HEAD, iterator).next_iterator
    return iterator


def test_a_shard_is_polled_to_its_end_and_then_pushed(fake: FakeAws, fan_out: FanOut) -> None:
    fake.answers("GetRecords", page(1, behind_ms=5, arrived_ms=time.time_ns() // 1_000_000), page(2), page(), page())
    fake.answers("DescribeStreamConsumer", ok(ConsumerDescription=CONSUMER))
    fake.answers("SubscribeToShard", pushed(event(3, after=3), event(4, 5, after=6)), pushed(event(7, after=7)))
    found, last = read_until(fan_out, None, 6)
    assert found == [1, 2, 3, 4, 5, 7]
    subscribed = [each.fields["StartingPosition"] for each in fake.asked if each.operation == "SubscribeToShard"]
    assert [each["SequenceNumber"] for each in subscribed] == ["2", "6"]
    assert failed(lambda: fan_out.read(SHARD, HEAD, "pushed:1:0")).failure is ReadFailure.EXPIRED
    fake.answers("SubscribeToShard", pushed(event(8, after=None, ChildShards=[{}])))
    found, last = read_until(fan_out, last.next_iterator, 1)
    assert (found, last.next_iterator) == ([8], None)


def test_a_consumer_is_registered_if_there_is_none(fake: FakeAws, fan_out: FanOut) -> None:
    iterator = caught_up(fake, fan_out)
    fake.answers("DescribeStreamConsumer", failure("ResourceNotFoundException"))
    fake.answers("RegisterStreamConsumer", ok(Consumer=CONSUMER | {"ConsumerStatus": "CREATING"}))
    error = failed(lambda: fan_out.read(SHARD, HEAD, iterator))
    assert (error.failure, "is not active yet" in error.message) == (ReadFailure.UNAVAILABLE, True)
    fake.answers("DescribeStreamConsumer", ok(ConsumerDescription=CONSUMER))
    fake.answers("SubscribeToShard", pushed(event(2, after=2)))
    assert read_until(fan_out, iterator, 1)[0] == [2]


def test_a_subscription_that_fails_is_made_again_behind_what_came(fake: FakeAws, fan_out: FanOut) -> None:
    iterator = caught_up(fake, fan_out)
    fake.answers("DescribeStreamConsumer", ok(ConsumerDescription=CONSUMER))
    broken = frame(b'{"message":"no"}', exception_type="InternalFailureException", message_type="exception")
    fake.answers("SubscribeToShard", failure("ResourceInUseException"), pushed(event(2, after=2), broken))
    assert "ResourceInUseException" in failed(lambda: fan_out.read(SHARD, HEAD, iterator)).message
    found, last = read_until(fan_out, iterator, 1)
    assert found == [2]
    assert "InternalFailureException" in failed(lambda: fan_out.read(SHARD, HEAD, last.next_iterator)).message
    fake.answers("SubscribeToShard", pushed(event(3, after=3)))
    assert read_until(fan_out, last.next_iterator, 1)[0] == [3]


def test_the_tail_of_a_shard_that_ends_is_polled_to_its_end(fake: FakeAws, fan_out: FanOut) -> None:
    fake.answers("GetRecords", page(1), page(), page(following=None))
    iterator = None
    for _ in range(2):
        iterator = fan_out.read(SHARD, HEAD, iterator).next_iterator
        assert iterator is not None
    assert fan_out.read(SHARD, HEAD, iterator).next_iterator is None
    assert "SubscribeToShard" not in fake.operations()
