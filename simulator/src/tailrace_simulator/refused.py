"""What a call that is not carried out is answered, by the fault that it meets and the service. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from tailrace_simulator.aws_error import AwsError
from tailrace_simulator.faults import KINESIS_OPERATIONS, PUTS, STREAM_OPERATIONS, Decision, Fault

_EXCEEDED: Final = "ProvisionedThroughputExceededException"
_OF_SHARDS: Final = PUTS | {"kinesis:GetRecords", "kinesis:GetShardIterator"}
"""Operations of Kinesis that are limited for each shard; the others are for the account."""


def refusal_of(operation: str, decision: Decision) -> AwsError | None:
    """Return the error of a call that is refused; None for one that is carried out."""
    for fault, make in _MAKERS.items():
        if fault in decision.faults:
            return make(operation, decision.random)
    return None


def _server_error(operation: str, _: random.Random) -> AwsError:
    if operation in KINESIS_OPERATIONS:
        return AwsError("InternalFailure", "The request processing has failed because of an unknown error", status=500)
    return AwsError("InternalServerError", "Internal server error", status=500)


def _throttle(operation: str, rng: random.Random) -> AwsError:
    if operation in _OF_SHARDS:
        names: tuple[str, ...] = (_EXCEEDED,)
    elif operation in KINESIS_OPERATIONS:
        names = ("LimitExceededException", "ThrottlingException")
    elif operation in STREAM_OPERATIONS:
        names = ("ThrottlingException", "LimitExceededException", _EXCEEDED)
    else:
        names = (_EXCEEDED, "ThrottlingException", "RequestLimitExceeded")
    return AwsError(rng.choice(names), "Rate exceeded")


def _fixed(code: str, message: str) -> Callable[[str, random.Random], AwsError]:
    return lambda _, __: AwsError(code, message)


_MAKERS: Final[dict[Fault, Callable[[str, random.Random], AwsError]]] = {
    Fault.SERVER_ERROR: _server_error,
    Fault.THROTTLE: _throttle,
    Fault.DENIED: _fixed("AccessDeniedException", "User is not authorized to perform this operation"),
    Fault.NOT_FOUND: _fixed("ResourceNotFoundException", "Requested resource not found"),
    Fault.EXPIRED_TOKEN: _fixed("ExpiredTokenException", "The security token is expired"),
}
