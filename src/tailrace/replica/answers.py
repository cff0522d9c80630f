"""What the answers to requests mean: done, older than what is there, refused for good, or to be asked again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

import msgspec

from tailrace.aws.errors import RefusedRequestError

_CONDITION: Final = "ConditionalCheckFailed"
_PASSING: Final = frozenset({"TransactionConflict", "TransactionInProgress", "ReplicatedWriteConflict"})
_THROTTLED: Final = frozenset({"ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"})
_SUFFIX: Final = "Exception"


class Verdict(Enum):
    """What became of a request."""

    WRITTEN = "written"
    CONDITION = "condition"
    """Its condition does not hold: an item is newer, or the position has moved."""
    REFUSED = "refused"
    """It is never taken."""
    AGAIN = "again"
    """Not carried out; it may be later."""
    THROTTLED = "throttled"


class Reason(msgspec.Struct, rename="pascal"):
    """Why an action of a transaction stands in its way; `None` as text: it does not."""

    code: str = "None"
    message: str = ""


class _Cancelled(msgspec.Struct, rename="pascal"):
    cancellation_reasons: list[Reason] = []


class _Capacity(msgspec.Struct, rename="pascal"):
    capacity_units: float = 0.0


class _Written(msgspec.Struct, rename="pascal"):
    consumed_capacity: _Capacity | list[_Capacity] | None = None


class Answer(NamedTuple):
    """What became of a request."""

    verdict: Verdict
    text: str = ""
    """Why it was refused."""
    reasons: Sequence[Reason] = ()
    """Of a transaction, one for each of its actions."""
    units: float | None = None
    """Write capacity units that it took; None: nobody says."""


def written(body: bytes) -> Answer:
    """Read the answer to a request that was carried out."""
    try:
        found = msgspec.json.decode(body, type=_Written).consumed_capacity
    except msgspec.DecodeError:
        return Answer(Verdict.WRITTEN)
    if found is None:
        return Answer(Verdict.WRITTEN)
    parts = found if isinstance(found, list) else [found]
    return Answer(Verdict.WRITTEN, units=sum(each.capacity_units for each in parts))


def refused(error: RefusedRequestError) -> Answer:
    """Read the answer to a request that was not carried out."""
    code = error.code.removesuffix(_SUFFIX)
    if code == _CONDITION:
        return Answer(Verdict.CONDITION)
    if code in _PASSING:
        return Answer(Verdict.AGAIN, error.message)
    if code == "TransactionCanceled":
        return _cancelled(error)
    return Answer(Verdict.REFUSED, error.message)


def _cancelled(error: RefusedRequestError) -> Answer:
    try:
        body: Any = msgspec.json.decode(error.body, type=_Cancelled)
        reasons = body.cancellation_reasons
    except msgspec.DecodeError:
        return Answer(Verdict.REFUSED, error.message)
    codes = {each.code for each in reasons}
    if _CONDITION in codes:
        return Answer(Verdict.CONDITION, reasons=reasons)
    if codes & _THROTTLED:
        return Answer(Verdict.THROTTLED, error.message)
    if codes & _PASSING:
        return Answer(Verdict.AGAIN, error.message)
    return Answer(Verdict.REFUSED, error.message, reasons)
