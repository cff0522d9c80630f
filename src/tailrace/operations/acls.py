"""The rights in Kafka that a pipeline needs, and no more: made from the file alone, in three ways to write them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Final, Literal, get_args

import msgspec

from tailrace.config import AnyLoaded, KafkaProperties, LoadedLakeFile, Pipeline
from tailrace.config.secrets import MASK
from tailrace.config.source import is_pattern
from tailrace.errors import FileError
from tailrace.kafka import login, msk_iam

Form = Literal["kafka-acls", "strimzi", "confluent"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)

Resource = Literal["topic", "group", "transactional-id"]

PLACEHOLDER: Final = "NAME"
"""Stands for a user whose name the file does not show."""

_OWN: Final = ("Read", "Write", "Create", "DescribeConfigs")
"""On every topic. Read and Write bring Describe. Read: checkpoints, `status`, `tail`, `verify`, snapshots' windows."""
_GROUP: Final = ("Read",)
_TRANSACTIONAL_ID: Final = ("Write",)


class Acl(msgspec.Struct, frozen=True):
    """What the user may do with a resource, or with all whose names begin so."""

    resource: Resource
    name: str
    is_prefix: bool
    operations: tuple[str, ...]

    @property
    def pattern_type(self) -> str:
        """What Kafka calls it."""
        return "prefixed" if self.is_prefix else "literal"


def acls_of(pipeline: Pipeline) -> tuple[Acl, ...]:
    """Return the least rights for the workers, the Lambda function and every command but `rescale`."""
    topics = {pipeline.checkpoints_topic: False, pipeline.dead_letters_topic: False}
    for topic, is_prefix in _topics_of_tables(pipeline).items():
        topics[topic] = topics.get(topic, False) or is_prefix
    return (
        *(Acl("topic", name, is_prefix, _OWN) for name, is_prefix in _without_covered(topics)),
        *(Acl("group", name, False, _GROUP) for name in (pipeline.name, f"{pipeline.name}.snapshot")),
        Acl("transactional-id", f"{pipeline.name}.", True, _TRANSACTIONAL_ID),
    )


def _topics_of_tables(pipeline: Pipeline) -> dict[str, bool]:
    """Return the topics of the tables, or what the names of several begin with (True)."""
    topics: dict[str, bool] = {}
    source = pipeline.source
    entries = [entry for entry in source.tables_read if source.publishes(entry.text) or entry.is_pattern]
    names = source.tables_published if source.carries_tables else tuple(entry.text for entry in entries)
    for table in names or ("*",):
        for topic, is_prefix in _topics_of(pipeline, table).items():
            topics[topic] = topics.get(topic, False) or is_prefix
    return topics


def lake_acls_of(loaded: AnyLoaded) -> tuple[Acl, ...]:
    """Return the least rights for `tailrace lake`, whose groups are named after the ids of lakes."""
    if isinstance(loaded, LoadedLakeFile):
        file = loaded.content
        dead_letters = Acl("topic", file.dead_letters_topic, False, ("Write", "Create"))
        name, read = file.name, file.topic_beginnings()
        own: tuple[Acl, ...] = (dead_letters,)
    else:
        pipeline = loaded.pipeline
        name, read = pipeline.name, _topics_of_tables(pipeline)
        own = (
            Acl("topic", pipeline.checkpoints_topic, False, ("Describe",)),
            Acl("topic", pipeline.dead_letters_topic, False, ("Write",)),
        )
    return (
        *own,
        *(Acl("topic", topic, is_prefix, ("Read",)) for topic, is_prefix in _without_covered(dict(read))),
        Acl("group", f"{name}.lake-", True, ("Read",)),
    )


def write(kafka: KafkaProperties, acls: Sequence[Acl], form: Form, place: str, principal: str | None = None) -> str:
    """Return the rights as text: `kafka-acls` commands, a Strimzi KafkaUser, or Terraform for Confluent Cloud.

    `place` is that of `kafka.sasl.mechanism` in the file. `principal` is the user as Kafka knows it, `User:…`; by
    default the `sasl.username` of the file. Raises FileError when the cluster has no ACLs for it.
    """
    if login.mechanism(kafka) == msk_iam.MECHANISM:
        raise FileError(
            "is AWS_MSK_IAM, for which IAM policies take the place of ACLs",
            path=place,
            hint="the command iam prints one",
        )
    name = kafka.shown().get("sasl.username", MASK)
    user = principal or f"User:{PLACEHOLDER if MASK in name else name}"
    writer = {"kafka-acls": _commands, "strimzi": _strimzi, "confluent": _confluent}[form]
    return "\n".join(writer(kafka, acls, user))


