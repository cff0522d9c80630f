"""Confluent Cloud's DynamoDB CDC source connector.

Source: https://docs.confluent.io/cloud/current/connectors/cc-amazon-dynamodb-cdc-source/cc-amazon-dynamodb-cdc-source.html
"""

from __future__ import annotations

from typing import Final

from tailrace.config.connectors.aws_keys import credentials, put_credentials, put_endpoint, refuse_integration
from tailrace.config.connectors.connector import Connector, Draft, Key, meaningless

_ACCESS_KEY, _SECRET_KEY = "aws.access.key.id", "aws.secret.access.key"
_ENDPOINT, _TAGGING = "dynamodb.service.endpoint", "aws.resource.tagging.endpoint"
_MODE, _TABLES, _TAGS = (
    "dynamodb.table.discovery.mode",
    "dynamodb.table.includelist",
    "dynamodb.table.tag.filters",
)
_SYNC: Final = "dynamodb.table.sync.mode"
_SHARE: Final = "dynamodb.snapshot.max.rcu.percentage"
_POSITION: Final = "dynamodb.cdc.initial.stream.position"
_TIME, _TIME_FORMAT = "cdc.start.position.timestamp", "cdc.start.position.timestamp.format"
_CONTENT, _DECIMALS = "document.content.format", "decimal.handling.mode"
_LEASES: Final = "there are no lease tables"


def _build(draft: Draft) -> None:
    draft.put("dynamodb-streams", "source", "type", key="connector.class")
    refuse_integration(draft)
    put_credentials(draft, _ACCESS_KEY, _SECRET_KEY)
    draft.put(draft.given("aws.region"), "source", "region", key="aws.region")
    put_endpoint(draft, _ENDPOINT, "source", "endpoint_url")
    put_endpoint(draft, _TAGGING, "source", "tagging_endpoint_url")
    mode = draft.choice(_MODE)
    if mode == "TAG":
        _put_tags(draft)
    elif mode == "INCLUDELIST":
        tables = draft.items(_TABLES)
        if not tables:
            draft.problem(_TABLES, "is missing", "name the tables, with commas between, or discover them by TAG")
        draft.put(tables, "source", "tables", key=_TABLES)
    _put_sync(draft)
    draft.put("{table}", "topic", key="connector.class")
    draft.put("confluent-dynamodb", "format", key="connector.class")
    if draft.choice(_CONTENT) == "schema":
        draft.problem(
            _CONTENT,
            "is schema, but here a document is always DynamoDB JSON as text",
            "use json_string; for sinks that need typed columns, write a pipeline file with `format: debezium` and "
            "`schema: {type: connect-json}`",
        )


def _put_tags(draft: Draft) -> None:
    tags: dict[str, list[str] | str] = {}
    for entry in (draft.text(_TAGS) or "").split(";"):
        key, _, values = entry.partition(":")
        if key.strip():
            tags[key.strip()] = [each.strip() for each in values.split(",") if each.strip()] or "*"
    if not tags:
        draft.problem(_TAGS, "is missing", "write e.g. env:prod,staging;team:shop, or list the tables")
    draft.put(tags, "source", "tags", key=_TAGS)


def _put_sync(draft: Draft) -> None:
    mode = draft.choice(_SYNC)
    if mode == "SNAPSHOT":
        draft.problem(
            _SYNC,
            "asks for a copy of the tables without what is written meanwhile, which would not be exact",
            "use SNAPSHOT_CDC; to copy a table once, export it: aws dynamodb export-table-to-point-in-time",
        )
        return
    if mode == "SNAPSHOT_CDC":
        draft.put("initial", "snapshot", "mode", key=_SYNC)
        if (percent := draft.whole(_SHARE, 1, 100)) is not None:
            draft.put(f"{percent}%", "snapshot", "read_capacity", key=_SHARE)
        for key in (_POSITION, _TIME):
            if draft.given(key):
                draft.note(key, "changes are read from when the snapshot began, so that none is missing")
        return
    draft.put("never", "snapshot", key=_SYNC)
    match draft.choice(_POSITION):
        case "TRIM_HORIZON":
            draft.put("trim_horizon", "source", "start", key=_POSITION)
        case "LATEST":
            draft.put("latest", "source", "start", key=_POSITION)
        case "AT_TIMESTAMP":
            draft.problem(
                _POSITION,
                "is AT_TIMESTAMP, which DynamoDB's streams do not have",
                "use TRIM_HORIZON: it begins at the oldest change that the stream holds, at most 24 hours back",
            )


