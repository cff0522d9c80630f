"""What went wrong with an AWS call, as a `ReadError`: the only place that knows AWS's error codes.

Sources: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/CommonErrors.html and
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as AwsConnectionError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import ProxyError, ReadTimeoutError, SSLError

from tailrace.aws.service import Service
from tailrace.core.ports import ReadError, ReadFailure
from tailrace.errors import excerpt

_LONG_WORD: Final = re.compile(r"\S{100,}")
"""Shard iterators and session tokens are such words; what people need to read is not."""
_WORD_CHARACTERS_KEPT: Final = 24

_KMS: Final = "KMS"
"""What the codes begin with that Kinesis passes on from KMS when it cannot decrypt a stream."""
_EXACT: Final = {
    "ExpiredIteratorException": ReadFailure.EXPIRED,
    "TrimmedDataAccessException": ReadFailure.TRIMMED,
    "ResourceNotFoundException": ReadFailure.GONE,
    "NoSuchBucket": ReadFailure.GONE,
    "NoSuchKey": ReadFailure.GONE,
    "ProvisionedThroughputExceededException": ReadFailure.THROTTLED,
    "LimitExceededException": ReadFailure.THROTTLED,
    "RequestLimitExceeded": ReadFailure.THROTTLED,
    "TooManyRequestsException": ReadFailure.THROTTLED,
    "BandwidthLimitExceeded": ReadFailure.THROTTLED,
    "KMSThrottlingException": ReadFailure.THROTTLED,
    "SlowDown": ReadFailure.THROTTLED,
    "RequestExpired": ReadFailure.DENIED,
    "RequestTimeTooSkewed": ReadFailure.DENIED,
    "NotAuthorized": ReadFailure.DENIED,
    "AuthFailure": ReadFailure.DENIED,
    "OptInRequired": ReadFailure.DENIED,
}
_STARTS: Final = {
    "Throttl": ReadFailure.THROTTLED,
    "RequestThrottled": ReadFailure.THROTTLED,
    "AccessDenied": ReadFailure.DENIED,
    "UnauthorizedOperation": ReadFailure.DENIED,
    "UnrecognizedClient": ReadFailure.DENIED,
    "InvalidSignature": ReadFailure.DENIED,
    "SignatureDoesNotMatch": ReadFailure.DENIED,
    "IncompleteSignature": ReadFailure.DENIED,
    "InvalidClientTokenId": ReadFailure.DENIED,
    "InvalidAccessKeyId": ReadFailure.DENIED,
    "MissingAuthenticationToken": ReadFailure.DENIED,
    "ExpiredToken": ReadFailure.DENIED,
    _KMS: ReadFailure.DENIED,
}
_STATUSES: Final = {
    401: ReadFailure.DENIED,
    403: ReadFailure.DENIED,
    407: ReadFailure.DENIED,
    429: ReadFailure.THROTTLED,
}
_CONNECTION_ERRORS: Final = (AwsConnectionError, HTTPClientError, ResponseParserError)
_HINT_CLOCK: Final = "set this host's clock: AWS accepts five minutes of difference"
_HINT_PROXY: Final = "check HTTPS_PROXY (HTTP_PROXY for http:// addresses), or name the host in NO_PROXY"
_HINT_PROXY_PASSWORD: Final = (
    "give the proxy's user and password, each URL-encoded: HTTPS_PROXY=http://user:password@host:port"
)
PROXY_WANTS_PASSWORD: Final = 407
_HINT_CONNECTION: Final = "check the network, source.endpoint_url and source.region"


class Subject(NamedTuple):
    """What a call is about: words for people, and the ARN that a policy must allow."""

    words: str
    resource: str


class AwsKeys(NamedTuple):
    """What the pipeline file calls the settings that decide who asks, for hints."""

    region: str = "source.region"
    profile: str = "source.profile"
    role_arn: str = "source.role_arn"
    external_id: str = "source.external_id"


_OF_SOURCE: Final = AwsKeys()


class RefusedRequestError(ReadError):
    """The service does not take the request (an unknown parameter, say): asking again is of no use."""

    def __init__(
        self, message: str, failure: ReadFailure, *, hint: str = "", code: str = "", body: bytes = b""
    ) -> None:
        super().__init__(message, failure, hint=hint)
        self.code = code
        """AWS's own name of the error, if an answer said so."""
        self.body = body
        """That answer."""


