"""Makes the source of a pipeline, and what reads its tables: the only place that knows which kind it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from tailrace.aws.files import S3_SCHEME
from tailrace.aws.session import AwsSession, AwsSettings
from tailrace.config import Pipeline
from tailrace.config.source import Source as SourceKey
from tailrace.config.sources.dynamodb_streams import DynamoDBStreamsSource
from tailrace.config.sources.kinesis import KinesisSource
from tailrace.core.checkpoint import Start
from tailrace.core.pacing import Pacing
from tailrace.core.ports import ExportReader, LogReader, Source, SourcePage, TableReader
from tailrace.core.shard import ShardRef
from tailrace.core.source_policy import SourcePolicy
from tailrace.core.windowed_shard import Late, WindowOptions
from tailrace.sources.aws_lambda.discarded import DiscardedBatches, KinesisBatches, StreamsBatches
from tailrace.sources.aws_lambda.intake import Intake, StreamsIntake
from tailrace.sources.aws_lambda.kinesis_intake import KinesisIntake
from tailrace.sources.delivered import DeliveredLog
from tailrace.sources.dynamodb.export import Export
from tailrace.sources.dynamodb.policy import POLICY
from tailrace.sources.dynamodb.services import TAGGING
from tailrace.sources.dynamodb.stream_arn import parse as parse_arn
from tailrace.sources.dynamodb.stream_record import decode_page
from tailrace.sources.dynamodb.streams import DynamoDBStreams
from tailrace.sources.dynamodb.tables import DynamoDBTables
from tailrace.sources.kinesis import stream_ref
from tailrace.sources.kinesis.log_page import LogDecoder, LogPageDecoder, change_of
from tailrace.sources.kinesis.log_page import late as flagged
from tailrace.sources.kinesis.policy import policy as kinesis_policy
from tailrace.sources.kinesis.streams import KinesisClients, KinesisStreams
from tailrace.sources.windowed import WindowedReader
from tailrace.wiring.transcoder import PURE, Transcoder


class Reading(msgspec.Struct, frozen=True):
    """How the pipeline file wants its source to be read."""

    readers: int
    """Shards that a worker reads at the same time."""
    pacing: Pacing
    start: Start
    start_ms: int | None
    """When streams begin that are older than the pipeline, if `start` is a time; milliseconds since the epoch."""
    listing_interval_ms: int


_KINESIS_READERS: Final = 16
_KINESIS_PACING: Final = Pacing(min_ms=200, max_ms=1_000)
_PUSHED_PACING: Final = Pacing(min_ms=50, max_ms=400)
_KINESIS_LISTING_INTERVAL_MS: Final = 10_000
_WINDOW_BYTES: Final = 64 << 20
"""Memory of a worker for what it published lately."""
COMPARED_AT_ONCE: Final = 8
"""Shards that a switch reads at the same time."""
_SHARE_OF_WINDOWS: Final = 8
"""The part of the Lambda function's memory that it may take there."""


def make_source(
    pipeline: Pipeline,
    transcoder: Transcoder = PURE,
    transformation_of: Callable[[str], object | None] = lambda _: None,
) -> Source:
    """Make the source of a pipeline; `transformation_of` returns a table's transformation, which needs decoded changes.

    Raises WorldError for credentials or a region that are not there.
    """
    match pipeline.source:
        case DynamoDBStreamsSource() as source:
            return DynamoDBStreams(
                _session(source),
                decode=transcoder.decoder(pipeline, transformation_of),
                crc32=transcoder.crc32,
                readers=source.readers,
                describe_stream_per_second=source.discovery.describe_stream_per_second,
            )
        case KinesisSource() as source:
            clients = KinesisClients(_session(source), readers=_KINESIS_READERS)
            decode = transcoder.log_decoder(
                pipeline,
                transformation_of,
                source.records,
                deaggregate=source.deaggregate,
                hash_keys=clients.hash_ranges.of,
            )
            return _kinesis(source, clients, decode)
        case other:
            raise _unknown(other)


def _kinesis(source: KinesisSource, clients: KinesisClients, decode: LogDecoder) -> Source:
    log = clients.fan_out(decode, source.consumer) if source.consumer else clients.polling(decode)
    reader = _windowed(source, log, late=source.late, late_wait_ms=source.late_wait_ms, window_bytes=_WINDOW_BYTES)
    return KinesisStreams(clients, reader, _kinesis_policy(source), arns=source.arns)


