"""What every connector's configuration may hold besides its own keys: those of Kafka Connect and of Confluent Cloud.

Sources: https://kafka.apache.org/41/documentation/#sourceconnectconfigs and
https://docs.confluent.io/cloud/current/connectors/configuration-properties.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from tailrace.config.connectors.connector import Draft, Key, meaningless
from tailrace.config.problem import not_one_of
from tailrace.connect.options import ABOUT_RECORDS

_JSON_CONVERTER: Final = "org.apache.kafka.connect.json.JsonConverter"
_BY_FORMAT: Final = {
    "AVRO": "io.confluent.connect.avro.AvroConverter",
    "BYTES": "org.apache.kafka.connect.converters.ByteArrayConverter",
    "JSON": _JSON_CONVERTER,
    "JSON_SR": "io.confluent.connect.json.JsonSchemaConverter",
    "PROTOBUF": "io.confluent.connect.protobuf.ProtobufConverter",
    "STRING": "org.apache.kafka.connect.storage.StringConverter",
}
"""The converter behind each format of Confluent Cloud's."""
_REGISTRY: Final = re.compile(
    r"schema\.registry\.url|basic\.auth\..+|bearer\.auth\..+|schema\.registry\.(ssl|basic)\..+"
)
"""What a client's properties say of the registry, as Confluent Cloud's page of a client writes them."""

_TOPIC_CREATION: Final = re.compile(r"topic\.creation\.default\.(replication\.factor|partitions|(.+))")
_OVERRIDES: Final = re.compile(r"(producer|consumer|admin)\.override\.(.+)")

_CONNECTOR: Final = "there is no Connect worker"
_CLOUD: Final = "it is about Confluent Cloud's own worker"

KEYS: Final = (
    Key("name", "STRING", "`name`", required=True, importance="HIGH"),
    Key("connector.class", "STRING", "the kind of `source`", required=True, importance="HIGH"),
    meaningless("tasks.max", "INT", "it limits nothing: all shards are read, at any number", "1"),
    meaningless("tasks.max.enforce", "BOOLEAN", "there are no tasks to limit", "true"),
    Key("key.converter", "CLASS", "`connect`"),
    Key("value.converter", "CLASS", "`connect`"),
    Key("header.converter", "CLASS", "`connect`"),
    Key("transforms", "LIST", "`connect`"),
    Key("predicates", "LIST", "`connect`"),
    Key("errors.tolerance", "STRING", "`errors`: none stops a shard, all is a dead letter", choices=("none", "all")),
    meaningless("errors.retry.timeout", "LONG", "what may succeed later is tried again for ever", "0"),
    meaningless("errors.retry.delay.max.ms", "LONG", "what may succeed later is tried again for ever", "60000"),
    meaningless("errors.log.enable", "BOOLEAN", "every dead letter is logged", "false"),
    meaningless("errors.log.include.messages", "BOOLEAN", "dead letters hold the record", "false"),
    meaningless("config.action.reload", "STRING", _CONNECTOR, "restart"),
    meaningless("exactly.once.support", "STRING", "Tailrace is always exactly once", "requested"),
    meaningless("transaction.boundary", "STRING", "see `batch`", "poll"),
    meaningless("transaction.boundary.interval.ms", "LONG", "see `batch.linger`"),
    meaningless("offsets.storage.topic", "STRING", "positions are kept in the pipeline's checkpoint topic"),
    meaningless("topic.creation.groups", "LIST", "all topics are made as `topics` says"),
)

