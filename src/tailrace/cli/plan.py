"""`tailrace plan`: show what `run` would use and create."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.edge import EXIT_INTERRUPTED, KafkaOption, ended_by_signals, load_lake
from tailrace.cli.progress import progress_shown
from tailrace.cli.render import to_json
from tailrace.cli.snapshot_view import count, estimate_lines
from tailrace.errors import FileError


class AclForm(StrEnum):
    """How ACLs are written."""

    KAFKA_ACLS = "kafka-acls"
    STRIMZI = "strimzi"
    CONFLUENT = "confluent"


if TYPE_CHECKING:
    from tailrace.config import AnyLoaded
    from tailrace.config.rights import AwsRight
    from tailrace.operations.lake_plan import LakePlan
    from tailrace.operations.lake_status import LakeStatus
    from tailrace.operations.plan import Plan, TablePlan, TopicPlan


def plan(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)],
    *,
    kafka: KafkaOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as one line of JSON.")] = False,
    acls: Annotated[
        bool, typer.Option("--acls", help="Print the least ACLs in Kafka instead. Connects to nothing.")
    ] = False,
    lake: Annotated[
        bool, typer.Option("--lake", help="With --acls: those of `tailrace lake` instead of the workers'.")
    ] = False,
    form: Annotated[
        AclForm | None, typer.Option("--acl-format", help="How to write them. Implies --acls.", show_default=False)
    ] = None,
    principal: Annotated[
        str | None,
        typer.Option(
            metavar="User:NAME", help="Whose ACLs. Without it, User: and the sasl.username.", show_default=False
        ),
    ] = None,
) -> None:
    """Show what `tailrace run` would use and create.

    Covers the cluster, the lanes, and each table with its shards and topic. Creates nothing. Exit code 0 when `run`
    would start, 3 when it would refuse to, with a sentence for each reason. With --acls it prints the ACLs that the
    pipeline needs: kafka-acls commands, a KafkaUser for Strimzi, or Terraform for Confluent Cloud.

    \b
    Example:
      tailrace plan pipeline.yaml
    """
    if acls or form:
        if as_json:
            raise FileError("--acls prints text: it excludes --json")
        typer.echo(_acls(load_lake(file, kafka=kafka, with_secrets=False), form, principal, of_lake=lake))
        return
    for option, is_given in (("--principal", principal), ("--lake", lake)):
        if is_given:
            raise FileError(f"{option} is for --acls", hint="add --acls, or leave it out")
    from tailrace.config import LoadedLakeFile
    from tailrace.operations.plan import make_plan, refuse
    from tailrace.wiring.sources import make_source, make_tables

    found = load_lake(file, kafka=kafka, with_functions=True)
    if isinstance(found, LoadedLakeFile):
        from tailrace.operations.lake_plan import make_lake_plan

        with ended_by_signals(EXIT_INTERRUPTED):
            lake_plan = make_lake_plan(found)
        typer.echo(to_json(lake_plan) if as_json else "\n".join(_lake_file_lines(lake_plan)))
        return
    loaded = found
    with ended_by_signals(EXIT_INTERRUPTED):
        with loaded.telling("source"):
            source, reader = make_source(loaded.pipeline), make_tables(loaded.pipeline)
        with closing(source), closing(reader), progress_shown() as progress:
            made = make_plan(loaded, source, reader=reader, progress=progress)
    typer.echo(to_json(made) if as_json else "\n".join(_lines(made)))
    refuse(made)


def _acls(loaded: AnyLoaded, form: AclForm | None, principal: str | None, *, of_lake: bool) -> str:
    from tailrace.config import LoadedLakeFile
    from tailrace.operations.acls import acls_of, lake_acls_of, write
    from tailrace.operations.lake_targets import require_targets

    if of_lake:
        require_targets(loaded)
    acls = lake_acls_of(loaded) if of_lake or isinstance(loaded, LoadedLakeFile) else acls_of(loaded.pipeline)
    kafka = loaded.content.kafka if isinstance(loaded, LoadedLakeFile) else loaded.pipeline.kafka
    place = loaded.place("kafka", "sasl.mechanism")
    return write(kafka, acls, (form or AclForm.KAFKA_ACLS).value, place, principal)


def _lines(plan: Plan) -> Iterator[str]:
    brokers = count(plan.brokers, "broker")
    workers = count(len(plan.members), "worker") + (f": {', '.join(plan.members)}" if plan.members else "")
    yield f"pipeline {plan.pipeline}: {'has run before' if plan.exists else 'new'}"
    yield _line("kafka", f"{plan.bootstrap_servers}, {brokers}, cluster {plan.cluster_id}")
    yield _line("group", f"{plan.pipeline}, {workers}")
    yield _line("lanes", f"{plan.lanes}: topic {_topic(plan.checkpoints)}")
    yield _line("dead letters", f"topic {_topic(plan.dead_letters)}")
    yield from _lake_lines(plan.lakes)
    if plan.replica is not None:
        copies = ", ".join(f"{each.table} as {each.copy}" for each in plan.replica.copies) or "no topic yet"
        begun = "exists" if plan.replica.begun else "to be begun"
        yield _line("replica", plan.replica.fault or f"{plan.replica.where}, {plan.replica.write}, {begun}: {copies}")
    if plan.tags:
        yield _line("tags", plan.tags)
    own = (*plan.checkpoints.warnings, *plan.dead_letters.warnings, *plan.warnings)
    yield from (_line("warning", warning) for warning in own)
    yield from (_line("note", note) for note in plan.notes)
    yield from (_line("problem", problem) for problem in plan.problems)
    for table in plan.tables:
        yield from _table_lines(table)
    yield from _rights_lines(plan.rights)


def _lake_file_lines(plan: LakePlan) -> Iterator[str]:
    yield f"lake file {plan.name}"
    yield _line("kafka", f"{plan.bootstrap_servers}, cluster {plan.cluster_id}")
    made = "exists" if plan.is_dead_letters_topic_there else "to be made: 1 partition"
    yield _line("dead letters", f"topic {plan.dead_letters}, {made}")
    yield from _lake_lines(plan.lakes)
    yield from (_line("topic", f"{topic}, table {table}") for topic, table in plan.tables.items())
    yield from _rights_lines(plan.rights)


def _lake_lines(lakes: Iterable[LakeStatus]) -> Iterator[str]:
    for lake in lakes:
        begun = "exists" if lake.begun else "to be begun"
        yield _line("lake", f"{lake.name} at {lake.location}, {lake.format}, {lake.fault or begun}")


def _rights_lines(rights: Iterable[AwsRight]) -> Iterator[str]:
    yield "aws permissions"
    for right in rights:
        yield f"  {', '.join(right.actions)} on {', '.join(right.resources)} ({right.purpose})"


def _table_lines(table: TablePlan) -> Iterator[str]:
    yield f"table {table.table}"
    if table.stream_arn is not None:
        shards = f"{table.open_shards} open and {table.closed_shards} closed shards"
        view_type = f"{table.view_type}, " if table.view_type is not None else ""
        yield _line("stream", f"{table.stream_arn}, {view_type}{shards}")
    elif table.enables_stream:
        yield _line("stream", f"off, to be switched on with {table.view_type}")
    if table.snapshot is not None:
        where = f" where {table.snapshot.filter}" if table.snapshot.filter else ""
        yield _line("snapshot", f"all items{where}, in {count(table.snapshot.segments, 'segment')}")
        yield from (_line("", line) for line in estimate_lines(table.snapshot.estimate))
    for topic in table.topics:
        yield _line("topic", _topic(topic))
        yield from (_line("warning", warning) for warning in topic.warnings)
    if table.unread is not None:
        yield _line("warning", table.unread)
    yield from (_line("problem", problem) for problem in table.problems)


def _topic(topic: TopicPlan) -> str:
    size = f"{count(topic.partitions, 'partition')}, {count(topic.replication, 'replica')}"
    if topic.exists:
        return f"{topic.name}, exists: {size}"
    properties = "".join(f", {name}={value}" for name, value in sorted(topic.properties.items()))
    return f"{topic.name}, to be made: {size}{properties}"


def _line(name: str, text: str) -> str:
    return f"  {name:<13} {text}"
