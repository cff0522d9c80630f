"""DynamoDB's two services, its tables and their streams, which sign under one name; and the one that lists by tags."""

from __future__ import annotations

from typing import Final

import msgspec

from tailrace.aws.service import Service
from tailrace.core.ports import ReadFailure

STREAMS: Final = Service(
    name="DynamoDB",
    endpoint_name="dynamodbstreams",
    signing_name="dynamodb",
    action_prefix="dynamodb",
    target="DynamoDBStreams_20120810",
    json_version="1.0",
    hints={
        ReadFailure.EXPIRED: "another iterator is needed",
        ReadFailure.TRIMMED: "DynamoDB keeps changes for 24 hours",
        ReadFailure.GONE: "it was deleted, or is older than 24 hours",
        ReadFailure.THROTTLED: "ask less often; at most two readers may share a shard",
    },
)
TABLES: Final = Service(
    name="DynamoDB",
    endpoint_name="dynamodb",
    signing_name="dynamodb",
    action_prefix="dynamodb",
    target="DynamoDB_20120810",
    json_version="1.0",
    hints={
        **STREAMS.hints,
        ReadFailure.THROTTLED: "AWS limits such calls for the whole account: wait, or ask for a higher quota",
        ReadFailure.GONE: "create the table, or correct source.tables, source.region or source.endpoint_url",
    },
)
ITEMS: Final = msgspec.structs.replace(
    TABLES,
    hints={
        **TABLES.hints,
        ReadFailure.THROTTLED: "read less at a time, or give the table more read capacity",
    },
)
"""The same service, where items are read: what is throttled is the table, not the account."""
TAGGING: Final = Service(
    name="Resource Groups Tagging API",
    endpoint_name="resourcegroupstaggingapi",
    signing_name="tagging",
    action_prefix="tag",
    target="ResourceGroupsTaggingAPI_20170126",
    json_version="1.1",
    hints=TABLES.hints,
)