CONNECTOR: Final = Connector(
    "Confluent Cloud's DynamoDB CDC source",
    ("DynamoDbCdcSource",),
    "https://docs.confluent.io/cloud/current/connectors/cc-amazon-dynamodb-cdc-source/cc-amazon-dynamodb-cdc-source.html",
    (
        *credentials(_ACCESS_KEY, _SECRET_KEY),
        Key("authentication.method", "STRING", "`IAM Roles` is refused: that role is Confluent Cloud's", "Access Keys"),
        Key("provider.integration.id", "STRING", "refused: that role is Confluent Cloud's"),
        Key("aws.region", "STRING", "`source.region`"),
        Key(_ENDPOINT, "STRING", "`source.endpoint_url`; of AWS's own, `source.region` alone", importance="HIGH"),
        Key(_TAGGING, "STRING", "`source.tagging_endpoint_url`"),
        Key(
            _MODE,
            "STRING",
            "`source.tables` or `source.tags`",
            "INCLUDELIST",
            choices=("INCLUDELIST", "TAG"),
            importance="HIGH",
        ),
        Key(_TABLES, "LIST", "`source.tables`", importance="HIGH"),
        Key(_TAGS, "STRING", "`source.tags`: a table needs all of the keys, each with one of its values"),
        Key(
            _SYNC,
            "STRING",
            "`snapshot`; SNAPSHOT alone is refused",
            "SNAPSHOT_CDC",
            choices=("SNAPSHOT", "CDC", "SNAPSHOT_CDC"),
            importance="HIGH",
        ),
        Key(_SHARE, "INT", "`snapshot.read_capacity`", "50"),
        Key(
            _POSITION,
            "STRING",
            "`source.start`, without a snapshot",
            "TRIM_HORIZON",
            choices=("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"),
        ),
        Key(
            _CONTENT,
            "STRING",
            "documents are text; `schema` is refused",
            "json_string",
            choices=("json_string", "schema"),
        ),
        meaningless(_DECIMALS, "STRING", "a document has DynamoDB's own numbers, as text", "precise"),
        meaningless(_TIME, "STRING", "DynamoDB's streams have no position by time"),
        meaningless(_TIME_FORMAT, "STRING", "DynamoDB's streams have no position by time"),
        meaningless(
            "dynamodb.snapshot.max.poll.records", "INT", "pages have the size that DynamoDB gives them", "1000"
        ),
        meaningless("dynamodb.cdc.max.poll.records", "INT", "pages have the size that DynamoDB gives them", "5000"),
        meaningless("dynamodb.cdc.checkpointing.table.prefix", "STRING", _LEASES, "connect-KCL-"),
        meaningless("dynamodb.cdc.table.billing.mode", "STRING", _LEASES, "PROVISIONED"),
        meaningless("dynamodb.cdc.checkpointing.table.read.capacity", "INT", _LEASES, "50"),
        meaningless("dynamodb.cdc.checkpointing.table.write.capacity", "INT", _LEASES, "50"),
        meaningless("max.batch.size", "INT", "see `batch.changes`", "1000"),
        meaningless("poll.linger.ms", "LONG", "see `batch.linger`", "5000"),
    ),
    _build,
    managed_formats=("JSON", "JSON_SR"),
)
