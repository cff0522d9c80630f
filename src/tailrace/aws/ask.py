"""Calls whose answers are small: decoded, and made again when the failure may pass."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from tailrace.aws.errors import RefusedRequestError, Subject, broken
from tailrace.aws.http import AwsClient
from tailrace.aws.pace import Pace
from tailrace.core.ports import ReadError, ReadFailure

_ATTEMPTS_MAX: Final = 3
_BACKOFF_MAX_S: Final = 0.5
"""Longest pause before the second attempt; it doubles for the next."""
_PASSING: Final = {ReadFailure.THROTTLED, ReadFailure.UNAVAILABLE}

_Answer = TypeVar("_Answer")


class Call(NamedTuple):
    """An operation of a service, and what it is about."""

    client: AwsClient
    operation: str
    subject: Subject
    pace: Pace | None = None
    """What spaces out its requests."""


class Page(Protocol):
    """One page of a listing; `last` names where the next one begins."""

    @property
    def last(self) -> str | None:
        """Where the next page begins; None: there is none."""
        ...


_AnswerPage = TypeVar("_AnswerPage", bound=Page)


def ask_pages(
    call: Call, request: dict[str, Any], start_key: str, answer: type[_AnswerPage], sleep: Callable[[float], None]
) -> Iterator[_AnswerPage]:
    """Ask for every page of a listing; `start_key` is the request's field that continues it. Raises `ReadError`."""
    starts: set[str] = set()
    while True:
        page = ask(call, request, answer, sleep)
        yield page
        if page.last is None:
            return
        if page.last in starts:
            raise broken(call.operation, call.subject, f"its pages go round in circles at {page.last}")
        starts.add(page.last)
        request = request | {start_key: page.last}


def ask(call: Call, request: dict[str, Any], answer: type[_Answer], sleep: Callable[[float], None]) -> _Answer:
    """Return the decoded answer; up to three attempts, with pauses. Raises `ReadError`."""
    for attempt in range(1, _ATTEMPTS_MAX):
        try:
            return ask_once(call, request, answer)
        except RefusedRequestError:
            raise
        except ReadError as error:
            if error.failure not in _PASSING:
                raise
        sleep(random.uniform(0, _BACKOFF_MAX_S * 2 ** (attempt - 1)))
    return ask_once(call, request, answer)


def ask_once(call: Call, request: dict[str, Any], answer: type[_Answer]) -> _Answer:
    """Return the decoded answer. Raises `ReadError`."""
    payload = msgspec.json.encode(request)
    if call.pace is not None:
        call.pace.wait()
    body = call.client.call(call.operation, payload, call.subject)
    try:
        return msgspec.json.decode(body, type=answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise broken(call.operation, call.subject, str(error)) from error
