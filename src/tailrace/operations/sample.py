"""Tries a pipeline's conversion on records of a file, as a worker would do it, without Kafka or AWS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from tailrace.config import LoadedPipeline, Pipeline
from tailrace.connect.written import Registered, Written
from tailrace.core.page import Outgoing
from tailrace.core.ports import ReadError, SourcePage, SourceRecord
from tailrace.core.shard import ShardRef
from tailrace.errors import FileError, WorldError
from tailrace.kafka.headers import REASON, STAGE
from tailrace.remedy import SayTable
from tailrace.sources.dynamodb.stream_arn import parse
from tailrace.sources.dynamodb.stream_record import decode_page
from tailrace.wiring.pipeline import make_converter
from tailrace.wiring.transformations import Transformations

_SHARD: Final = "shardId-of-the-sample"
_FORMS: Final = "give a Lambda event, an answer of GetRecords, or one record of them"


class Tried(msgspec.Struct, frozen=True):
    """What would become of one record of the sample."""

    sequence: str
    table: str
    outcome: Literal["published", "dropped", "dead-letter", "stopped"]
    """`stopped`: with `errors: fail` its shard would stop here."""
    records: tuple[Outgoing, ...] = ()
    """The records published, a tombstone among them."""
    stage: str = ""
    """Of a dead letter: Connect's name for where it arose."""
    reason: str = ""
    """Which step dropped it, or why it is a dead letter."""


class _Sample(msgspec.Struct):
    records: list[msgspec.Raw] | None = msgspec.field(default=None, name="Records")
    stream_record: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="dynamodb")


class _Place(msgspec.Struct):
    arn: str | None = msgspec.field(default=None, name="eventSourceARN")


class _NoRegistry:
    """Stands in for a schema registry, which a sample does not need: every id is 0, and no version was there before."""

    def __init__(self) -> None:
        self._versions: dict[str, list[Registered]] = {}

    def id_of(self, subject: str, written: Written) -> int:
        del subject, written
        return 0

    def versions(self, subject: str) -> list[int]:
        return list(range(1, len(self._versions.get(subject, [])) + 1))

    def version(self, subject: str, number: int) -> Registered:
        if number > len(held := self._versions.get(subject, [])):
            raise WorldError(
                f"version {number} of the subject {subject} is in the registry, which is not asked for a sample",
                hint="declare the schema with `declared` to try it",
            )
        return held[number - 1]

    def register(self, subject: str, written: Written) -> None:
        self._versions.setdefault(subject, []).append(Registered(0, written.kind, written.text))


def try_sample(loaded: LoadedPipeline, sample: bytes, *, table: str | None, file: str, now_ns: int) -> Iterator[Tried]:
    """Convert each record of a sample.

    `table` is where records come from that do not say so themselves; None: the only table of the pipeline.
    Raises `FileError` that names `file` for a sample that is none, and `WorldError` for a function that is not there.
    """
    pipeline = loaded.pipeline
    if pipeline.parts_streams:  # nothing says which stream a sample comes with
        stream = next(iter(pipeline.source.named_tables), "STREAM")
        pipeline = pipeline.model_copy(update={"topic": pipeline.topic.replace("{stream}", stream)})
    transformations = Transformations(pipeline)
    converter = make_converter(pipeline, transformations, ids=lambda _registry: _NoRegistry(), as_json=True)
    for raw in _records(sample, file):
        shard = _shard(pipeline, raw, table, file)
        name, region = parse(shard.stream)
        try:
            pipeline.topics_of(name)
            source = decode_page(b'{"Records":[%b]}' % bytes(raw), shard=shard, table=name, region=region)
        except ReadError as error:
            raise FileError(error.message, file=file, hint=_FORMS) from None
        page = converter.convert(shard, source, now_ns)
        if page.stop is not None:
            yield Tried(source.records[0].origin.sequence, name, "stopped", reason=page.stop)
        else:
            yield _tried(transformations, source, name, tuple(page.records))


def _tried(transformations: Transformations, source: SourcePage, table: str, records: tuple[Outgoing, ...]) -> Tried:
    (record,) = source.records
    sequence = record.origin.sequence
    if not records:
        return Tried(sequence, table, "dropped", reason=_dropped_by(transformations, table, record))
    if records[0].is_dead_letter:
        headers = dict(records[0].headers or [])
        reason, stage = headers[REASON].decode(), headers[STAGE].decode()
        return Tried(sequence, table, "dead-letter", stage=stage, reason=reason)
    return Tried(sequence, table, "published", records)


def _dropped_by(transformations: Transformations, table: str, record: SourceRecord) -> str:
    transformation = transformations.of(table)
    if transformation is None or record.change is None:
        return ""
    return transformation.apply(record.change).dropped_by or ""


def _records(sample: bytes, file: str) -> list[msgspec.Raw]:
    try:
        read = msgspec.json.decode(sample, type=_Sample)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileError(f"is no sample: {error}", file=file, hint=_FORMS) from None
    if read.records is not None:
        return read.records
    if not bytes(read.stream_record):
        raise FileError("is no sample: it has neither Records nor dynamodb", file=file, hint=_FORMS)
    return [msgspec.Raw(sample)]


def _shard(pipeline: Pipeline, record: msgspec.Raw, table: str | None, file: str) -> ShardRef:
    """Return the shard of a record; its stream is made up when the record does not name it."""
    try:
        arn = msgspec.json.decode(record, type=_Place).arn or _arn(pipeline, table, file)
        name = parse(arn).table
    except (msgspec.DecodeError, ReadError) as error:
        raise FileError(f"holds a record that cannot be placed: {error}", file=file, hint=_FORMS) from None
    if not pipeline.source.publishes(name):
        raise FileError(
            f"holds a record of table {name}, which the pipeline leaves out",
            file=file,
            hint=f"see {pipeline.source.tables_key}",
        )
    return ShardRef(arn, _SHARD)


def _arn(pipeline: Pipeline, table: str | None, file: str) -> str:
    table = table or pipeline.source.only_table
    if table is None:
        raise FileError("does not say which table its records come from", file=file, remedy=SayTable())
    return pipeline.source.sample_stream(table)
