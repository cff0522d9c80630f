"""An error as AWS answers it: AWS's name, a sentence, an HTTP status.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

_NAMESPACE: Final = "com.amazonaws.dynamodb.v20120810"
_NAMESPACES: Final = {
    "ValidationException": "com.amazon.coral.validate",
    "SerializationException": "com.amazon.coral.service",
    "UnknownOperationException": "com.amazon.coral.service",
    "AccessDeniedException": "com.amazon.coral.service",
    "ExpiredTokenException": "com.amazon.coral.service",
    "MissingAuthenticationTokenException": "com.amazon.coral.service",
    "ThrottlingException": "com.amazon.coral.availability",
}


class AwsError(Exception):
    """A request that is refused; `fields` are further fields of the answer."""

    def __init__(self, code: str, message: str, *, status: int = 400, fields: dict[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.fields = fields or {}

    def body(self, *, is_dynamodb: bool = True) -> bytes:
        """Return the answer's body; DynamoDB names an error with its namespace, Kinesis without."""
        kind = f"{_NAMESPACES.get(self.code, _NAMESPACE)}#{self.code}" if is_dynamodb else self.code
        return msgspec.json.encode({"__type": kind, "message": self.message} | self.fields)


def invalid(message: str) -> AwsError:
    """Return the error for a request that says something impossible."""
    return AwsError("ValidationException", message)


def invalid_parameter(message: str) -> AwsError:
    """Return the error for parameters that do not go together, or not with the table."""
    return invalid(f"One or more parameter values were invalid: {message}")


def not_found(message: str) -> AwsError:
    """Return the error for a table, stream or shard that is not there."""
    return AwsError("ResourceNotFoundException", message)
