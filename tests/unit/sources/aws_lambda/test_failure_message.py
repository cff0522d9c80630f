"""On-failure messages: as AWS documents them, and what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from support.fuzz import broken, examples, refusal_of
from tailrace.core.shard import ShardRef
from tailrace.errors import FileError
from tailrace.sources.aws_lambda.failure_message import DiscardedBatch, read_message
from tailrace.sources.aws_lambda.failure_messages import MessageFile

ARN = "arn:aws:dynamodb:us-east-2:123456789012:table/mytable/stream/2019-11-14T00:04:06.388"
DOCUMENTED: dict[str, Any] = {
    "requestContext": {
        "requestId": "316aa6d0-8154-xmpl-9af7-85d5f4a6bc81",
        "functionArn": "arn:aws:lambda:us-east-2:123456789012:function:myfunction",
        "condition": "RetryAttemptsExhausted",
        "approximateInvokeCount": 1,
    },
    "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
    "version": "1.0",
    "timestamp": "2019-11-14T00:13:49.717Z",
    "DDBStreamBatchInfo": {
        "shardId": "shardId-00000001573689847184-864758bb",
        "startSequenceNumber": "800000000003126276362",
        "endSequenceNumber": "800000000003126276362",
        "approximateArrivalOfFirstRecord": "2019-11-14T00:13:19Z",
        "approximateArrivalOfLastRecord": "2019-11-14T00:13:19Z",
        "batchSize": 1,
        "streamArn": ARN,
    },
}


def test_the_message_that_aws_documents_is_understood() -> None:
    assert read_message(json.dumps(DOCUMENTED), "x") == DiscardedBatch(
        shard=ShardRef(ARN, "shardId-00000001573689847184-864758bb"),
        noun="table",
        table="mytable",
        first="800000000003126276362",
        last="800000000003126276362",
        created_ms=1573690399000,
        count=1,
        payload=None,
    )
    assert read_message(json.dumps(DOCUMENTED | {"payload": "{}"}), "x").payload == b"{}"


def test_the_message_that_aws_documents_for_kinesis_is_understood() -> None:
    arn = "arn:aws:kinesis:us-east-2:123456789012:stream/mystream"
    sequence = "49601189658422359378836298521827638475320189012309704722"
    info = {
        "shardId": "shardId-000000000001",
        "startSequenceNumber": sequence,
        "endSequenceNumber": sequence.replace("4722", "4734"),
        "approximateArrivalOfFirstRecord": "2019-11-14T00:38:04.835Z",
        "approximateArrivalOfLastRecord": "2019-11-14T00:38:05.580Z",
        "batchSize": 500,
        "streamArn": arn,
    }
    message = {name: value for name, value in DOCUMENTED.items() if name != "DDBStreamBatchInfo"}
    found = read_message(json.dumps(message | {"KinesisBatchInfo": info}), "x")
    assert found == DiscardedBatch(
        shard=ShardRef(arn, "shardId-000000000001"),
        noun="stream",
        table="mystream",
        first=sequence,
        last=sequence.replace("4722", "4734"),
        created_ms=1573691884835,
        count=500,
        payload=None,
    )
    assert found.place == "stream mystream"


@pytest.mark.parametrize(
    "change",
    [
        {"DDBStreamBatchInfo": None},
        {"DDBStreamBatchInfo": DOCUMENTED["DDBStreamBatchInfo"] | {"startSequenceNumber": "-1"}},
        {"DDBStreamBatchInfo": DOCUMENTED["DDBStreamBatchInfo"] | {"endSequenceNumber": "1" * 130}},
        {"DDBStreamBatchInfo": DOCUMENTED["DDBStreamBatchInfo"] | {"endSequenceNumber": "7"}},
        {"DDBStreamBatchInfo": DOCUMENTED["DDBStreamBatchInfo"] | {"batchSize": 0}},
        {"DDBStreamBatchInfo": DOCUMENTED["DDBStreamBatchInfo"] | {"streamArn": "arn:aws:kinesis:x"}},
        {"DDBStreamBatchInfo": None, "KinesisBatchInfo": DOCUMENTED["DDBStreamBatchInfo"]},
    ],
)
def test_what_is_none_is_told_in_one_sentence_with_its_place(change: dict[str, Any]) -> None:
    with pytest.raises(FileError, match=r"^x: is no on-failure message of a stream: "):
        read_message(json.dumps(DOCUMENTED | change), "x")
    with pytest.raises(FileError):
        read_message(b"\xff{", "x")


@given(content=broken(DOCUMENTED | {"payload": "{}"}))
@examples(300)
def test_any_message_is_understood_or_told(content: bytes) -> None:
    refusal_of(lambda: read_message(content, "x"), FileError)


def test_a_file_holds_one_message_or_one_a_line(tmp_path: Any) -> None:
    one, many = tmp_path / "one.json", tmp_path / "many.jsonl"
    one.write_text(json.dumps(DOCUMENTED, indent=2))
    many.write_text("\n".join([json.dumps(DOCUMENTED)] * 12) + "\n\n")
    ((message,),) = MessageFile(str(one)).groups()
    assert message.name == str(one)
    groups = list(MessageFile(str(many)).groups())
    assert [len(group) for group in groups] == [10, 2]
    assert groups[1][1].name == f"{many}:12"
    with pytest.raises(FileError, match="cannot be read"):
        list(MessageFile(str(tmp_path / "none")).groups())
