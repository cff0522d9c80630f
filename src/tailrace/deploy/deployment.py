"""What a deployment of a pipeline holds: the facts that the files of every format are written from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from tailrace.config import LambdaFunction, LoadedPipeline, Pipeline
from tailrace.config.environment import DEFAULT_FILE, VARIABLE
from tailrace.config.function import MIB
from tailrace.config.source import EventSource
from tailrace.core.ports import Source
from tailrace.deploy.package import FUNCTION_ZIP, HANDLER, layer_zip
from tailrace.deploy.rights import Statement, statements
from tailrace.deploy.target import Python, Target
from tailrace.errors import FileError, WorldError
from tailrace.operations.acls import acls_of
from tailrace.operations.aws_rights import kafka_rights, secrets_of
from tailrace.wiring.sources import arn_of
from tailrace.wiring.table_choice import list_tables

_GIVEN_BY_LAMBDA: Final = frozenset({"AWS_REGION", "AWS_DEFAULT_REGION"})
_LOCATION: Final = re.compile(r"ssm:/?[A-Za-z0-9_./-]+|s3:(//)?[a-z0-9.-]{3,63}/[A-Za-z0-9!_.*'()/-]+")
_FUNCTION_NAME_MAX: Final = 64
_RETENTION_WORDS: Final = {
    1: "ONE_DAY",
    3: "THREE_DAYS",
    5: "FIVE_DAYS",
    7: "ONE_WEEK",
    14: "TWO_WEEKS",
    30: "ONE_MONTH",
    60: "TWO_MONTHS",
    90: "THREE_MONTHS",
    120: "FOUR_MONTHS",
    150: "FIVE_MONTHS",
    180: "SIX_MONTHS",
    365: "ONE_YEAR",
    400: "THIRTEEN_MONTHS",
    545: "EIGHTEEN_MONTHS",
    731: "TWO_YEARS",
    1096: "THREE_YEARS",
}


class Table(msgspec.Struct, frozen=True):
    """A table: `id` names it where only letters and digits may; `stream_arn` is None when nobody looked it up."""

    name: str
    id: str
    stream_arn: str | None


class Variable(msgspec.Struct, frozen=True):
    """A variable of the environment that the pipeline file refers to: whoever deploys it gives its value."""

    name: str
    id: str


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A function, its event source mappings and its rights. Times are in seconds, `memory_mib` as Lambda counts it."""

    pipeline: str
    function: LambdaFunction
    name: str
    handler: str = HANDLER
    function_zip: str = FUNCTION_ZIP
    layer_zip: str
    python: str
    memory_mib: int
    event_source: EventSource
    location: str
    tables: tuple[Table, ...]
    variables: tuple[Variable, ...]
    statements: tuple[Statement, ...]

    @property
    def has_vpc(self) -> bool:
        """Whether the function is in a VPC."""
        return bool(self.function.vpc.subnets)

    @property
    def makes_queue(self) -> bool:
        """Whether a queue for discarded batches is a part of it."""
        return self.function.on_failure == "queue"

    @property
    def stack_name(self) -> str:
        """The function's name, as a stack may be called."""
        return self.name.replace("_", "-")

    @property
    def starting_time(self) -> str | None:
        """When the mappings begin, in ISO 8601, if that is a time."""
        start_ms = self.event_source.starting_ms
        return None if start_ms is None else datetime.fromtimestamp(start_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def log_retention_word(self) -> str:
        """How the CDK calls the time that logs are kept."""
        return _RETENTION_WORDS[self.function.log_retention_days]

    @property
    def alarm_threshold_ms(self) -> int:
        """The age of changes that the alarm goes off at."""
        return self.function.iterator_age_alarm_ms

    @property
    def maximum_record_age_s(self) -> int:
        """As AWS wants it: -1 without a limit."""
        age_ms = self.function.maximum_record_age_ms
        return -1 if age_ms is None else age_ms // 1000


def require_no_schema_registry(loaded: LoadedPipeline) -> None:
    """Raise `FileError` for a pipeline whose records need a schema registry."""
    if loaded.pipeline.asks_schema_registry:
        raise FileError(
            "it writes records with a schema registry, whose client is not in the package for Lambda",
            file=loaded.file,
            hint="run it with workers, or take the registry out",
        )


def describe(
    loaded: LoadedPipeline, python: Python, location: str | None, streams: Mapping[str, str] | None
) -> Deployment:
    """Gather the facts. `location` is where the pipeline file will lie if not in the package: `ssm:…` or `s3:…`.

    `streams` are the ARNs by table, as `look_up` gives them; without them whoever deploys it gives them. Raises
    `FileError` for what cannot be deployed.
    """
    require_no_schema_registry(loaded)
    pipeline = loaded.pipeline
    function = pipeline.function
    if location is not None and not _LOCATION.fullmatch(location):
        raise FileError(f"{location!r} is no place of a pipeline file", hint="write ssm:NAME or s3:BUCKET/KEY")
    for key in ("endpoint_url", "role_arn", "access_key_id"):
        if getattr(pipeline.source, key) is None:
            continue
        raise FileError(
            "has no effect under Lambda, which reads the stream itself, of its own account",
            path=loaded.place("source", key),
            hint="leave it out, and deploy the function where the tables are",
        )
    event_source = pipeline.source.event_source
    if event_source is None:
        raise FileError(
            f"AWS Lambda cannot read a source of type {pipeline.source.type}",
            path=loaded.place("source", "type"),
            hint="run it with workers",
        )
    if function.vpc.subnets and not function.vpc.security_groups:
        raise FileError("is missing", path=loaded.place("lambda", "vpc") + ".security_groups", hint="add one")
    name = function.name or f"tailrace-{pipeline.name.replace('.', '-')}"[:_FUNCTION_NAME_MAX]
    secrets = secrets_of(loaded)
    variables = sorted({r.name for r in loaded.references if r.kind == "env"} - _GIVEN_BY_LAMBDA)
    return Deployment(
        pipeline=pipeline.name,
        function=function,
        name=name,
        layer_zip=layer_zip(Target(function.architecture, python)),
        python=python,
        memory_mib=function.memory_bytes // MIB,
        event_source=event_source,
        location=location or DEFAULT_FILE,
        tables=_tables(loaded, streams),
        variables=tuple(Variable(each, _id) for each, _id in _ids(variables).items() if each != VARIABLE),
        statements=tuple(
            statements(
                name,
                function,
                event_source,
                secrets,
                location,
                kafka=tuple(kafka_rights(pipeline.kafka, acls_of(pipeline))),
            )
        ),
    )


def look_up(pipeline: Pipeline, enumerator: Source) -> dict[str, str]:
    """Ask AWS for the tables of a pipeline and their streams. Raises `WorldError`, `ReadError`."""
    source = pipeline.source
    names = list_tables(source, enumerator)
    if not names:
        raise WorldError(f"no table matches {source.tables_key}", hint="check source.region and the patterns")
    found = {}
    for name in names:
        stream = enumerator.table_stream(name).stream
        if stream is None:
            raise source.missing_stream(name)
        found[name] = arn_of(stream)
    return found


def _tables(loaded: LoadedPipeline, streams: Mapping[str, str] | None) -> tuple[Table, ...]:
    entries = loaded.pipeline.source.tables_read
    if streams is None and loaded.pipeline.source.tags_read:
        raise FileError(
            "chooses the tables, and an event source mapping has one table",
            path=loaded.place("source", "tags"),
            hint="add --lookup, which asks AWS for the tables that have the tags now",
        )
    if streams is None:
        for entry in entries:
            if entry.is_pattern:
                raise FileError(
                    f"{entry.text} is a pattern, and an event source mapping has one table",
                    path=loaded.place(*entry.path),
                    hint="add --lookup, which asks AWS for the tables that match it",
                )
    names = [entry.text for entry in entries] if streams is None else sorted(streams)
    return tuple(Table(name, _id, streams[name] if streams else None) for name, _id in _ids(names).items())


def _ids(names: Iterable[str]) -> dict[str, str]:
    """Return each name one of letters and digits, no two the same: `user-events` is `UserEvents`."""
    ids: dict[str, str] = {}
    for name in names:
        words = [word for word in re.split(r"[^A-Za-z0-9]+", name) if word]
        wanted = "".join((word.capitalize() if word.isupper() else word[0].upper() + word[1:]) for word in words)
        count = sum(1 for taken in ids.values() if re.fullmatch(rf"{wanted}(\d+)?", taken))
        ids[name] = f"{wanted}{count + 1}" if count else wanted
    return ids
