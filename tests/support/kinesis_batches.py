"""Batches of Kinesis streams as AWS Lambda brings them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any


def event(records: Sequence[dict[str, Any]], arn: str, shard_id: str, *, window: bool = True) -> dict[str, Any]:
    """The event of records as boto3's GetRecords gives them."""
    made = [
        {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": each["PartitionKey"],
                "sequenceNumber": each["SequenceNumber"],
                "data": base64.b64encode(each["Data"]).decode(),
                "approximateArrivalTimestamp": each["ApproximateArrivalTimestamp"].timestamp(),
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"{shard_id}:{each['SequenceNumber']}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::123456789012:role/tailrace",
            "awsRegion": arn.split(":")[3],
            "eventSourceARN": arn,
        }
        for each in records
    ]
    if not window:
        return {"Records": made}
    return {
        "Records": made,
        "shardId": shard_id,
        "eventSourceARN": arn,
        "window": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:15:00Z"},
        "state": {},
        "isFinalInvokeForWindow": False,
        "isWindowTerminatedEarly": False,
    }
