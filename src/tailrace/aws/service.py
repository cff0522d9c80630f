"""What tells one service of AWS from another when it is called over the JSON protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from tailrace.core.ports import ReadFailure


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One service: how it is addressed, signed for and named in errors."""

    name: str
    """What people call it (`DynamoDB`)."""
    endpoint_name: str
    """What AWS's endpoint rules call it (`dynamodbstreams`)."""
    signing_name: str
    """What requests are signed for (`dynamodb`)."""
    action_prefix: str
    """The prefix of its actions in IAM policies (`dynamodb`)."""
    target: str
    """Prefix of the operation in `X-Amz-Target` (`DynamoDBStreams_20120810`)."""
    json_version: Literal["1.0", "1.1"]
    hints: Mapping[ReadFailure, str]
    """How to fix each failure that its operations can meet, other than DENIED and UNAVAILABLE."""
