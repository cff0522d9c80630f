"""Makes the source of a pipeline, and what reads its tables: the only place that knows which kind it is."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tailrace.config import Pipeline
from tailrace.config.sources.dynamodb_streams import DynamoDBStreamsSource
from tailrace.core.checkpoint import Start
from tailrace.core.pacing import Pacing
from tailrace.core.ports import ExportReader, Source, TableReader
from tailrace.core.source_policy import SourcePolicy
from tailrace.sources.aws.files import S3_SCHEME
from tailrace.sources.aws.session import AwsSession, AwsSettings
from tailrace.sources.dynamodb.export import Export
from tailrace.sources.dynamodb.policy import POLICY
from tailrace.sources.dynamodb.streams import DynamoDBStreams
from tailrace.sources.dynamodb.tables import DynamoDBTables
from tailrace.wiring.transcoder import PURE, Transcoder


class Reading(msgspec.Struct, frozen=True):
    """How the pipeline file wants its source to be read."""

    readers: int
    """Shards that a worker reads at the same time."""
    pacing: Pacing
    start: Start
    listing_interval_ms: int


def make_source(
    pipeline: Pipeline,
    transcoder: Transcoder = PURE,
    transformation_of: Callable[[str], object | None] = lambda _: None,
) -> Source:
    """Make the source of a pipeline; `transformation_of` returns a table's transformation, which needs decoded changes.

    Raises WorldError for credentials or a region that are not there.
    """
    source = _dynamodb_streams(pipeline)
    return DynamoDBStreams(
        _session(source),
        decode=transcoder.decoder(pipeline, transformation_of),
        crc32=transcoder.crc32,
        readers=source.readers,
        describe_stream_per_second=source.discovery.describe_stream_per_second,
    )


def make_tables(
    pipeline: Pipeline,
    transcoder: Transcoder = PURE,
    transformation_of: Callable[[str], object | None] = lambda _: None,
) -> TableReader:
    """Make what reads the tables themselves; `transformation_of` as for `make_source`. Raises `WorldError`."""
    source = _dynamodb_streams(pipeline)
    return DynamoDBTables(
        _session(source),
        decode=transcoder.scan_decoder(pipeline, transformation_of),
        crc32=transcoder.crc32,
        readers=source.readers,
    )


def make_export(
    pipeline: Pipeline,
    location: str,
    transcoder: Transcoder = PURE,
    transformation_of: Callable[[str], object | None] = lambda _: None,
) -> ExportReader:
    """Make what reads an export of a table, in S3 or a folder; `transformation_of` as for `make_source`.

    Raises `WorldError`, `ReadError`.
    """
    session = _session(_dynamodb_streams(pipeline)) if location.startswith(S3_SCHEME) else None
    return Export(location, session, decode=transcoder.lines_decoder(pipeline, transformation_of))


def policy_of(pipeline: Pipeline) -> SourcePolicy:
    """Return what the protocol must know of the source."""
    _dynamodb_streams(pipeline)
    return POLICY


def reading_of(pipeline: Pipeline) -> Reading:
    """Return how the source of a pipeline is to be read."""
    source = _dynamodb_streams(pipeline)
    return Reading(
        readers=source.readers,
        pacing=Pacing(source.poll.min_ms, source.poll.max_ms),
        start=source.start_position,
        listing_interval_ms=source.discovery.interval_ms,
    )


def _session(source: DynamoDBStreamsSource) -> AwsSession:
    return AwsSession(
        AwsSettings(
            region=source.region,
            endpoint_url=source.endpoint_url,
            profile=source.profile,
            role_arn=source.role_arn,
            external_id=source.external_id.get_secret_value() if source.external_id else None,
        )
    )


def _dynamodb_streams(pipeline: Pipeline) -> DynamoDBStreamsSource:
    """Return the source's part of the file. A second kind makes this a choice by its type."""
    assert isinstance(pipeline.source, DynamoDBStreamsSource)
    return pipeline.source
