"""Lambda's events of Kinesis: what is read of them, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from support.kinesis_batches import event
from support.kinesis_records import ARN, SEQUENCE, SHARD, change, text
from tailrace.core.shard import ShardRef
from tailrace.errors import WorldError
from tailrace.sources.aws_lambda.kinesis_event import read_event
from tailrace.sources.kinesis.log_page import LogPageDecoder

ID = SHARD.shard_id


def record(number: int = 0, data: bytes = b"raw") -> dict[str, Any]:
    return {
        "PartitionKey": "pk",
        "SequenceNumber": str(SEQUENCE + number),
        "Data": data,
        "ApproximateArrivalTimestamp": datetime.fromtimestamp(1_714_557_601.234, UTC),
    }


def test_a_batch_is_decoded_as_an_answer_of_get_records_is() -> None:
    batch = read_event(event([record(0, text(change())), record(1), record(1)], ARN, ID))
    assert batch is not None
    assert (batch.shard, batch.table, batch.region) == (ShardRef(ARN, ID), "shop-cdc", "eu-west-1")
    assert batch.is_exact
    records = LogPageDecoder()(batch.body, shard=SHARD).records
    assert [each.record.origin.sequence for each in records] == [str(SEQUENCE), str(SEQUENCE + 1)]
    assert [each.record.origin.table for each in records] == ["orders", "shop-cdc"]
    assert {each.arrived_ms for each in records} == {1_714_557_601_234}


def test_without_a_tumbling_window_batches_of_a_shard_may_come_at_once() -> None:
    batch = read_event(event([record()], ARN, ID, window=False))
    assert batch is not None
    assert batch.shard.shard_id == ID
    assert not batch.is_exact


def test_the_last_call_of_a_window_holds_nothing() -> None:
    assert read_event(event([], ARN, ID)) is None


@pytest.mark.parametrize(
    ("change_record", "told"),
    [
        ({"eventSource": "aws:dynamodb"}, "its records come from aws:dynamodb"),
        ({"eventSourceARN": "arn:aws:kinesis:x"}, "'arn:aws:kinesis:x' is not the ARN of a stream"),
        ({"eventID": "shardId-000000000001:1"}, "its records are of 2 shards, and a batch comes from one"),
        ({"kinesis": {}}, "its records cannot be understood: Object missing required field"),
    ],
)
def test_what_kinesis_did_not_send_is_refused(change_record: dict[str, Any], told: str) -> None:
    made = event([record()], ARN, ID)
    made["Records"][0] |= change_record
    with pytest.raises(WorldError) as refused:
        read_event(made)
    assert told in str(refused.value)
    assert "let an event source mapping of a stream of Kinesis invoke this function" in refused.value.hint
