"""What `tailrace run` would use and make, and what stands in its way. Nothing is made here."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

import msgspec

from tailrace.config import LoadedPipeline
from tailrace.config.definition import definition_of
from tailrace.config.rights import AwsRight
from tailrace.core.change import ViewType
from tailrace.core.checkpoint import Method
from tailrace.core.definition import differences
from tailrace.core.ports import ReadError, ReadFailure, Source, StreamListing, TableReader, TableStream
from tailrace.core.tags import in_words
from tailrace.errors import TopicError, WorldError
from tailrace.kafka import checkpoint_topic, clients, membership, topics
from tailrace.kafka.clients import Admin
from tailrace.kafka.properties import PRODUCER_DEFAULTS
from tailrace.kafka.topics import Cluster, TopicSpec
from tailrace.operations import cluster_risks, definition
from tailrace.operations.lake_status import LakeStatus, lake_statuses
from tailrace.operations.lake_targets import targets_of
from tailrace.operations.progress import OnProgress, Progress, unheard
from tailrace.operations.replica_status import ReplicaStatus, replica_status
from tailrace.operations.snapshot_plan import SnapshotPlan, snapshot_notes, snapshot_plan, why_not_read
from tailrace.wiring import pipeline as wiring
from tailrace.wiring.table_choice import list_tables
from tailrace.wiring.transformations import Transformations

BATCH_BYTES = 1_000_000
"""librdkafka's batch.size where the file says nothing."""


class TopicPlan(msgspec.Struct, frozen=True):
    """A topic: as it is when it exists, else as it would be made."""

    name: str
    exists: bool
    partitions: int
    replication: int
    properties: Mapping[str, str] = {}
    """What it would be made with; empty for a topic that exists."""
    warnings: tuple[str, ...] = ()


class TablePlan(msgspec.Struct, frozen=True):
    """A table that the file names or matches. With `problems` it is not streamed."""

    table: str
    is_named: bool
    """The file names it as it is, without a wildcard."""
    stream_arn: str | None = None
    view_type: ViewType | None = None
    """Of its stream, or of the one to be switched on."""
    enables_stream: bool = False
    """Its stream is off, and a worker would switch it on."""
    open_shards: int | None = None
    closed_shards: int | None = None
    snapshot: SnapshotPlan | None = None
    """What is read of it before long: its first snapshot."""
    topic: TopicPlan | None = None
    """The table's own; None when its changes go to others."""
    routed: tuple[TopicPlan, ...] = ()
    """The topics of its route, or those of the tables in a stream that carries several."""
    problems: tuple[str, ...] = ()
    unread: str | None = None
    """Why it could not be looked at now, a whole sentence: that may pass, so `run` tries again."""

    @property
    def topics(self) -> tuple[TopicPlan, ...]:
        """Every topic that its changes may go to."""
        return (*((self.topic,) if self.topic else ()), *self.routed)


class Plan(msgspec.Struct, frozen=True):
    """A pipeline before it runs. Problems and warnings are whole sentences with the place in the file."""

    pipeline: str
    exists: bool
    """Its checkpoint topic is there: it has run before."""
    bootstrap_servers: str
    cluster_id: str
    brokers: int
    members: tuple[str, ...]
    """Workers that run now: the members of the group, which has the pipeline's name."""
    lanes: int
    checkpoints: TopicPlan
    dead_letters: TopicPlan
    tables: tuple[TablePlan, ...]
    unfinished_shards: int
    """Shards that the pipeline has still to publish, whatever the tables are like now."""
    problems: tuple[str, ...]
    """What keeps the whole pipeline from running."""
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What an operator should know, although nothing is wrong."""
    rights: tuple[AwsRight, ...] = ()
    """What AWS must allow, and no more."""
    tags: str = ""
    """The tags that the tables have, in words: `cdc=true, environment=prod|staging`; empty when any will do."""
    lakes: tuple[LakeStatus, ...] = ()
    """The data lakes that `tailrace lake` would write to; none without details."""
    replica: ReplicaStatus | None = None
    """The copies that `tailrace replicate` would keep; None without any, and without details."""


class RefusedError(WorldError):
    """The pipeline cannot run as things are; `str` gives a sentence a line."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def refuse(plan: Plan) -> None:
    """Raise RefusedError when the pipeline must not start.

    A new pipeline must be able to serve every table that its file names. One that has run before goes on with those
    that it can, unless there is nothing at all to do: one bad table never stops the others. One that looks for tags
    waits for the first table that gets them.
    """
    problems = plan.problems
    if not plan.exists:
        problems += tuple(problem for table in plan.tables if table.is_named for problem in table.problems)
    awaits_tags = plan.tags and not plan.tables
    is_idle = not plan.unfinished_shards and all(table.problems for table in plan.tables)
    if not problems and is_idle and not awaits_tags:
        problems = warnings(plan)
    if problems:
        raise RefusedError(problems)


