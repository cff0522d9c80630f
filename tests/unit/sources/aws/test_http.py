"""Calls to AWS: signed, kept alive, and every failure told apart."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections.abc import Callable, Iterator

import pytest
from urllib3 import PoolManager

from support.fake_aws import SECRET_KEY, TOKEN, Answer, FakeAws, failure, fault, ok, signature_of
from tailrace.aws.errors import RefusedRequestError, Subject
from tailrace.aws.http import AwsClient, open_pool
from tailrace.aws.service import Service
from tailrace.aws.session import AwsSession
from tailrace.core.ports import ReadError, ReadFailure
from tailrace.sources.dynamodb.services import STREAMS

SUBJECT = Subject("shard shardId-7 of table orders", "arn:aws:dynamodb:eu-west-1:1:table/orders/stream/x")
ITERATOR = "arn:aws:dynamodb:eu-west-1:1:table/orders/stream/x|1|" + "A" * 300

Call = Callable[..., bytes]


@pytest.fixture
def pool(session: AwsSession, fake: FakeAws) -> Iterator[PoolManager]:
    pool = open_pool(session, fake.url, connections=2, connect_timeout_s=1, read_timeout_s=0.3)
    yield pool
    pool.clear()


@pytest.fixture
def call(session: AwsSession, pool: PoolManager, fake: FakeAws) -> Call:
    client = AwsClient(session, pool, fake.url, STREAMS)
    return lambda operation="GetRecords", payload=b'{"ShardIterator":"i"}': client.call(operation, payload, SUBJECT)


def refusal(call: Call, operation: str = "GetRecords") -> ReadError:
    with pytest.raises(ReadError) as caught:
        call(operation)
    sentence = str(caught.value)
    assert operation in sentence
    assert "shard shardId-7 of table orders" in sentence
    assert "\n" not in sentence
    return caught.value


def test_the_body_of_the_answer_is_given_as_it_came(fake: FakeAws, call: Call) -> None:
    fake.answers("GetRecords", ok(Records=[], Note="ü"))
    assert json.loads(call()) == {"Records": [], "Note": "ü"}


def test_a_request_speaks_the_json_protocol(fake: FakeAws, call: Call) -> None:
    fake.answers("GetRecords", ok())
    call("GetRecords", b'{"ShardIterator":"i"}')
    (asked,) = fake.asked
    assert asked.headers["x-amz-target"] == "DynamoDBStreams_20120810.GetRecords"
    assert asked.headers["content-type"] == "application/x-amz-json-1.0"
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.body == b'{"ShardIterator":"i"}'


def test_every_request_carries_a_signature_that_aws_accepts(fake: FakeAws, call: Call) -> None:
    fake.answers("GetRecords", ok())
    call()
    (asked,) = fake.asked
    given, right = signature_of(asked, SECRET_KEY, host=fake.url.removeprefix("http://"))
    assert given == right
    assert asked.headers["x-amz-security-token"] == TOKEN
    assert "/eu-west-1/dynamodb/aws4_request" in asked.headers["authorization"]
    asked.body += b" "
    given, right = signature_of(asked, SECRET_KEY, host=fake.url.removeprefix("http://"))
    assert given != right


KINESIS = Service(
    name="Kinesis",
    endpoint_name="kinesis",
    signing_name="kinesis",
    action_prefix="kinesis",
    target="Kinesis_20131202",
    json_version="1.1",
    hints={ReadFailure.TRIMMED: "raise the stream's retention"},
)
"""A service of another name, target and version of the protocol."""


def test_any_service_is_signed_for_and_spoken_to_in_its_protocol(
    fake: FakeAws, session: AwsSession, pool: PoolManager
) -> None:
    fake.answers("GetRecords", ok())
    AwsClient(session, pool, fake.url, KINESIS).call("GetRecords", b"{}", SUBJECT)
    (asked,) = fake.asked
    assert asked.headers["x-amz-target"] == "Kinesis_20131202.GetRecords"
    assert asked.headers["content-type"] == "application/x-amz-json-1.1"
    assert "/eu-west-1/kinesis/aws4_request" in asked.headers["authorization"]
    given, right = signature_of(asked, SECRET_KEY, host=fake.url.removeprefix("http://"))
    assert given == right


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (failure("AccessDeniedException"), f"allow kinesis:GetRecords on {SUBJECT.resource}"),
        (failure("TrimmedDataAccessException"), "raise the stream's retention"),
        (Answer(b"", 404), "Kinesis's own address"),
    ],
)
def test_an_error_names_the_service_in_question(
    fake: FakeAws, session: AwsSession, pool: PoolManager, answer: Answer, hint: str
) -> None:
    fake.answers("GetRecords", answer)
    client = AwsClient(session, pool, fake.url, KINESIS)
    assert hint in refusal(lambda operation: client.call(operation, b"{}", SUBJECT)).hint


def test_connections_are_kept_alive(fake: FakeAws, call: Call, pool: PoolManager) -> None:
    fake.answers("GetRecords", *[ok()] * 5)
    for _ in range(5):
        call()
    assert pool.connection_from_url(fake.url).num_connections == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (("ExpiredIteratorException", "Iterator expired.", 400), ReadFailure.EXPIRED),
        (("ValidationException", "Invalid ShardIterator", 400), ReadFailure.EXPIRED),
        (("TrimmedDataAccessException", "The data has been trimmed", 400), ReadFailure.TRIMMED),
        (("ResourceNotFoundException", "Requested resource not found: Shard", 400), ReadFailure.GONE),
        (("ResourceNotFoundException", "Invalid ShardId in ShardIterator", 400), ReadFailure.GONE),
        (("ProvisionedThroughputExceededException", "", 400), ReadFailure.THROTTLED),
        (("LimitExceededException", "", 400), ReadFailure.THROTTLED),
        (("ThrottlingException", "Rate exceeded", 400), ReadFailure.THROTTLED),
        (("ThrottlingException", "Rate exceeded", 503), ReadFailure.THROTTLED),
        (("RequestLimitExceeded", "", 400), ReadFailure.THROTTLED),
        (("Unheard", "", 429), ReadFailure.THROTTLED),
        (("AccessDeniedException", "User is not authorized", 400), ReadFailure.DENIED),
        (("UnrecognizedClientException", "", 400), ReadFailure.DENIED),
        (("InvalidSignatureException", "", 400), ReadFailure.DENIED),
        (("IncompleteSignatureException", "", 400), ReadFailure.DENIED),
        (("ExpiredTokenException", "", 400), ReadFailure.DENIED),
        (("MissingAuthenticationTokenException", "", 400), ReadFailure.DENIED),
        (("Unheard", "", 403), ReadFailure.DENIED),
        (("InternalServerError", "", 500), ReadFailure.UNAVAILABLE),
        (("ServiceUnavailableException", "", 503), ReadFailure.UNAVAILABLE),
        (("Unheard", "", 400), ReadFailure.UNAVAILABLE),
    ],
)
def test_each_error_of_aws_has_its_failure(
    fake: FakeAws, call: Call, answer: tuple[str, str, int], expected: ReadFailure
) -> None:
    code, message, _ = answer
    fake.answers("GetRecords", failure(*answer))
    error = refusal(call)
    assert error.failure is expected
    assert code in str(error)
    assert message in str(error)
    assert len(fake.asked) == 1


def test_a_request_that_the_service_does_not_understand_is_told_apart(fake: FakeAws, call: Call) -> None:
    fake.answers("DescribeStream", failure("ValidationException", "unknown parameter"), failure("Odd", status=500))
    assert isinstance(refusal(call, "DescribeStream"), RefusedRequestError)
    assert not isinstance(refusal(call, "DescribeStream"), RefusedRequestError)


def test_only_get_records_can_have_a_bad_iterator(fake: FakeAws, call: Call) -> None:
    fake.answers("GetShardIterator", failure("ValidationException", "bad shardIteratorType"))
    assert refusal(call, "GetShardIterator").failure is ReadFailure.UNAVAILABLE


@pytest.mark.parametrize(
    ("answer", "expected", "words"),
    [
        (Answer(b"<html><h1>Bad gateway</h1>", 502, {"Content-Type": "text/html"}), "unavailable", "502"),
        (Answer(b"", 503), "unavailable", "503"),
        (Answer(b'{"__type":"com.amazon', 500), "unavailable", "500"),
        (Answer(b"\xff\xfe", 500), "unavailable", "500"),
        (Answer(b"[]", 400), "unavailable", "source.endpoint_url"),
        (Answer(b"", 404, {"Content-Type": "text/html"}), "unavailable", "source.endpoint_url"),
        (Answer(b"", 302, {"Location": "http://localhost:1/"}), "unavailable", "302"),
        (Answer(b"<html>", 403, {"Content-Type": "text/html"}), "denied", "text/html"),
        (Answer(b'{"__type":"ExpiredIteratorException"}', 400, {"Content-Type": "text/plain"}), "expired", "Expired"),
        (Answer(b'{"Code":"Throttling","Message":"slow"}', 400), "throttled", "slow"),
        (Answer(b"", 400, {"x-amzn-ErrorType": "ThrottlingException:http://x/"}), "throttled", "ThrottlingException"),
        (Answer(b'{"__type":7,"message":null}', 500), "unavailable", "7"),
        (Answer(b'{"__type":"Odd\\nwords","message":"\\u001b[31mred"}', 400), "unavailable", r"Odd: \x1b[31mred"),
        (Answer(b'{"__type":"Odd\\n%s"}' % (b"so many " * 1000), 400), "unavailable", "was refused: Odd"),
    ],
)
def test_an_error_of_any_shape_is_told(fake: FakeAws, call: Call, answer: Answer, expected: str, words: str) -> None:
    fake.answers("GetRecords", answer)
    error = refusal(call)
    assert error.failure == expected
    assert words in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (fault("reset"), "reset"),
        (fault("closed"), "closed connection without response"),
        (fault("hang"), "no answer in time"),
        (fault("cut short"), "got no answer"),
        (fault("not http"), "SSH-2.0"),
        (Answer(b"{}", headers={"x-amz-crc32": "1"}), "checksum"),
        (Answer(b"{}", headers={"x-amz-crc32": "odd"}), "checksum"),
        (Answer(b'{"__type":"x"}', 400, headers={"x-amz-crc32": "1"}), "checksum"),
    ],
)
def test_a_broken_answer_is_no_answer(fake: FakeAws, call: Call, answer: Answer, words: str) -> None:
    fake.answers("GetRecords", answer)
    error = refusal(call)
    assert error.failure is ReadFailure.UNAVAILABLE
    assert words in str(error)
    assert len(fake.asked) == 1


def test_a_broken_answer_does_not_spoil_the_next(fake: FakeAws, call: Call) -> None:
    fake.answers("GetRecords", fault("cut short"), ok(n=1), fault("hang"), ok(n=2))
    refusal(call)
    assert json.loads(call()) == {"n": 1}
    refusal(call)
    assert json.loads(call()) == {"n": 2}


def test_an_answer_without_a_checksum_or_packed_by_a_proxy_is_taken(fake: FakeAws, call: Call) -> None:
    packed = Answer(gzip.compress(b"{}"), headers={"Content-Encoding": "gzip", "x-amz-crc32": str(zlib.crc32(b"x"))})
    fake.answers("GetRecords", Answer(b"{}"), packed)
    assert call() == b"{}"
    assert call() == b"{}"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:{closed}", "refused"),
        ("https://127.0.0.1:{fake}", "TLS failed"),
    ],
)
def test_an_endpoint_that_cannot_be_reached_is_named(
    fake: FakeAws, session: AwsSession, pool: PoolManager, address: str, words: str
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = address.format(closed=unused.getsockname()[1], fake=fake.url.rsplit(":", 1)[1])
        client = AwsClient(session, pool, url, STREAMS)
        error = refusal(lambda operation: client.call(operation, b"{}", SUBJECT))
    assert error.failure is ReadFailure.UNAVAILABLE
    assert words in str(error)
    assert "source.endpoint_url" in error.hint


def test_a_host_that_has_no_address_is_named(
    session: AwsSession, pool: PoolManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_such_host(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    client = AwsClient(session, pool, "http://nowhere.invalid:8000", STREAMS)
    error = refusal(lambda operation: client.call(operation, b"{}", SUBJECT))
    assert error.failure is ReadFailure.UNAVAILABLE
    assert "nowhere.invalid:8000: Name or service not known" in str(error)


def test_a_missing_permission_names_the_action_and_the_resource(fake: FakeAws, call: Call) -> None:
    fake.answers("DescribeStream", failure("AccessDeniedException", "User: arn:aws:iam::1:user/x is not authorized"))
    error = refusal(call, "DescribeStream")
    assert "dynamodb:DescribeStream" in error.hint
    assert SUBJECT.resource in error.hint


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        ("ExpiredTokenException", "The security token included in the request is expired", "renew the credentials"),
        ("InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than", "clock"),
        ("InvalidSignatureException", "Signature not yet current: 2026", "clock"),
        ("RequestExpired", "", "clock"),
        ("InvalidSignatureException", "The request signature we calculated does not match", "secret"),
        ("UnrecognizedClientException", "The security token included in the request is invalid.", "access key"),
        ("LimitExceededException", "", "two readers"),
    ],
)
def test_the_hint_fits_the_refusal(fake: FakeAws, call: Call, code: str, message: str, hint: str) -> None:
    fake.answers("GetRecords", failure(code, message))
    assert hint in refusal(call).hint


def test_neither_credentials_nor_an_iterator_are_told(fake: FakeAws, call: Call) -> None:
    fake.answers(
        "GetRecords",
        failure("ValidationException", f"Invalid ShardIterator: {ITERATOR}"),
        failure("InvalidSignatureException", f"No match.\n\nThe Canonical String\nx-amz-security-token:{TOKEN}"),
        failure("AccessDeniedException", f"not with {TOKEN} " + "and so on " * 100),
    )
    for _ in range(3):
        sentence = str(refusal(call))
        assert ITERATOR not in sentence
        assert "A" * 50 not in sentence
        assert "t" * 50 not in sentence
        assert len(sentence) < 700