def _windowed(
    source: KinesisSource, log: LogReader, *, late: Late, late_wait_ms: int, window_bytes: int
) -> WindowedReader:
    return WindowedReader(
        log,
        WindowOptions(window_ms=source.window_ms, late=late, late_wait_ms=late_wait_ms),
        window_bytes=window_bytes,
        gone_after_ms=_kinesis_policy(source).gone_after_ms,
        flagged=flagged,
        change_of=change_of,
        is_wanted=source.publishes,
    )


class ComparedSource(NamedTuple):
    """A source as a switch compares it with another."""

    source: Source
    log: LogReader
    """Its records as they come, repeats too, each with its change."""


def make_compared(pipeline: Pipeline) -> ComparedSource:
    """Make the source of a pipeline for a switch. Raises `WorldError`."""
    match pipeline.source:
        case DynamoDBStreamsSource() as source:
            streams = DynamoDBStreams(_session(source), readers=COMPARED_AT_ONCE)
            return ComparedSource(streams, streams.log)
        case KinesisSource() as source:
            decode = LogPageDecoder(source.records, deaggregate=source.deaggregate)
            clients = KinesisClients(_session(source), readers=COMPARED_AT_ONCE)
            log = clients.polling(decode)
            reader = _windowed(source, log, late=source.late, late_wait_ms=0, window_bytes=0)
            return ComparedSource(
                KinesisStreams(clients, reader, kinesis_policy(_window_ms(source)), arns=source.arns), log
            )
        case other:
            raise _unknown(other)