def warnings(plan: Plan) -> tuple[str, ...]:
    """Return what an operator should hear of a pipeline that runs nevertheless."""
    found = [*plan.warnings, *plan.checkpoints.warnings, *plan.dead_letters.warnings]
    for table in plan.tables:
        found += table.problems
        found += (table.unread,) if table.unread else ()
        found += [warning for topic in table.topics for warning in topic.warnings]
    return tuple(found)


def make_plan(
    loaded: LoadedPipeline,
    source: Source,
    *,
    reader: TableReader | None = None,
    transformations: Transformations | None = None,
    details: bool = True,
    accept_changes: bool = False,
    progress: OnProgress = unheard,
) -> Plan:
    """Look at Kafka and the tables. Raises WorldError for a service that cannot be reached or asked.

    With a `reader` it says what the first snapshots will read, which takes a call for each table.
    A caller that has made the pipeline's `transformations` hands them over, so that they are made once.
    Without `details`, what costs a call for each table's topic or shard is left out: enough for `refuse`, and for the
    many workers that start at once. With `accept_changes`, stopping or redirecting tables that run is no problem.
    `progress` hears before each of the tables, which take a paced call to AWS each.
    """
    pipeline = loaded.pipeline
    admin = clients.admin(pipeline.kafka)
    with loaded.telling("kafka", "bootstrap.servers"):
        cluster = topics.describe(admin, pipeline.kafka)
    planner = _Planner(
        loaded,
        source,
        admin,
        cluster,
        reader=reader,
        transformations=transformations,
        details=details,
        accept_changes=accept_changes,
    )
    checkpoints = planner.topic(checkpoint_topic.spec(pipeline.name, pipeline.lanes, wiring.replication(pipeline)))
    problems, changes, unfinished_shards = planner.look_at_lanes(checkpoints)
    tables, unmatched = planner.tables(progress)
    dead_letters = planner.topic(wiring.dead_letters_topic(pipeline))
    more_problems, risks = planner.look_at_broker(is_new=not checkpoints.exists)
    problems += more_problems
    is_group_known = details and not more_problems  # a group without a coordinator is asked for until time is up
    members = membership.describe(pipeline.kafka, pipeline.name).members if is_group_known else ()
    problems += planner.look_at_replication((checkpoints, dead_letters), tables)
    problems += planner.look_at_names((checkpoints, dead_letters))
    if details:
        tables, more = planner.look_at_rights(tables, (checkpoints, dead_letters))
        problems += more
    return Plan(
        pipeline=pipeline.name,
        exists=checkpoints.exists,
        bootstrap_servers=pipeline.kafka["bootstrap.servers"],
        cluster_id=cluster.id,
        brokers=cluster.brokers,
        members=members,
        lanes=pipeline.lanes,
        checkpoints=checkpoints,
        dead_letters=dead_letters,
        tables=tables,
        rights=(
            *pipeline.aws_rights,
            *(right for lake in pipeline.lakes for right in lake.aws_rights),
            *(pipeline.replica.aws_rights(pipeline.name) if pipeline.replica else ()),
        ),
        tags=in_words(pipeline.source.tags_read),
        unfinished_shards=unfinished_shards,
        problems=problems,
        warnings=(*changes, *risks, *unmatched),
        notes=tuple(snapshot_notes(pipeline, planner.method)),
        lakes=lake_statuses(targets_of(loaded), time.time_ns() // 1_000_000, [each.table for each in tables])
        if details
        else (),
        replica=replica_status(loaded, time.time_ns() // 1_000_000) if details else None,
    )


class _Planner:
    """Looks at one thing after the other."""

    def __init__(
        self,
        loaded: LoadedPipeline,
        source: Source,
        admin: Admin,
        cluster: Cluster,
        *,
        reader: TableReader | None,
        transformations: Transformations | None,
        details: bool,
        accept_changes: bool,
    ) -> None:
        self._loaded = loaded
        self._pipeline = loaded.pipeline
        self._source = source
        self._admin = admin
        self._cluster = cluster
        self._details = details
        self._accept_changes = accept_changes
        self._is_answered = False
        """The source gave its last question an answer, whichever."""
        self._transformations = transformations or Transformations(loaded.pipeline)
        self.method: Method = "worker"
        """The method that publishes now."""
        self._reader = reader
        self._snapshots: Collection[str] = ()
        """The tables that had a snapshot."""
        self._names: Collection[str] = ()
        """All tables of the pipeline."""
        self._retention_ms = source.policy.retention_ms
        """How long changes are kept, where that differs the longest of what was listed."""
        self._made: set[str] = set()
        """The topics of the tables that were looked at: those that are missing would be made in this order."""

    def topic(self, spec: TopicSpec, retention_ms: int | None = None) -> TopicPlan:
        """Look at a topic of changes that are kept for `retention_ms`; None: of the changes of all tables."""
        state = self._cluster.topics.get(spec.name)
        if state is None:
            replication = topics.replication_of(spec, self._cluster.brokers)
            made_with = topics.properties_of(spec, self._cluster.brokers)
            return TopicPlan(spec.name, False, spec.partitions, replication, made_with)
        is_own = spec.name in {self._pipeline.checkpoints_topic, self._pipeline.dead_letters_topic}
        config = topics.config(self._admin, self._pipeline.kafka, spec.name) if is_own or self._details else {}
        warnings = (
            *topic_differences(self._loaded, spec, state, config),
            *cluster_risks.topic_risks(
                state, config, retention_ms=retention_ms or self._retention_ms, brokers=self._cluster.brokers
            ),
        )
        return TopicPlan(spec.name, True, state.partitions, state.replication, warnings=warnings)

    def look_at_broker(self, *, is_new: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return what keeps every lane from working, and what puts the promises at risk, as one broker is set.

        Kafka's own topics may be hidden from this principal: a pipeline that has run before has surely found them.
        """
        user = self._pipeline.kafka
        try:
            config = topics.broker_config(self._admin, user, self._cluster.any_broker)
        except WorldError as error:
            return (), (f"{error}; nothing is known of what docs/guarantees.md asks of the brokers",)
        asked_ms = int(user.get("transaction.timeout.ms", PRODUCER_DEFAULTS["transaction.timeout.ms"]))
        too_long = cluster_risks.transactions_too_long(asked_ms, config)
        problems = (f"{self._loaded.place('kafka', 'transaction.timeout.ms')}: {too_long}",) if too_long else ()
        missing, risks = (
            cluster_risks.internal_topics(config, self._cluster),
            cluster_risks.broker_risks(config, self._cluster),
        )
        return (problems + missing, risks) if is_new else (problems, missing + risks)

    def look_at_lanes(self, checkpoints: TopicPlan) -> tuple[tuple[str, ...], tuple[str, ...], int]:
        """Return what is wrong with the lanes or the file's definition, what of that differs from the one that is
        recorded, and how many shards are not yet published to their end."""
        pipeline = self._pipeline
        if not checkpoints.exists:
            return (), (), 0
        try:
            with self._loaded.telling("lanes"):
                checkpoint_topic.check(
                    self._admin, pipeline.kafka, pipeline.name, pipeline.lanes, checkpoints.partitions
                )
            checkpoint_state = checkpoint_topic.read_checkpoint_state(
                pipeline.kafka, pipeline.name, checkpoints.partitions
            )
            self.method, self._snapshots = checkpoint_state.method, checkpoint_state.snapshots.snapshots
            checkpoint_topic.check_method(pipeline.name, checkpoint_state.method, "worker")
            mine = definition_of(pipeline)
            checkpoint_topic.check_source(pipeline.name, checkpoint_state, pipeline.source.type)
            definition.check(pipeline, checkpoint_state, mine, "worker", accept_changes=self._accept_changes)
        except WorldError as error:
            return (str(error),), (), 0
        changes = (
            differences(checkpoint_state.definition, mine)
            if self._details and checkpoint_state.definition is not None
            else ()
        )
        changed = tuple(f"the file differs from the pipeline's definition: {change}" for change in changes)
        return (), changed, sum(not checkpoint_state.ended(shard) for shard in checkpoint_state.shards)

    def tables(self, progress: OnProgress) -> tuple[tuple[TablePlan, ...], tuple[str, ...]]:
        """Return the tables, and a sentence for each entry of the file that matches none."""
        source = self._pipeline.source
        with self._loaded.telling(*source.tables_path):
            names = list_tables(source, self._source)
        with_tags = f" with the tags {in_words(source.tags_read)}" if source.tags_read else ""
        unmatched = tuple(
            f"{self._loaded.place(*entry.path)}: {entry.text} matches no table{with_tags}"
            for entry in source.tables_read
            if not any(map(entry.matches, names))
        )
        self._names = names
        looked_at = []
        for done, name in enumerate(names):
            progress(Progress("tables", done, len(names)))
            looked_at.append(self._table(name))
        tables = tuple(looked_at)
        if tables and all(table.unread for table in tables):
            raise WorldError(str(tables[0].unread))
        return tables, unmatched

    def look_at_replication(self, own: tuple[TopicPlan, ...], tables: tuple[TablePlan, ...]) -> tuple[str, ...]:
        """Return when topics are to be made with more replicas than there are brokers."""
        made = [topic for topic in _all_topics(own, tables) if not topic.exists]
        wanted = max((topic.replication for topic in made), default=0)
        if wanted <= self._cluster.brokers:
            return ()
        place = self._loaded.place("topics", "replication")
        return (f"{place}: {wanted} replicas need as many brokers, and the cluster has {self._cluster.brokers}",)

    def look_at_names(self, topics_to_make: tuple[TopicPlan, ...]) -> tuple[str, ...]:
        """Report topics that Kafka refuses to create because another one has nearly the same name."""
        names = [topic.name for topic in topics_to_make if not topic.exists]
        self._made.update(topic.name for topic in topics_to_make)
        clashes = [(name, topics.colliding(name, (*self._cluster.topics, *sorted(self._made)))) for name in names]
        return tuple(
            f"the topic {name} cannot be made beside {other}: to Kafka `.` and `_` are alike; {topics.OTHER_TOPIC}"
            for name, other in clashes
            if other is not None
        )

    def look_at_rights(
        self, tables: tuple[TablePlan, ...], own: tuple[TopicPlan, ...]
    ) -> tuple[tuple[TablePlan, ...], tuple[str, ...]]:
        """Note the topics that may not be written: at their tables, and those of the pipeline itself."""
        used = {topic.name for topic in _all_topics(own, tables) if topic.exists}
        refused = topics.without_right_to_write(self._admin, self._pipeline.kafka, used) if used else set()
        place = self._loaded.place("kafka")

        def problems(of: tuple[TopicPlan, ...]) -> tuple[str, ...]:
            return tuple(f"{place}: {_no_right(topic.name)}" for topic in of if topic.name in refused)

        marked = tuple(
            msgspec.structs.replace(table, problems=(*table.problems, *problems(table.topics))) for table in tables
        )
        return marked, problems(own)

    def _table(self, name: str) -> TablePlan:
        source = self._pipeline.source
        entry = source.entry_of(name)
        assert entry is not None  # it is one of those that the file's entries match
        table = TablePlan(name, is_named=not entry.is_pattern)
        place = self._loaded.place(*entry.path)
        try:
            stream = self._describe(name)
            if stream is None:
                return msgspec.structs.replace(table, problems=(f"{place}: {source.missing_table(name)}",))
            if stream.stream is None:
                if source.stream_to_enable is None:
                    return msgspec.structs.replace(table, problems=(f"{place}: {source.missing_stream(name)}",))
                stream = msgspec.structs.replace(stream, view_type=source.stream_to_enable)
            listing = self._list(stream.stream) if stream.stream is not None else None
            begins = self._pipeline.snapshot.mode != "never" and name not in self._snapshots
            facts = self._reader.facts(name) if begins and self._reader is not None else None
        except ReadError as error:
            return self._without_answer(table, f"{place}: {error}", error)
        self._is_answered = True
        retention_ms = (listing and listing.retention_ms) or self._source.policy.retention_ms
        self._retention_ms = max(self._retention_ms, retention_ms)
        problems = []
        found: tuple[TopicPlan, ...] = ()
        try:
            for each in source.tables_of(name):
                topics_of_it = tuple(
                    self.topic(spec, retention_ms) for spec in wiring.table_topics(self._pipeline, each, name)
                )
                as_of_it = msgspec.structs.replace(stream, table=each)
                faults = wiring.faults(self._pipeline, self._transformations, as_of_it)
                problems += [f"{place}: table {each}: {why}" for why in (*faults, *self.look_at_names(topics_of_it))]
                found += topics_of_it
            why_not = why_not_read(self._pipeline, name, self._names) if begins else None
            problems += [f"{place}: {why_not}"] if why_not else []
        except TopicError as error:
            problems.append(f"{place}: {error}")
        has_own = source.tables_of(name) == (name,) and not self._pipeline.is_routed(name)
        closed = sum(shard.closed for shard in listing.shards) if listing else None
        return msgspec.structs.replace(
            table,
            stream_arn=stream.stream,
            view_type=stream.view_type,
            enables_stream=stream.stream is None,
            open_shards=len(listing.shards) - (closed or 0) if listing else None,
            closed_shards=closed,
            snapshot=snapshot_plan(self._pipeline, facts) if facts is not None else None,
            topic=found[0] if found and has_own else None,
            routed=() if has_own else found,
            problems=tuple(problems),
        )

    def _without_answer(self, table: TablePlan, told: str, error: ReadError) -> TablePlan:
        """Note why a table could not be looked at. Raises WorldError when nothing is answered at all."""
        if error.failure is ReadFailure.DENIED:
            self._is_answered = True
            return msgspec.structs.replace(table, problems=(told,))
        is_silent = error.failure is ReadFailure.UNAVAILABLE
        if is_silent and not self._is_answered:
            raise WorldError(f"{self._loaded.place('source', 'endpoint_url')}: {error}") from error
        self._is_answered = not is_silent
        return msgspec.structs.replace(table, unread=told)

    def _describe(self, table: str) -> TableStream | None:
        try:
            return self._source.table_stream(table)
        except ReadError as error:
            if error.failure is ReadFailure.GONE:
                return None
            raise

    def _list(self, stream_arn: str) -> StreamListing | None:
        return self._source.shards(stream_arn) if self._details else None


def topic_differences(
    loaded: LoadedPipeline, spec: TopicSpec, state: topics.TopicState, config: Mapping[str, str]
) -> tuple[str, ...]:
    """Return, as sentences, how an existing topic differs from what the file asks for."""
    asked = loaded.pipeline.topics
    found = []
    is_of_table = spec.name not in {loaded.pipeline.checkpoints_topic, loaded.pipeline.dead_letters_topic}
    if is_of_table and ("topics", "partitions") in loaded.lines and state.partitions != asked.partitions:
        found.append(f"has partitions={state.partitions}, the file asks for {asked.partitions}")
    if spec.replication is not None and state.replication != spec.replication:
        found.append(f"has replication={state.replication}, the file asks for {spec.replication}")
    batch_bytes = int(loaded.pipeline.kafka.get("batch.size", BATCH_BYTES))
    limit = config.get("max.message.bytes")
    if is_of_table and limit is not None and int(limit) < batch_bytes:
        found.append(
            f"has max.message.bytes={limit}, less than the batches of {batch_bytes} bytes, which Kafka refuses whole, "
            "at the cost of a second each; set batch.size below it in the kafka section"
        )
    for name, value in spec.properties.items():
        present = config.get(name)
        if name == "max.message.bytes":
            if present is not None and int(present) < int(value):
                found.append(f"has max.message.bytes={present}, less than {value}: larger records become dead letters")
        elif present is not None and present != value and name in asked.properties:
            found.append(f"has {name}={present}, the file asks for {value}")
    return tuple(f"topic {spec.name} {difference}; it is used as it is" for difference in found)


def _all_topics(own: tuple[TopicPlan, ...], tables: tuple[TablePlan, ...]) -> list[TopicPlan]:
    return [*own, *(topic for table in tables for topic in table.topics)]


def _no_right(topic: str) -> str:
    return f"there is no right to write the topic {topic}; grant the principal Write on it"