def _topics_of(pipeline: Pipeline, table: str) -> dict[str, bool]:
    """Return the topics of a table, or for a pattern what their names begin with (True)."""
    is_open = is_pattern(table) or (
        pipeline.parts_streams and any(entry.is_pattern for entry in pipeline.source.tables_read)
    )
    return pipeline.topic_beginnings(table) if is_open else dict.fromkeys(pipeline.topics_of(table), False)


def _without_covered(topics: dict[str, bool]) -> Iterator[tuple[str, bool]]:
    """Leave out what another prefix covers."""
    prefixes = [name for name, is_prefix in topics.items() if is_prefix]
    for name, is_prefix in topics.items():
        if not any(name.startswith(prefix) and (prefix != name or not is_prefix) for prefix in prefixes):
            yield name, is_prefix


def _commands(kafka: KafkaProperties, acls: Sequence[Acl], user: str) -> Iterator[str]:
    begin = [
        "kafka-acls",
        "--bootstrap-server",
        kafka["bootstrap.servers"],
        "--add",
        "--allow-principal",
        user,
    ]
    for acl in acls:
        operations = [word for operation in acl.operations for word in ("--operation", operation)]
        name = acl.name or "*"
        pattern = acl.pattern_type if acl.name else "literal"
        yield shlex.join([*begin, "--resource-pattern-type", pattern, f"--{acl.resource}", name, *operations])


def _strimzi(kafka: KafkaProperties, acls: Sequence[Acl], user: str) -> Iterator[str]:
    yield "apiVersion: kafka.strimzi.io/v1beta2"
    yield "kind: KafkaUser"
    yield "metadata:"
    yield f"  name: {json.dumps(user.removeprefix('User:').removeprefix('CN='))}"
    yield "  labels:"
    yield "    strimzi.io/cluster: CLUSTER"
    yield "spec:"
    yield "  authentication:"
    yield f"    type: {'tls' if kafka.get('security.protocol', '').lower() == 'ssl' else 'scram-sha-512'}"
    yield "  authorization:"
    yield "    type: simple"
    yield "    acls:"
    for acl in acls:
        kind = "transactionalId" if acl.resource == "transactional-id" else acl.resource
        pattern = "prefix" if acl.is_prefix else "literal"
        yield f"      - resource: {{type: {kind}, name: {json.dumps(acl.name)}, patternType: {pattern}}}"
        yield f"        operations: [{', '.join(acl.operations)}]"


def _confluent(_kafka: KafkaProperties, acls: Sequence[Acl], user: str) -> Iterator[str]:
    """Write one resource for each operation, as the provider wants it.

    Source: https://registry.terraform.io/providers/confluentinc/confluent/latest/docs/resources/confluent_kafka_acl
    """
    yield "# The provider has kafka_id, kafka_rest_endpoint, kafka_api_key and kafka_api_secret of the cluster."
    yield f"# The principal is a service account: {user} must read User:sa-…"
    number = 0
    for acl in acls:
        for operation in acl.operations:
            number += 1
            yield f'resource "confluent_kafka_acl" "tailrace_{number}" {{'
            yield f'  resource_type = "{acl.resource.upper().replace("-", "_")}"'
            yield f"  resource_name = {json.dumps(acl.name or '*')}"
            yield f'  pattern_type  = "{acl.pattern_type.upper()}"'
            yield f"  principal     = {json.dumps(user)}"
            yield '  host          = "*"'
            yield f'  operation     = "{_SCREAMING.get(operation, operation.upper())}"'
            yield '  permission    = "ALLOW"'
            yield "}"


_SCREAMING: Final = {"DescribeConfigs": "DESCRIBE_CONFIGS"}