CLOUD_KEYS: Final = (
    Key("output.data.format", "STRING", "`connect`: the converter of values", choices=tuple(_BY_FORMAT)),
    Key("output.data.key.format", "STRING", "`connect`: the converter of keys", choices=tuple(_BY_FORMAT)),
    Key("kafka.api.key", "PASSWORD", "`kafka`: `sasl.username`, unless --kafka has a login", importance="HIGH"),
    Key("kafka.api.secret", "PASSWORD", "`kafka`: `sasl.password`", importance="HIGH"),
    meaningless("kafka.auth.mode", "STRING", "log in with --kafka", "KAFKA_API_KEY"),
    meaningless("kafka.service.account.id", "STRING", "log in with --kafka"),
    meaningless("kafka.endpoint", "STRING", "it is in --kafka"),
    meaningless("kafka.region", "STRING", _CLOUD),
    meaningless("kafka.max.partition.validation.disable", "BOOLEAN", _CLOUD),
    meaningless("kafka.max.message.bytes", "INT", _CLOUD),
    meaningless("cloud.environment", "STRING", _CLOUD),
    meaningless("cloud.provider", "STRING", _CLOUD),
    meaningless("auto.restart.on.user.error", "BOOLEAN", "a worker that ends is started again by what runs it", "true"),
    meaningless("schema.context.name", "STRING", "subjects are in the registry's default context", "default"),
    meaningless("max.poll.interval.ms", "LONG", _CLOUD),
    meaningless("max.poll.records", "LONG", _CLOUD),
)


def claims(name: str) -> bool:
    """Return whether a key is one of a family that every connector has: a converter's, a transform's, a topic's."""
    return any(family.fullmatch(name) for family in (ABOUT_RECORDS, _TOPIC_CREATION, _OVERRIDES)) or name.startswith(
        "topic.creation."
    )


def is_of_registry(name: str) -> bool:
    """Return whether a property of a client is about the schema registry, not about Kafka."""
    return bool(_REGISTRY.fullmatch(name))


def put_common(draft: Draft, worker: Mapping[str, str], managed_formats: tuple[str, str] | None) -> None:
    """Set what every connector's keys mean. `worker` is the file given by --kafka, whose converters are the default.

    `managed_formats` are the formats of keys and of values of a connector in Confluent Cloud.
    """
    _put_converters(draft, worker, managed_formats)
    _put_topics(draft)
    tolerance = draft.given("errors.tolerance") or ("none" if managed_formats is None else "all")
    if tolerance not in {"none", "all"}:
        draft.problem("errors.tolerance", *not_one_of(("none", "all"), tolerance))
    draft.put("fail" if tolerance == "none" else "dead-letter", "errors", key="errors.tolerance")
    for name, value in draft.config.items():
        if match := _OVERRIDES.fullmatch(name):
            draft.put(value, "kafka", match[2], key=name)


def _put_converters(draft: Draft, worker: Mapping[str, str], managed_formats: tuple[str, str] | None) -> None:
    connect = {name: value for name, value in worker.items() if ABOUT_RECORDS.fullmatch(name)}
    connect |= {name: value for name, value in draft.config.items() if ABOUT_RECORDS.fullmatch(name)}
    for index, part in enumerate(("key", "value")):
        name = f"{part}.converter"
        if managed_formats is not None:
            key = ("output.data.key.format", "output.data.format")[index]
            chosen = draft.choice(key) or managed_formats[index]
            connect[name] = _BY_FORMAT[chosen]
            if chosen == "JSON":
                connect.setdefault(f"{name}.schemas.enable", "false")
        connect.setdefault(name, _JSON_CONVERTER)
        if connect[name].startswith("io.confluent."):
            for setting in filter(is_of_registry, worker):
                connect.setdefault(f"{name}.{setting}", worker[setting])
    for name, value in connect.items():
        draft.put(value, "connect", name, key=name)


def _put_topics(draft: Draft) -> None:
    for name in draft.config:
        match = _TOPIC_CREATION.fullmatch(name)
        if match is None:
            if name.startswith("topic.creation.") and name != "topic.creation.groups":
                draft.note(name, "all topics are made as `topics` says")
            continue
        value = draft.given(name)
        if match[2] is not None:
            draft.put(value, "topics", "properties", match[2], key=name)
        elif value is not None and value.lstrip("-").isdecimal():
            number = int(value)
            field = "partitions" if match[1] == "partitions" else "replication"
            if number > 0:
                draft.put(number, "topics", field, key=name)
        else:
            draft.problem(name, "must be a whole number")
