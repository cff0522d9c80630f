"""Confluent's Kinesis source connectors: the managed one of Confluent Cloud, and the self-managed one.

Sources: https://docs.confluent.io/cloud/current/connectors/cc-kinesis-source.html and
https://docs.confluent.io/kafka-connectors/kinesis/current/kinesis_source_connector_config.html
"""

from __future__ import annotations

from typing import Final

from tailrace.config.connectors.aws_keys import credentials, put_credentials, put_endpoint, refuse_integration
from tailrace.config.connectors.connector import Connector, Draft, Key, meaningless

_ACCESS_KEY, _SECRET_KEY = "aws.access.key.id", "aws.secret.key.id"
_TOPIC, _STREAM, _REGION = "kafka.topic", "kinesis.stream", "kinesis.region"
_POSITION, _TIMESTAMP = "kinesis.position", "kinesis.shard.timestamp"
_SHARDS, _URL, _PROXY = "kinesis.shard.id", "kinesis.base.url", "kinesis.proxy.url"
_PROVIDER: Final = "kinesis.credentials.provider.class"
_CHAIN: Final = "DefaultAWSCredentialsProviderChain"
_DEAGGREGATE: Final = "kinesis.record.deaggregation.enable"
_PAGES: Final = "a read asks for what a shard's limits allow"


def _build(draft: Draft) -> None:
    draft.put("kinesis", "source", "type", key="connector.class")
    put_credentials(draft, _ACCESS_KEY, _SECRET_KEY)
    region = draft.text(_REGION)
    draft.put(region and region.lower().replace("_", "-"), "source", "region", key=_REGION)
    stream = draft.text(_STREAM)
    draft.put(stream and [stream], "source", "streams", key=_STREAM)
    draft.put("raw", "source", "records", key="connector.class")
    _put_start(draft)
    draft.put(draft.text(_TOPIC), "topic", key=_TOPIC)
    wanted = (draft.text(_DEAGGREGATE) or "").lower()
    if wanted not in {"true", "false"}:
        draft.problem(_DEAGGREGATE, "must be true or false")
    draft.put(wanted == "true", "source", "deaggregate", key=_DEAGGREGATE)


def _put_start(draft: Draft) -> None:
    position = draft.choice(_POSITION)
    if position != "AT_TIMESTAMP":
        draft.put(position and position.lower(), "source", "start", key=_POSITION)
        if draft.given(_TIMESTAMP):
            draft.note(_TIMESTAMP, f"it counts only with `{_POSITION}` AT_TIMESTAMP")
        return
    moment = draft.given(_TIMESTAMP)
    if moment is None:
        draft.problem(_TIMESTAMP, "is missing", "write 2026-01-31T12:00:00.000Z, or milliseconds since the epoch")
        return
    draft.put(int(moment) if moment.isdecimal() else moment, "source", "start", key=_TIMESTAMP)


def _build_managed(draft: Draft) -> None:
    refuse_integration(draft)
    _build(draft)


def _build_self_managed(draft: Draft) -> None:
    _build(draft)
    put_endpoint(draft, _URL, "source", "endpoint_url")
    if draft.text(_SHARDS) != ".*":
        draft.problem(
            _SHARDS, "picks some of the shards", "leave it out: all shards of the stream are read, at any number"
        )
    provider = draft.text(_PROVIDER) or ""
    if provider.rpartition(".")[2] != _CHAIN:
        draft.problem(_PROVIDER, f"is {provider}, which only Java can load", "use source.role_arn or source.profile")
    if draft.given(_PROXY):
        draft.problem(
            _PROXY, "is not read from the file", "set HTTPS_PROXY in the environment, with its user and password"
        )
    draft.put(draft.given("aws.assume.role.arn"), "source", "role_arn", key="aws.assume.role.arn")


_KEYS: Final = (
    *credentials(_ACCESS_KEY, _SECRET_KEY),
    Key(_TOPIC, "STRING", "`topic`", required=True, importance="HIGH"),
    Key(_STREAM, "STRING", "`source.streams`", required=True, importance="HIGH"),
    Key(_REGION, "STRING", "`source.region`", "us-east-1", importance="HIGH"),
    Key(
        _POSITION,
        "STRING",
        "`source.start`",
        "TRIM_HORIZON",
        choices=("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"),
    ),
    Key(_TIMESTAMP, "STRING", "`source.start`, with the position AT_TIMESTAMP"),
    Key(_DEAGGREGATE, "BOOLEAN", "`source.deaggregate`", "false"),
    meaningless("kinesis.record.limit", "INT", _PAGES, "500"),
    meaningless("kinesis.empty.records.backoff.ms", "LONG", "quiet shards are read at most once a second", "5000"),
    meaningless("kinesis.throughput.exceeded.backoff.ms", "LONG", "throttling is answered adaptively", "10000"),
)

MANAGED: Final = Connector(
    "Confluent Cloud's Kinesis source",
    ("KinesisSource",),
    "https://docs.confluent.io/cloud/current/connectors/cc-kinesis-source.html",
    (
        *_KEYS,
        Key("authentication.method", "STRING", "`IAM Roles` is refused: that role is Confluent Cloud's", "Access Keys"),
        Key("provider.integration.id", "STRING", "refused: that role is Confluent Cloud's"),
    ),
    _build_managed,
    managed_formats=("STRING", "BYTES"),
)

SELF_MANAGED: Final = Connector(
    "Confluent's self-managed Kinesis source",
    ("io.confluent.connect.kinesis.KinesisSourceConnector",),
    "https://docs.confluent.io/kafka-connectors/kinesis/current/kinesis_source_connector_config.html",
    (
        *_KEYS,
        Key(_SHARDS, "STRING", "all shards are read; another pattern is refused", ".*"),
        Key(_URL, "STRING", "`source.endpoint_url`"),
        Key("aws.assume.role.arn", "STRING", "`source.role_arn`"),
        Key(
            _PROVIDER,
            "CLASS",
            "the default chain; another provider is refused",
            f"com.amazonaws.auth.{_CHAIN}",
        ),
        Key(_PROXY, "STRING", "refused: set HTTPS_PROXY", importance="LOW"),
        meaningless("kinesis.proxy.username", "STRING", "set HTTPS_PROXY"),
        meaningless("kinesis.proxy.password", "PASSWORD", "set HTTPS_PROXY"),
        meaningless("kinesis.non.proxy.hosts", "LIST", "set NO_PROXY"),
        meaningless("shard.ids", "LIST", "the connector writes it for its own tasks"),
        meaningless("confluent.license", "PASSWORD", "no license is needed"),
        meaningless("confluent.topic", "STRING", "no license is needed", "_confluent-command"),
        meaningless("confluent.topic.bootstrap.servers", "LIST", "no license is needed"),
        meaningless("confluent.topic.replication.factor", "INT", "no license is needed", "3"),
    ),
    _build_self_managed,
)
