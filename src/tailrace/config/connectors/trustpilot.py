"""Trustpilot's DynamoDB source connector.

Source: https://github.com/trustpilot/kafka-connect-dynamodb/blob/master/docs/options.md
"""

from __future__ import annotations

import json
from typing import Final

from tailrace.config.connectors.aws_keys import credentials, put_credentials, put_endpoint
from tailrace.config.connectors.connector import Connector, Draft, Key, meaningless

_ACCESS_KEY, _SECRET_KEY = "aws.access.key.id", "aws.secret.key"
_INGESTION, _ENVIRONMENT, _VALUE = (
    "dynamodb.table.ingestion.tag.key",
    "dynamodb.table.env.tag.key",
    "dynamodb.table.env.tag.value",
)
_WHITELIST, _MAP, _PREFIX = "dynamodb.table.whitelist", "kafka.topic.map", "kafka.topic.prefix"
_REDISCOVERY: Final = "connect.dynamodb.rediscovery.period"
_INTERVAL_MS: Final = (1_000, 3_600_000)


def _build(draft: Draft) -> None:
    draft.put("dynamodb-streams", "source", "type", key="connector.class")
    draft.put(draft.text("aws.region"), "source", "region", key="aws.region")
    put_credentials(draft, _ACCESS_KEY, _SECRET_KEY)
    draft.put(draft.given("aws.assume.role.arn"), "source", "role_arn", key="aws.assume.role.arn")
    put_endpoint(draft, "dynamodb.service.endpoint", "source", "endpoint_url")
    put_endpoint(draft, "resource.tagging.service.endpoint", "source", "tagging_endpoint_url")
    if tables := draft.items(_WHITELIST):
        draft.put(tables, "source", "tables", key=_WHITELIST)
    else:
        tags = {draft.text(_INGESTION): "*", draft.text(_ENVIRONMENT): draft.text(_VALUE)}
        draft.put(tags, "source", "tags", key=_INGESTION)
        draft.names["source", "tags", str(draft.text(_ENVIRONMENT))] = _VALUE
    if (period_ms := draft.whole(_REDISCOVERY, *_INTERVAL_MS)) is not None:
        draft.put(f"{period_ms}ms", "source", "discovery", "interval", key=_REDISCOVERY)
    draft.put("initial", "snapshot", key="connector.class")
    draft.put("trustpilot", "format", key="connector.class")
    _put_topics(draft)


def _put_topics(draft: Draft) -> None:
    prefix = draft.text(_PREFIX)
    draft.put(f"{prefix}{{table}}", "topic", key=_PREFIX)
    mapped = draft.given(_MAP)
    if mapped is None:
        return
    try:
        names = json.loads(mapped)
    except ValueError:
        names = None
    if not isinstance(names, dict) or not all(isinstance(each, str) for each in names.values()):
        draft.problem(_MAP, "is not a JSON object of topics by table", 'write e.g. {"orders": "shop-orders"}')
        return
    draft.put({table: f"{prefix}{name}" for table, name in names.items()}, "topics", "names", key=_MAP)


CONNECTOR: Final = Connector(
    "Trustpilot's DynamoDB source",
    ("com.trustpilot.connector.dynamodb.DynamoDBSourceConnector", "DynamoDBSourceConnector"),
    "https://github.com/trustpilot/kafka-connect-dynamodb/blob/master/docs/options.md",
    (
        Key("aws.region", "STRING", "`source.region`", "eu-west-1", importance="HIGH"),
        *credentials(_ACCESS_KEY, _SECRET_KEY),
        Key("aws.assume.role.arn", "STRING", "`source.role_arn`"),
        Key(_INGESTION, "STRING", "a key of `source.tags`, with any value", "datalake-ingest", importance="HIGH"),
        Key(_ENVIRONMENT, "STRING", "a key of `source.tags`", "environment", importance="HIGH"),
        Key(_VALUE, "STRING", "the value of that tag", "dev", importance="HIGH"),
        Key(_WHITELIST, "LIST", "`source.tables`, in place of the tags"),
        Key("dynamodb.service.endpoint", "STRING", "`source.endpoint_url`", importance="LOW"),
        Key("resource.tagging.service.endpoint", "STRING", "`source.tagging_endpoint_url`", importance="LOW"),
        Key(_PREFIX, "STRING", "the beginning of `topic`", "dynamodb-", importance="HIGH"),
        Key(_MAP, "STRING", "`topics.names`, each behind the prefix"),
        Key(_REDISCOVERY, "LONG", "`source.discovery.interval`", "60000", importance="LOW"),
        meaningless("kcl.table.billing.mode", "STRING", "there are no lease tables", "PROVISIONED"),
        meaningless("init.sync.delay.period", "INT", "a first load waits for nothing: restarts do not repeat it", "60"),
    ),
    _build,
)