def refused(
    service: Service, operation: str, subject: Subject, *, status: int, headers: Mapping[str, str], body: bytes
) -> ReadError:
    """Return the error of an error answer, whatever its shape: AWS's JSON, a proxy's page, nothing at all."""
    code, text = _code_and_text(headers, body)
    failure = _failure(operation, status, code, text)
    cause = ": ".join(part for part in (code, _plain(text)) if part) or _nameless(status, headers)
    message = f"{operation} of {subject.words} was refused: {cause}"
    if failure is None:
        known = 400 <= status < 500 and code
        if known:
            return RefusedRequestError(message, ReadFailure.UNAVAILABLE, code=code, body=body)
        hint = "" if status >= 500 else f"check that source.endpoint_url is {service.name}'s own address"
        return ReadError(message, ReadFailure.UNAVAILABLE, hint=hint)
    return ReadError(message, failure, hint=_hint(failure, service, operation, subject, code=code, text=text))


def refused_by_proxy(operation: str, subject: Subject, proxy: str) -> ReadError:
    """Return the error of a call that a proxy did not let through, for want of the right user and password."""
    return ReadError(
        f"{operation} of {subject.words} was refused by the proxy {_plain(proxy)}: "
        f"{PROXY_WANTS_PASSWORD} Proxy Authentication Required",
        ReadFailure.DENIED,
        hint=_HINT_PROXY_PASSWORD,
    )


def unanswered(operation: str, subject: Subject, host: str, error: Exception, proxy: str | None = None) -> ReadError:
    """Return the error of a call that got no whole answer: refused, reset, timed out, cut short, no such host, bad TLS.

    `proxy` is the address, without user and password, of what lies between.
    """
    root = _root(error)
    if proxy is not None and isinstance(error, ProxyError):
        if str(PROXY_WANTS_PASSWORD) in str(root):
            return refused_by_proxy(operation, subject, proxy)
        reason = root.strerror if isinstance(root, OSError) else None
        cause = "no connection in time" if isinstance(root, TimeoutError) else _plain(reason or str(root))
        return ReadError(
            f"{operation} of {subject.words} did not get to {host} through the proxy {_plain(proxy)}: {cause}",
            ReadFailure.UNAVAILABLE,
            hint=_HINT_PROXY,
        )
    if isinstance(error, ReadTimeoutError):
        cause, hint = "no answer in time", "it is asked for again"
    elif isinstance(root, TimeoutError):
        cause, hint = "no connection in time", _HINT_CONNECTION
    elif isinstance(error, SSLError):
        cause, hint = (
            f"TLS failed: {_plain(str(root))}",
            "check source.endpoint_url and the certificates (AWS_CA_BUNDLE)",
        )
    else:
        reason = root.strerror if isinstance(root, OSError) else None
        cause, hint = _plain(reason or str(root) or type(root).__name__), _HINT_CONNECTION
    return ReadError(
        f"{operation} of {subject.words} got no answer from {host}: {cause}", ReadFailure.UNAVAILABLE, hint=hint
    )


def broken(operation: str, subject: Subject, cause: str) -> ReadError:
    """Return the error of an answer that arrived but cannot be what the service sent."""
    return ReadError(
        f"the answer of {operation} for {subject.words} is broken: {_plain(cause)}",
        ReadFailure.UNAVAILABLE,
        hint="if it goes on, check what lies between this host and source.endpoint_url",
    )


class TooLargeError(ReadError):
    """The answer is larger than any that is taken: what may be asked for in parts is to be."""

    def __init__(self, service: Service, operation: str, subject: Subject, bound_bytes: int) -> None:
        super().__init__(
            f"the answer of {operation} for {subject.words} is larger than {bound_bytes >> 20} MiB",
            ReadFailure.UNAVAILABLE,
            hint=f"no answer of {service.name} is: check what source.endpoint_url leads to",
        )


