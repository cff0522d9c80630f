"""The ARN of a DynamoDB stream, and what only looks like one."""

from __future__ import annotations

import pytest

from tailrace.core.ports import ReadError, ReadFailure
from tailrace.sources.dynamodb.stream_arn import is_stream_of, is_table, parse, table_of

STREAM = "arn:aws-cn:dynamodb:cn-north-1:123456789012:table/a.Table_-1/stream/2026-01-02T03:04:05.678"


def test_the_table_and_the_region_are_in_it() -> None:
    assert parse(STREAM) == ("a.Table_-1", "cn-north-1")
    assert parse("arn:aws:dynamodb:ddblocal:000000000000:table/t/stream/x").table == "t"
    assert is_stream_of(STREAM, "a.Table_-1")
    assert not is_stream_of(STREAM, "other")


def test_a_table_has_an_arn_of_its_own() -> None:
    table = STREAM.partition("/stream/")[0]
    assert table_of(table) == table_of(STREAM) == "a.Table_-1"
    assert table_of(f"{table}/index/by-date") is None
    assert is_table(table, "a.Table_-1")
    assert not is_table(table, "other")
    assert not is_table(STREAM, "a.Table_-1")
    assert not is_stream_of(table, "a.Table_-1")


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "orders",
        "arn:aws:s3:::bucket",
        "arn:aws:kinesis:eu-west-1:123456789012:table/t/stream/x",
        STREAM.removesuffix("/stream/2026-01-02T03:04:05.678"),
        STREAM + "/more",
        STREAM + "\n",
        STREAM.replace("a.Table_-1", "a table"),
        STREAM.replace("a.Table_-1", ""),
        "x" * 10_000 + "\x1b[31m",
    ],
)
def test_anything_else_is_a_stream_that_does_not_exist(arn: str) -> None:
    with pytest.raises(ReadError, match="is not the ARN of a DynamoDB stream") as caught:
        parse(arn)
    assert caught.value.failure is ReadFailure.GONE
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    assert not is_stream_of(arn, "orders")