def make_intake(
    pipeline: Pipeline, transcoder: Transcoder, transformation_of: Callable[[str], object | None]
) -> Intake:
    """Make what takes in the events that AWS Lambda brings; `transformation_of` as for `make_source`.

    Raises `WorldError`.
    """
    match pipeline.source:
        case DynamoDBStreamsSource():
            return StreamsIntake(transcoder.decoder(pipeline, transformation_of))
        case KinesisSource() as source:
            clients = KinesisClients(_session(source), readers=1)
            decode = transcoder.log_decoder(
                pipeline,
                transformation_of,
                source.records,
                deaggregate=source.deaggregate,
                hash_keys=clients.hash_ranges.of,
            )
            log = DeliveredLog(clients.polling(decode))
            # A batch goes whole: nothing may be held back.
            window_bytes = min(_WINDOW_BYTES, pipeline.function.memory_bytes // _SHARE_OF_WINDOWS)
            reader = _windowed(source, log, late=source.late, late_wait_ms=0, window_bytes=window_bytes)
            policy = kinesis_policy(_window_ms(source))  # what is read back is polled, whatever the workers do
            streams = KinesisStreams(clients, reader, policy, arns=source.arns)
            return KinesisIntake(streams, log, reader, decode, orders=source.late == "reorder")
        case other:
            raise _unknown(other)


def make_discarded(pipeline: Pipeline) -> DiscardedBatches:
    """Make what reads batches again that AWS Lambda discarded. Raises `WorldError`."""
    match pipeline.source:
        case DynamoDBStreamsSource():
            return StreamsBatches(make_source(pipeline))
        case KinesisSource() as source:
            clients = KinesisClients(_session(source), readers=1)
            ranges = clients.hash_ranges
            decode = LogPageDecoder(source.records, deaggregate=source.deaggregate, hash_keys=ranges.of)
            # Nothing is held back: what `reorder` would have put in order is flagged.
            late = "flag" if source.late == "reorder" else source.late
            reader = _windowed(source, clients.polling(decode), late=late, late_wait_ms=0, window_bytes=_WINDOW_BYTES)
            streams = KinesisStreams(clients, reader, kinesis_policy(_window_ms(source)), arns=source.arns)
            return KinesisBatches(streams, reader, decode)
        case other:
            raise _unknown(other)


def _kinesis_policy(source: KinesisSource) -> SourcePolicy:
    return kinesis_policy(_window_ms(source), is_pushed=source.consumer is not None)


def _window_ms(source: KinesisSource) -> int:
    return 0 if source.records == "raw" else source.window_ms


def make_tables(
    pipeline: Pipeline,
    transcoder: Transcoder = PURE,
    transformation_of: Callable[[str], object | None] = lambda _: None,
) -> TableReader:
    """Make what reads the tables themselves; `transformation_of` as for `make_source`. Raises `WorldError`."""
    return DynamoDBTables(
        _session(pipeline.source),
        decode=transcoder.scan_decoder(pipeline, transformation_of),
        crc32=transcoder.crc32,
        readers=reading_of(pipeline).readers,
    )


def carried_tables(source: SourceKey, entry: str, stream: str, tables: TableReader) -> tuple[str, ...]:
    """Return every table whose changes come with what is read by a name, from `stream`.

    Those that a stream carries although no name of the file is theirs are found by where they write their changes.
    Raises ReadError.
    """
    named = source.tables_of(entry)
    if not source.carries_unnamed:
        return named
    return tuple(sorted({*named, *tables.writing_to(arn_of(stream), source.publishes)}))


def make_export(
    pipeline: Pipeline,
    location: str,
    transcoder: Transcoder = PURE,
    transformation_of: Callable[[str], object | None] = lambda _: None,
) -> ExportReader:
    """Make what reads an export of a table, in S3 or a folder; `transformation_of` as for `make_source`.

    Raises `WorldError`, `ReadError`.
    """
    session = _session(pipeline.source) if location.startswith(S3_SCHEME) else None
    return Export(location, session, decode=transcoder.lines_decoder(pipeline, transformation_of))


def decode_again(pipeline: Pipeline, shard: ShardRef, body: bytes) -> SourcePage:
    """Decode an answer of GetRecords of a shard of any kind, as it was kept. Raises `ReadError`."""
    if stream_ref.is_ref(shard.stream):
        source = pipeline.source
        kind, deaggregate = (
            (source.records, source.deaggregate) if isinstance(source, KinesisSource) else ("auto", False)
        )
        page = LogPageDecoder(kind, deaggregate=deaggregate)(body, shard=shard)
        return SourcePage([each.record for each in page.records], None, page.size_bytes, full=False)
    table, region = parse_arn(shard.stream)
    return decode_page(body, shard=shard, table=table, region=region)


def arn_of(stream: str) -> str:
    """Return the ARN of what the ports call a stream."""
    return stream_ref.parse(stream).arn if stream_ref.is_ref(stream) else stream


def name_of(stream: str) -> str | None:
    """Return the name of what the ports call a stream; None for those of tables, which have none."""
    return stream_ref.parse(stream).name if stream_ref.is_ref(stream) else None


def policy_of(pipeline: Pipeline) -> SourcePolicy:
    """Return what the protocol must know of the source."""
    match pipeline.source:
        case DynamoDBStreamsSource():
            return POLICY
        case KinesisSource() as source:
            return _kinesis_policy(source)
        case other:
            raise _unknown(other)


def reading_of(pipeline: Pipeline) -> Reading:
    """Return how the source of a pipeline is to be read."""
    match pipeline.source:
        case DynamoDBStreamsSource() as source:
            return Reading(
                readers=source.readers,
                pacing=Pacing(source.poll.min_ms, source.poll.max_ms),
                start=source.start_position,
                start_ms=None,
                listing_interval_ms=source.discovery.interval_ms,
            )
        case KinesisSource() as source:
            return Reading(
                readers=_KINESIS_READERS,
                pacing=_KINESIS_PACING if source.consumer is None else _PUSHED_PACING,
                start=source.start_position,
                start_ms=source.start_ms,
                listing_interval_ms=_KINESIS_LISTING_INTERVAL_MS,
            )
        case other:
            raise _unknown(other)


def _session(source: SourceKey) -> AwsSession:
    tagging = source.tagging_endpoint_url if isinstance(source, DynamoDBStreamsSource) else None
    return AwsSession(
        AwsSettings(
            region=source.region,
            endpoint_url=source.endpoint_url,
            profile=source.profile,
            role_arn=source.role_arn,
            external_id=source.external_id.get_secret_value() if source.external_id else None,
            access_key_id=source.access_key_id,
            secret_access_key=source.secret_access_key.get_secret_value() if source.secret_access_key else None,
            endpoints={TAGGING.endpoint_name: tagging} if tagging else {},
        )
    )


def _unknown(source: SourceKey) -> AssertionError:
    return AssertionError(f"no factory makes a source of type {source.type}")
