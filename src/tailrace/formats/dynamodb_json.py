"""The record as AWS sends it to Lambda, in DynamoDB JSON: code written for a Lambda trigger reads it unchanged.

Source: https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
"""

from __future__ import annotations

from typing import Final

import msgspec

from tailrace.core.change import Change, Message, Op
from tailrace.formats.attribute_value import sorted_image
from tailrace.formats.keys import message_key
from tailrace.formats.number import Numbers

_EVENT_NAMES: Final[dict[Op, str]] = {"c": "INSERT", "u": "MODIFY", "d": "REMOVE", "r": "INSERT"}
"""A row read by a snapshot is an INSERT: the only name under which such code takes an item that is there."""
_TIME_TO_LIVE: Final = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}

_encode = msgspec.json.Encoder().encode


class DynamoDBJsonFormat:
    """Makes a record of a Lambda event; names are sorted in it, so that every source gives the same bytes."""

    def __init__(self, *, pipeline: str, numbers: Numbers) -> None:
        del pipeline  # AWS's record has no place for it
        self._numbers = numbers

    def encode(self, change: Change, now_ns: int) -> Message:
        """Return the record. The message key is plain JSON, as in every format."""
        del now_ns  # nor for when it was processed
        stream_record: dict[str, object] = {
            "ApproximateCreationDateTime": msgspec.Raw(_seconds(change.created_ms)),
            "Keys": msgspec.Raw(sorted_image(change.keys)),
        }
        if change.after is not None:
            stream_record["NewImage"] = msgspec.Raw(sorted_image(change.after))
        if change.before is not None:
            stream_record["OldImage"] = msgspec.Raw(sorted_image(change.before))
        stream_record["SequenceNumber"] = change.sequence
        stream_record["StreamViewType"] = change.view_type
        record: dict[str, object] = {
            "eventID": change.event_id,
            "eventName": _EVENT_NAMES[change.op],
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": change.region,
            "dynamodb": stream_record,
        }
        if change.expired:
            record["userIdentity"] = _TIME_TO_LIVE
        record["eventSourceARN"] = change.stream_arn
        return Message(message_key(change.keys, self._numbers), _encode(record))


def _seconds(milliseconds: int) -> str:
    """Return seconds as DynamoDB writes them, with the milliseconds only when there are any."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds}.{rest:03}" if rest else str(seconds)