def no_credentials(error: Exception, keys: AwsKeys = _OF_SOURCE) -> ReadError:
    """Return why AWS credentials could not be had or renewed."""
    if isinstance(error, ClientError):
        told = error.response.get("Error", {})
        code, text = _plain(str(told.get("Code") or "without a code")), str(told.get("Message") or "")
        operation = error.operation_name
        failure = failure_of(error)
        hint = _hint_expired_or_skewed(code, text)
        if failure is ReadFailure.DENIED and not hint:
            hint = f"check {keys.role_arn}, {keys.external_id} and the trust policy of the role"
        return ReadError(f"{operation} was refused: {code}: {_plain(text)}", failure, hint=hint)
    if isinstance(error, RuntimeError):  # what botocore raises for credentials that came expired
        return ReadError(f"AWS credentials cannot be used: {_plain(str(error))}", ReadFailure.DENIED, hint=_HINT_CLOCK)
    kind = type(error).__name__
    failure = ReadFailure.UNAVAILABLE if isinstance(error, _CONNECTION_ERRORS) else ReadFailure.DENIED
    return ReadError(
        f"AWS credentials cannot be had: {kind}: {_plain(str(error))}",
        failure,
        hint="check the network" if failure is ReadFailure.UNAVAILABLE else "renew them (aws sso login, aws configure)",
    )


def failure_of(error: ClientError) -> ReadFailure:
    """Return the failure that an error answer means which botocore parsed."""
    told = error.response.get("Error", {})
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    code, text = str(told.get("Code") or ""), str(told.get("Message") or "")
    return _failure(error.operation_name, status, code, text) or ReadFailure.UNAVAILABLE


def unusable_credentials() -> ReadError:
    """Return the error of a key, secret or token that is malformed, without showing any of it."""
    return ReadError(
        "the AWS credentials cannot be used: a key, secret or token is empty, or holds a space, a line end or another "
        "character that cannot be sent",
        ReadFailure.DENIED,
        hint="take it out where the credentials come from",
    )


def _failure(operation: str, status: int, code: str, text: str) -> ReadFailure | None:
    """Return the failure that a code or, failing that, a status means; None when neither says."""
    if failure := _EXACT.get(code):
        return failure
    for start, failure in _STARTS.items():
        if code.startswith(start):
            return failure
    if code.startswith(("Validation", "InvalidArgument")) and operation == "GetRecords" and "iterator" in text.lower():
        return ReadFailure.EXPIRED
    return _STATUSES.get(status)


def _hint(failure: ReadFailure, service: Service, operation: str, subject: Subject, *, code: str, text: str) -> str:
    if failure is ReadFailure.DENIED:
        return _hint_expired_or_skewed(code, text) or _hint_denied(service, operation, subject, code)
    return service.hints[failure]


def _hint_denied(service: Service, operation: str, subject: Subject, code: str) -> str:
    if code.startswith(_KMS):
        return "allow kms:Decrypt on the stream's key to these credentials, and check that the key is enabled"
    action = f"{service.action_prefix}:{operation}"
    if code.startswith(("AccessDenied", "UnauthorizedOperation", "NotAuthorized")):
        return f"allow {action} on {subject.resource} to these credentials"
    if code:
        return "check the AWS access key, its secret and its region"
    return f"allow {action} on {subject.resource}, and check what lies between this host and AWS"


def _hint_expired_or_skewed(code: str, text: str) -> str:
    if code.startswith("ExpiredToken"):
        return "the session has run out: renew the credentials, or use a role that renews them itself"
    if code in {"RequestExpired", "RequestTimeTooSkewed"} or (
        "Signature" in code and ("expired" in text or "not yet current" in text)
    ):
        return _HINT_CLOCK
    return ""


def _code_and_text(headers: Mapping[str, str], body: bytes) -> tuple[str, str]:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = None
    fields = {str(name).lower(): value for name, value in answer.items()} if isinstance(answer, dict) else {}
    kind = fields.get("__type") or fields.get("code") or headers.get("x-amzn-errortype") or ""
    text = fields.get("message") or ""
    return _plain(str(kind).rsplit("#", 1)[-1].split(":", 1)[0]), str(text)


def _nameless(status: int, headers: Mapping[str, str]) -> str:
    kind = headers.get("content-type", "").split(";")[0].strip() or "no content type"
    return f"HTTP status {status} without an AWS error ({_plain(kind)})"


def _plain(text: str) -> str:
    """Return the first line of a text, short, without the long words that may be iterators or tokens."""
    line = next(iter(text.strip().splitlines()), "")
    return excerpt(_LONG_WORD.sub(lambda word: word.group()[:_WORD_CHARACTERS_KEPT] + "…", line))


def _root(error: BaseException) -> BaseException:
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error
