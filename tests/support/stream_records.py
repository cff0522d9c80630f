"""Records of DynamoDB Streams, as GetRecords and Lambda's events hold them."""

from __future__ import annotations

from typing import Any


def stream_record(
    number: int, *, sequence: str, created_s: float, keys: dict[str, Any], image: dict[str, Any] | None = None
) -> dict[str, Any]:
    """An insert, event number `number`; without `image` the stream shows keys only."""
    images = {} if image is None else {"NewImage": image}
    return {
        "eventID": f"{number:032x}",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": created_s,
            "Keys": keys,
            **images,
            "SequenceNumber": sequence,
            "SizeBytes": 20,
            "StreamViewType": "KEYS_ONLY" if image is None else "NEW_AND_OLD_IMAGES",
        },
    }
