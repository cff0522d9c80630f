"""Whatever comes over the socket as an answer of AWS is read, or told in one sentence; the next answer is read well."""

from __future__ import annotations

import contextlib
import gc
import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.utils import ContainerMetadataFetcher
from hypothesis import example, given
from hypothesis import strategies as st

from support.fake_aws import Answer, FakeAws, ok
from support.fuzz import Draw, broken, examples, refusal_of, with_unknown_fields
from tailrace.aws import http
from tailrace.aws.session import AwsSession, AwsSettings
from tailrace.core.ports import ReadError
from tailrace.core.shard import Position, ShardRef
from tailrace.core.tags import WantedTag
from tailrace.errors import WorldError
from tailrace.sources.dynamodb.streams import DynamoDBStreams

STREAM = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2026-01-02T03:04:05.678"
SHARD = ShardRef(STREAM, "shardId-00000001")
RECORD = {
    "eventID": "e1",
    "eventName": "INSERT",
    "dynamodb": {"Keys": {"id": {"S": "a"}}, "SequenceNumber": "123", "StreamViewType": "KEYS_ONLY"},
}
GOOD: dict[str, Any] = {
    "TableNames": ["orders", "users"],
    "Table": {
        "TableName": "orders",
        "LatestStreamArn": STREAM,
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
    },
    "StreamDescription": {
        "StreamArn": STREAM,
        "CreationRequestDateTime": 1_767_000_000,
        "Shards": [
            {"ShardId": "shardId-00000001", "SequenceNumberRange": {"EndingSequenceNumber": "9"}},
            {"ShardId": "shardId-00000002", "ParentShardId": "shardId-00000001", "SequenceNumberRange": {}},
        ],
    },
    "ShardIterator": "i-1",
    "Records": [RECORD],
    "NextShardIterator": "i-2",
    "ResourceTagMappingList": [{"ResourceARN": STREAM.partition("/stream")[0], "Tags": []}],
    "Tags": [{"Key": "cdc", "Value": "true"}],
}
"""An answer to every operation at once."""
CALLS: dict[str, Callable[[DynamoDBStreams], Any]] = {
    "table names": lambda streams: streams.table_names(["*"]),
    "table stream": lambda streams: streams.table_stream("orders"),
    "tables with tags": lambda streams: streams.tables_with((WantedTag("cdc", ("true",)),)),
    "tags of a table": lambda streams: streams.tags_of("orders"),
    "shards": lambda streams: streams.shards(STREAM),
    "children": lambda streams: streams.children(SHARD),
    "exists": lambda streams: streams.exists(SHARD),
    "first page": lambda streams: streams.read(SHARD, Position("TRIM_HORIZON"), None),
    "next page": lambda streams: streams.read(SHARD, Position("LATEST", since_ms=5), "i-1"),
}
STATUS_LINES = [
    "HTTP/1.1 200 OK", "HTTP/1.1 204 No Content", "HTTP/1.1 206 Partial Content", "HTTP/1.1 301 Moved Permanently",
    "HTTP/1.1 304 Not Modified", "HTTP/1.1 400 Bad Request", "HTTP/1.1 403 Forbidden", "HTTP/1.1 407 Proxy",
    "HTTP/1.1 413 Too Large", "HTTP/1.1 429 Slow Down", "HTTP/1.1 500 Oops", "HTTP/1.1 503 Later", "HTTP/1.1 999 Odd",
    "HTTP/1.1 100 Continue", "HTTP/1.0 200 OK", "HTTP/9.9 200 OK", "HTTP/1.1 abc", "HTTP/1.1", "220 smtp", "",
]  # fmt: skip
LENGTHS = ["0", "abc", "-1", "9" * 20, "3\r\nConnection: close"]
HEADERS = [
    "Location: http://127.0.0.1:1/", "Location: http://[", "Content-Type: text/html; charset=utf-16", "Retry-After: x",
    "Content-Encoding: gzip", "Content-Encoding: deflate, gzip", "Content-Encoding: klingon", "x-amz-crc32: 1",
    "x-amz-crc32: ²", "no colon",
    "Transfer-Encoding: chunked", "Set-Cookie: ; ; =",
    "x-amzn-errortype: ThrottlingException:http://x",
    "x-amzn-errortype: \x1b[31m", "X: LONG",
    *("\r\n".join(f"X-{number}: 1" for number in range(count)) for count in (90, 150)),
]  # fmt: skip


