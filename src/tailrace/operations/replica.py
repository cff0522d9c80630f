"""Keeps copies of a pipeline's tables in another account or region, for as long as it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec

from tailrace.aws.errors import AwsKeys
from tailrace.aws.session import AwsSession, AwsSettings
from tailrace.config import LoadedPipeline, Pipeline
from tailrace.config.replica import Replica
from tailrace.config.transform import Step
from tailrace.core.write_rate import WriteRate
from tailrace.errors import FileError, WorldError
from tailrace.formats import FORMATS
from tailrace.kafka import clients, headers, topics
from tailrace.kafka.owner import new_owner
from tailrace.operations import preconditions
from tailrace.operations.progress import OnProgress, Progress, unheard
from tailrace.operations.tail import tables_by_topic
from tailrace.replica.control import KEY, Control
from tailrace.replica.database import CALLS_AT_ONCE, Database
from tailrace.replica.records import Copy, Reading
from tailrace.replica.requests import Versioned
from tailrace.replica.sink import Counts, ReplicaSink
from tailrace.replica.writer import Writer
from tailrace.sinks.dead_letters import SinkDeadLetters
from tailrace.sinks.lag import Lag
from tailrace.sinks.progress import Limits
from tailrace.sinks.runner import connect
from tailrace.sinks.topics import Topics
from tailrace.wiring.pipeline import record_reader
from tailrace.wiring.transformations import Transformations

_LIMITS = Limits(size_bytes=16_000_000, age_ms=200)
_KEYS = AwsKeys(
    region="replica.region",
    profile="replica.profile",
    role_arn="replica.role_arn",
    external_id="replica.external_id",
)


class ReplicaReport(msgspec.Struct, frozen=True):
    """What this process wrote."""

    tables: Mapping[str, Counts]
    """By the table that was copied."""
    at_end: bool
    """Whether the copies have all that the topics held when it began, whichever process wrote it."""
    throttled: int
    """How often DynamoDB throttled a write."""
    fenced: int
    """How often another process had claimed a partition that this one wrote."""


class Replicator:
    """One process that writes the copies of a pipeline."""

    def __init__(self, loaded: LoadedPipeline, *, once: bool) -> None:
        """Find the topics and the copies; the control table is made if there is none.

        `once` ends when the copies have all that the topics hold now. Raises TailraceError.
        """
        pipeline = loaded.pipeline
        replica = require_replica(loaded)
        preconditions.require_pipeline(pipeline)
        with loaded.telling("replica"):
            self._database = open_database(replica)
            name = replica.control_table_of(pipeline.name)
            self._database.make_table(name, KEY)
            control = Control(self._database, name)
            cluster = topics.describe(clients.admin(pipeline.kafka), pipeline.kafka)
            identity = control.found(_definition(pipeline, replica, cluster.id))
        owner, kafka_topics = new_owner(), Topics(pipeline.kafka)
        table_of = copied_tables(pipeline, replica)
        transformations = Transformations(pipeline, _steps(replica), "replica.transform")
        self._pool = ThreadPoolExecutor(CALLS_AT_ONCE)
        self.writer = Writer(
            self._database.carry_out, self._pool, CALLS_AT_ONCE, WriteRate(replica.write_capacity, _monotonic_ms())
        )
        self.sink = ReplicaSink(
            control,
            self.writer,
            Reading(FORMATS[pipeline.format.type], record_reader(pipeline), transformations.of),
            identity=identity,
            copy_of=lambda topic: _checked(self._copy_of(replica, table_of(topic) or topic), replica, transformations),
            partitions_of=lambda topic: len(kafka_topics.find(topic.__eq__)),
            set_aside=SinkDeadLetters(
                pipeline.kafka,
                pipeline.dead_letters_topic,
                owner,
                {headers.CONNECTOR_CLASS: "tailrace-replica"},
            ),
            versioned=Versioned(replica.version_attribute, replica.keep_deleted_ms)
            if replica.write == "version"
            else None,
        )
        self.runner = connect(
            pipeline.kafka,
            self.sink,
            lambda topic: table_of(topic) is not None,
            _LIMITS,
            group=f"{pipeline.name}.replica-{identity}",
            client_id=owner,
            until_end=once,
            delay_ms=replica.delay_ms,
        )
        self.lag = Lag(self.runner, kafka_topics)

    def run(self, stopped: Callable[[], bool], progress: OnProgress = unheard) -> ReplicaReport:
        """Write until `stopped`, or to the end. `progress` hears of committed records. Raises WorldError."""

        def on_step() -> None:
            progress(Progress("records", sum(each.records for each in self.runner.totals.values())))
            self.lag.measure()

        try:
            self.runner.run(stopped, on_step)
        finally:
            self.close()
        return ReplicaReport(self.sink.counts, self.runner.is_at_end, self.writer.throttled, self.runner.fenced)

    def close(self) -> None:
        """Close connections and threads, if it is not run."""
        self._pool.shutdown()
        self._database.close()

    def _copy_of(self, replica: Replica, table: str) -> Copy:
        return self._database.copy_of(table, replica.target_of(table) or table)


def require_replica(loaded: LoadedPipeline) -> Replica:
    """Return the replica of a pipeline. Raises FileError when its file has none."""
    replica = loaded.pipeline.replica
    if replica is None:
        raise FileError(
            "the pipeline has no `replica`",
            file=loaded.file,
            hint='add e.g. `replica: {region: eu-west-1, tables: "{table}-dr"}`',
        )
    return replica


def open_database(replica: Replica) -> Database:
    """Return the DynamoDB of the copies. Raises WorldError."""
    settings = AwsSettings(
        region=replica.region,
        endpoint_url=replica.endpoint_url,
        profile=replica.profile,
        role_arn=replica.role_arn,
        external_id=replica.external_id.get_secret_value() if replica.external_id else None,
        keys=_KEYS,
    )
    return Database(AwsSession(settings))


def copied_tables(pipeline: Pipeline, replica: Replica) -> Callable[[str], str | None]:
    """Return what tells the table of a topic that has a copy."""
    found = tables_by_topic(pipeline)

    def table_of(topic: str) -> str | None:
        table = found(topic)
        return table if table is not None and replica.target_of(table) is not None else None

    return table_of


def _steps(replica: Replica) -> tuple[Step, ...]:
    """Return the steps of the copies: the filter first."""
    return (*([Step(filter=replica.filter)] if replica.filter else []), *replica.transform)


def _definition(pipeline: Pipeline, replica: Replica, cluster_id: str) -> Mapping[str, str]:
    """Return what must never change: the same items would have two orders."""
    found = {"pipeline": pipeline.name, "Kafka cluster": cluster_id, "write": replica.write}
    return found | ({"version_attribute": replica.version_attribute} if replica.write == "version" else {})


def _checked(copy: Copy, replica: Replica, transformations: Transformations) -> Copy:
    """Raise WorldError when a copy cannot be kept safely."""
    transformation = transformations.of(copy.table)
    if transformation is not None and not transformation.keeps_keys(list(copy.key_types)):
        raise WorldError(
            f"replica.transform may change the key of {copy.table}", hint="let it leave key attributes alone"
        )
    if replica.write != "version":
        return copy
    if replica.version_attribute in {*copy.key_types, copy.ttl_attribute}:
        raise WorldError(
            f"{copy.name} has another use for the attribute {replica.version_attribute}",
            hint="choose another replica.version_attribute",
        )
    if copy.ttl_attribute is None or copy.ttl_attribute in copy.key_types:
        raise WorldError(
            f"{copy.name} has no Time to Live that its keys leave alone, so what is kept of deleted items would stay "
            "for good",
            hint="switch Time to Live on, with any attribute, e.g. `aws dynamodb update-time-to-live --table-name "
            f"{copy.name} --time-to-live-specification Enabled=true,AttributeName=tailrace_expires`",
        )
    return copy


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
