"""How an invocation ended, and what that means for its batch.

Source: https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html and
https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-windows.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tailrace_simulator.event_source.mapping import EventSourceMapping


class Answered(msgspec.Struct, frozen=True, tag=True):
    """The function returned; `payload` is its answer, JSON."""

    payload: bytes
    request_id: str = ""


class Errored(msgspec.Struct, frozen=True, tag=True):
    """The function was invoked and failed: it raised, ended, ran out of time or answered too much."""

    error_type: str
    message: str = ""
    request_id: str = ""


class NotInvoked(msgspec.Struct, frozen=True, tag=True):
    """The batch did not reach the function: throttled, or a failure of the service."""

    reason: str = ""
    request_id: str = ""


class Unknown(msgspec.Struct, frozen=True, tag=True):
    """Nobody knows: no answer came, and the function may still run."""

    request_id: str = ""


Outcome = Answered | Errored | NotInvoked | Unknown


class Verdict(msgspec.Struct, frozen=True):
    """What a batch's invocation came to. `failed_from`: the first record to send again; None: all is done."""

    failed_from: int | None
    is_whole_failure: bool = False
    """The invocation failed, and told nothing about single records."""
    state: bytes = b"{}"
    """The window's state that was returned, JSON."""


FAILURE = Verdict(failed_from=0, is_whole_failure=True)


def judge(payload: bytes, sequences: Sequence[str], mapping: EventSourceMapping) -> Verdict:
    """Read a function's answer to a batch with these sequence numbers.

    A window needs a `state`, an object. Failures are looked at only if the mapping reports them; the lowest sequence
    number counts. An identifier that is empty, null, missing or not of this batch makes the whole batch fail.
    """
    if not mapping.tumbling_window_s and not mapping.report_batch_item_failures:
        return Verdict(None)
    try:
        answer: Any = msgspec.json.decode(payload or b"null")
    except msgspec.DecodeError:
        return FAILURE
    fields: dict[str, Any] = answer if isinstance(answer, dict) else {}
    state = fields.get("state")
    if mapping.tumbling_window_s and not isinstance(state, dict):
        return FAILURE
    failures = fields.get("batchItemFailures") if mapping.report_batch_item_failures else None
    places = {sequence: place for place, sequence in enumerate(sequences)}
    if failures and not _are_places(failures, places):
        return FAILURE
    failed_from = min(places[each["itemIdentifier"]] for each in failures) if failures else None
    return Verdict(failed_from, state=msgspec.json.encode(state))


def _are_places(failures: object, places: dict[str, int]) -> bool:
    """Return whether these are the failures of records of the batch."""
    return isinstance(failures, list) and all(
        isinstance(each, dict) and each.get("itemIdentifier") in places for each in failures
    )