@st.composite
def http_answers(draw: Draw) -> bytes:
    """An answer of HTTP around a good or broken body, most of them with something wrong about it."""
    body = draw(broken(GOOD) | st.just(ok(**GOOD).body))
    packed = draw(st.sampled_from([body, gzip.compress(body, mtime=0), gzip.compress(body, mtime=0)[:-9]]))
    cut = draw(st.integers(0, len(packed)))
    chunks = b"%x\r\n%s\r\n%s\r\n\r\n" % (
        cut,
        packed[:cut],
        draw(st.sampled_from([b"0", b"zz", b"-5", b"ffffffffff", b""])),
    )
    lines = [
        draw(st.sampled_from(["HTTP/1.1 200 OK", *STATUS_LINES])),
        draw(st.sampled_from([f"Content-Length: {length}" for length in (len(packed), len(packed) + 9, *LENGTHS)])),
        draw(st.sampled_from([f"x-amz-crc32: {zlib.crc32(packed)}", "Server: x"])),
        *draw(st.lists(st.sampled_from(HEADERS), max_size=2)),
    ]
    head = "\r\n".join(lines).encode("latin-1", "replace")
    end: bytes = draw(st.sampled_from([packed, chunks]))
    return head + b"\r\n\r\n" + end


@pytest.fixture
def streams(fake: FakeAws, session: AwsSession) -> Iterator[DynamoDBStreams]:
    """A source that does not give up on a busy machine: no answer here hangs."""
    source = DynamoDBStreams(session, readers=2, read_timeout_s=30, sleep=lambda _: None)
    yield source
    source.close()


def read_after(streams: DynamoDBStreams) -> str | None:
    """Read a page, at first maybe over a connection that the server closed behind its last answer."""
    for _ in range(2):
        with contextlib.suppress(ReadError):
            return streams.read(SHARD, Position("TRIM_HORIZON"), "i-1").next_iterator
    return streams.read(SHARD, Position("TRIM_HORIZON"), "i-1").next_iterator


