"""Where AWS Lambda's on-failure messages lie: a queue of SQS, objects of S3, or a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from tailrace.errors import FileError, WorldError

_RECEIVED_MAX: Final = 10
"""SQS gives no more messages at once."""
_WAIT_S: Final = 2
"""How long SQS looks for messages: without it, it asks only some of its servers."""
_VISIBILITY_S: Final = 900
"""How long a message is hidden from others while it is worked on."""
_CONFIG: Final = Config(connect_timeout=3, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 4})


class FailureMessage(msgspec.Struct, frozen=True):
    """One message: what it says, where it was, and how it is taken away once it is done with."""

    name: str
    content: bytes
    take_away: Callable[[], None] = lambda: None


class FailureMessages(Protocol):
    """A place of messages."""

    def groups(self) -> Iterator[list[FailureMessage]]:
        """Return all messages, some at a time. Raises WorldError or FileError."""
        ...


class Queue:
    """A queue of SQS. A message that is not taken away shows again after 15 minutes."""

    def __init__(self, url: str, *, region: str | None, profile: str | None) -> None:
        """Open the queue. Raises WorldError. The address of the queue says where SQS is, and at AWS the region."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in {"http", "https"} or not host or not parts.path.strip("/"):
            raise FileError(
                f"{url!r} is not the URL of a queue",
                hint="it looks like https://sqs.REGION.amazonaws.com/ACCOUNT/NAME",
            )
        labels = host.split(".")
        at_aws = labels[0] == "sqs" and ".amazonaws.com" in host
        named = labels[1] if at_aws else region
        endpoint = None if at_aws else f"{parts.scheme}://{parts.netloc}"
        self._url = url
        self._client = _client("sqs", named, profile, endpoint)

    def groups(self) -> Iterator[list[FailureMessage]]:
        """Receive until the queue gives none, or only such as were seen before."""
        seen: set[str] = set()
        while True:
            request: dict[str, Any] = {
                "QueueUrl": self._url,
                "MaxNumberOfMessages": _RECEIVED_MAX,
                "WaitTimeSeconds": _WAIT_S,
                "VisibilityTimeout": _VISIBILITY_S,
            }
            received = _call(self._client.receive_message, f"receiving from {self._url}", **request).get("Messages", [])
            fresh = [each for each in received if each["MessageId"] not in seen]
            if not fresh:
                return
            seen.update(each["MessageId"] for each in fresh)
            yield [self._message(each) for each in fresh]

    def _message(self, received: dict[str, Any]) -> FailureMessage:
        def delete() -> None:
            _call(
                self._client.delete_message,
                f"deleting from {self._url}",
                QueueUrl=self._url,
                ReceiptHandle=received["ReceiptHandle"],
            )

        return FailureMessage(f"message {received['MessageId']}", received["Body"].encode(), delete)


class Bucket:
    """Objects of S3 below a prefix. They stay where they are."""

    def __init__(self, place: str, *, region: str | None, profile: str | None) -> None:
        """Take `BUCKET/PREFIX`, also with `s3://` before it. Raises WorldError."""
        self._bucket, _, self._prefix = place.removeprefix("s3://").partition("/")
        if not self._bucket:
            raise FileError(f"{place!r} names no bucket", hint="give BUCKET/PREFIX")
        self._client = _client("s3", region, profile, None)

    def groups(self) -> Iterator[list[FailureMessage]]:
        """Return the objects in the order of their names."""
        more: dict[str, str] = {}
        while True:
            listed = _call(
                self._client.list_objects_v2,
                f"listing s3://{self._bucket}/{self._prefix}",
                Bucket=self._bucket,
                Prefix=self._prefix,
                **more,
            )
            yield from _in_tens(self._message(each["Key"]) for each in listed.get("Contents", []))
            if not listed.get("IsTruncated"):
                return
            more = {"ContinuationToken": listed["NextContinuationToken"]}

    def _message(self, key: str) -> FailureMessage:
        name = f"s3://{self._bucket}/{key}"
        got = _call(self._client.get_object, f"reading {name}", Bucket=self._bucket, Key=key)
        return FailureMessage(name, got["Body"].read())


class MessageFile:
    """A file, or stdin (`-`): one message as JSON, or one a line."""

    def __init__(self, path: str) -> None:
        self._path = path

    def groups(self) -> Iterator[list[FailureMessage]]:
        """Return the messages. Raises FileError when the file cannot be read."""
        try:
            content = sys.stdin.buffer.read() if self._path == "-" else Path(self._path).read_bytes()
        except OSError as error:
            reason = (error.strerror or "unknown reason").lower()
            raise FileError(f"cannot be read: {reason}", file=self._path, hint="give the path of a file") from None
        name = "stdin" if self._path == "-" else self._path
        if _is_one(content):
            yield [FailureMessage(name, content)]
            return
        lines = enumerate(content.splitlines(), 1)
        yield from _in_tens(FailureMessage(f"{name}:{number}", line) for number, line in lines if line.strip())


def _is_one(content: bytes) -> bool:
    try:
        msgspec.json.decode(content, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return False
    return True


def _in_tens(messages: Iterable[FailureMessage]) -> Iterator[list[FailureMessage]]:
    group: list[FailureMessage] = []
    for message in messages:
        group.append(message)
        if len(group) == _RECEIVED_MAX:
            yield group
            group = []
    if group:
        yield group


def _client(service: str, region: str | None, profile: str | None, endpoint_url: str | None) -> Any:
    """Make a client with the credentials of this host: the role of `source` is for the tables."""
    try:
        session = Session(profile=profile)
        return session.create_client(service, region_name=region, endpoint_url=endpoint_url, config=_CONFIG)
    except (BotoCoreError, ValueError) as error:
        raise WorldError(f"{service} cannot be used: {error}", hint="check the region and the AWS settings") from error


def _call(operation: Callable[..., Any], attempted: str, **request: Any) -> Any:
    try:
        return operation(**request)
    except (BotoCoreError, ClientError) as error:
        raise WorldError(f"{attempted} failed: {error}", hint="check its name, the region and the rights") from error