@examples(250)
@given(answer=http_answers(), name=st.sampled_from(sorted(CALLS)))
def test_any_answer_is_read_or_told_and_does_not_spoil_the_next(
    fake: FakeAws, streams: DynamoDBStreams, answer: bytes, name: str
) -> None:
    fake.answers_else(Answer(raw=answer.replace(b"LONG", b"x" * 70_000)))
    refusal_of(lambda: CALLS[name](streams), ReadError)
    fake.answers_else(ok(**GOOD))
    assert read_after(streams) == "i-2"


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # urllib3 leaves it to the garbage collector
def test_an_answer_of_two_lengths_is_no_answer(fake: FakeAws, streams: DynamoDBStreams) -> None:
    fake.answers_else(Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"))
    assert refusal_of(lambda: CALLS["next page"](streams), ReadError)
    fake.answers_else(ok(**GOOD))
    assert read_after(streams) == "i-2"
    gc.collect()


@examples(300)
@given(body=broken(GOOD), name=st.sampled_from(sorted(CALLS)))
def test_any_body_is_read_or_told(fake: FakeAws, streams: DynamoDBStreams, body: bytes, name: str) -> None:
    fake.answers_else(Answer(body, headers={"x-amz-crc32": str(zlib.crc32(body))}))
    refusal_of(lambda: CALLS[name](streams), ReadError)


@examples(100)
@given(answer=with_unknown_fields(GOOD), name=st.sampled_from(sorted(CALLS)))
def test_fields_that_nobody_has_heard_of_change_nothing(
    fake: FakeAws, streams: DynamoDBStreams, answer: dict[str, Any], name: str
) -> None:
    answer["Records"] = GOOD["Records"]  # their unknown fields are test_any_page's; an item has no field unknown
    fake.answers_else(ok(**GOOD))
    expected = CALLS[name](streams)
    fake.answers_else(ok(**answer))
    found = CALLS[name](streams)
    if "page" in name:
        assert (found.records, found.next_iterator) == (expected.records, expected.next_iterator)
    else:
        assert found == expected


@pytest.mark.parametrize("packed", [False, True], ids=["as it is", "packed"])
def test_an_answer_that_is_far_too_large_is_not_read_into_memory(
    fake: FakeAws, streams: DynamoDBStreams, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    monkeypatch.setattr(http, "BODY_BYTES_MAX", 1 << 20)
    body = b'{"Records":[' + b" " * (32 << 20) + b"]}"
    sent = gzip.compress(body, mtime=0) if packed else body
    del body
    fake.answers_else(Answer(sent, headers={"Content-Encoding": "gzip"} if packed else {}))
    tracemalloc.start()
    with pytest.raises(ReadError, match="is larger than 1 MiB"):
        streams.read(SHARD, Position("TRIM_HORIZON"), "i-1")
    assert tracemalloc.get_traced_memory()[1] < 6 << 20
    tracemalloc.stop()
    fake.answers_else(ok(**GOOD))
    assert streams.read(SHARD, Position("TRIM_HORIZON"), "i-1").next_iterator == "i-2"


# Credentials

ROLE = "arn:aws:iam::210987654321:role/reader"
STS = b"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><Arn>arn:aws:sts::210987654321:assumed-role/reader/tailrace</Arn></AssumedRoleUser><Credentials>
<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
STS_ERROR = b"""<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message>
</Error></ErrorResponse>"""


@st.composite
def sts_answers(draw: Draw) -> Answer:
    """An answer of STS of which some tags or texts are missing, others or there twice, or bytes of it are broken."""
    body = draw(st.sampled_from([STS, STS_ERROR]))
    tags = [tag for tag in body.replace(b">", b">\n").split(b"\n") if tag]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(tags) - 1))
        tags[at : at + 1] = draw(
            st.sampled_from(
                [
                    [],
                    [tags[at]] * 2,
                    [b"<x/>"],
                    [b"&boom;"],
                    [b"\x1b\xff"],
                    [b"<!DOCTYPE a [<!ENTITY b 'c'>]>"],
                    [b"9e99"],
                ]
            )
        )
    sent = b"".join(tags)
    sent = draw(
        st.sampled_from([sent, sent, sent[: draw(st.integers(0, len(sent)))], b"{}", gzip.compress(sent, mtime=0)])
    )
    return Answer(sent, draw(st.sampled_from([200, 200, 400, 403, 404])), {"Content-Type": "text/xml"})


@examples(12)
@given(answer=sts_answers())
def test_any_answer_of_sts_gives_credentials_or_one_sentence(
    fake: FakeAws, no_aws_environment: pytest.MonkeyPatch, answer: Answer
) -> None:
    no_aws_environment.setenv("AWS_ACCESS_KEY_ID", "AKIDSOURCE")
    no_aws_environment.setenv("AWS_SECRET_ACCESS_KEY", "source-secret")
    no_aws_environment.setenv("AWS_ENDPOINT_URL_STS", fake.url)
    no_aws_environment.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    fake.answers_else(answer)
    refusal_of(lambda: AwsSession(AwsSettings(region="eu-west-1", role_arn=ROLE)).credentials(), WorldError)


CONTAINER = {
    "AccessKeyId": "ASIACONTAINER",
    "SecretAccessKey": "s",
    "Token": "t",
    "Expiration": "2099-01-01T00:00:00Z",
}


@examples(40)
@given(body=broken(CONTAINER))
@example(body=b"{}")
@example(body=b"[]")
@example(body=b"\xff")
@example(body=b'{"AccessKeyId":null,"SecretAccessKey":"s","Token":"t","Expiration":"2099-01-01T00:00:00Z"}')
@example(body=b'{"AccessKeyId":"a","SecretAccessKey":"s","Token":"t","Expiration":"soon"}')
def test_any_answer_of_a_container_gives_credentials_or_one_sentence(
    fake: FakeAws, no_aws_environment: pytest.MonkeyPatch, body: bytes
) -> None:
    no_aws_environment.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{fake.url}/credentials")
    no_aws_environment.setattr(ContainerMetadataFetcher, "SLEEP_TIME", 0)
    fake.answers_else(Answer(body))
    refusal_of(lambda: AwsSession(AwsSettings(region="eu-west-1")).credentials(), WorldError)
