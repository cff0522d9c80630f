"""The ways to make the page that a lane publishes of a page's bytes: pure Python, and native where it is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

import msgspec

from benchmarks.page_server import LOG_ARN, STREAM_ARN, TABLE, Stream
from tailrace.config import Pipeline, from_flags
from tailrace.config.format import FormatChoice
from tailrace.connect.registered_documents import DocumentKind, Documents
from tailrace.connect.written import Written
from tailrace.convert.converter import Converter
from tailrace.core.change_window import CHANGE_BYTES
from tailrace.core.page import Page
from tailrace.core.ports import LogPage, LogReader, SourcePage, TableFacts
from tailrace.core.shard import Position, ShardRef
from tailrace.core.windowed_shard import WindowOptions
from tailrace.formats import FORMATS, FormatName, make_format
from tailrace.formats.documents import KEY
from tailrace.kafka.topic_limits import TopicLimits
from tailrace.snapshot.chunk import marked
from tailrace.sources.dynamodb.rows import RowsOf
from tailrace.sources.dynamodb.stream_record import decode_page
from tailrace.sources.kinesis.log_page import LogDecoder, change_of, late
from tailrace.sources.windowed import WindowedReader
from tailrace.wiring.transcoder import choose

How = Literal["pure", "native"]
Transcode = Callable[[bytes], Page]

SHARD = ShardRef(STREAM_ARN, Stream().shard_ids()[0])
LOG_SHARD = ShardRef(f"{LOG_ARN}/1700000000000", "shardId-000000000000")
LOG_WINDOW_PAGES = 16
_HEAD = Position("TRIM_HORIZON")
FACTS = TableFacts(
    TABLE,
    STREAM_ARN.partition("/stream/")[0],
    {"id": "S", "line": "N"},
    item_count=0,
    size_bytes=0,
    read_capacity=None,
)


class _NoRegistry:
    """Knows every id without asking."""

    def id_of(self, subject: str, written: Written) -> int:
        """Return 1."""
        del subject, written
        return 1


def converter(topic: str, format_name: FormatName = "debezium", schema: DocumentKind | None = None) -> Converter:
    """Make the converter of a pipeline whose table has this topic, and whose records are documents of `schema`."""
    documents, shape = None, FORMATS[format_name].document
    if schema is not None and shape is not None:
        documents = Documents(schema, KEY, shape, strategy="TopicNameStrategy", ids=_NoRegistry())
    return Converter(
        make_format(format_name, pipeline="bench", numbers="exact").encode,
        pipeline="bench",
        topic_of=lambda _table, *_: topic,
        dead_letters_topic="bench.dead-letters",
        tombstones=True,
        errors_fail=False,
        limits=TopicLimits({}),
        documents=documents,
    )


def installed() -> list[How]:
    """Name the transcoders that this environment has."""
    has_native = find_spec("tailrace_native") and find_spec("tailrace.wiring.transcoder")
    return ["pure", "native"] if has_native else ["pure"]


def environment(how: How) -> dict[str, str]:
    """Return the environment in which a worker uses this transcoder."""
    return {"TAILRACE_NATIVE": "on" if how == "native" else "off"}


def transcoders(
    topic: str, format_name: FormatName = "debezium", schema: DocumentKind | None = None
) -> dict[How, Transcode]:
    """Return each way that this environment has, by name."""
    return {how: _transcode(how, topic, format_name, schema) for how in installed()}


def log_transcoders(topic: str) -> dict[How, Transcode]:
    """Return each way to make of a page of Kinesis the page that a lane publishes, by name.

    Each has a window of the changes of the last `LOG_WINDOW_PAGES` pages, in which repeats are looked for.
    """
    return {how: _log_transcode(how, topic) for how in installed()}


class _Pages(LogReader):
    """Decodes whatever page is laid before it."""

    body = b""

    def __init__(self, decode: LogDecoder) -> None:
        self._decode = decode

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> LogPage:
        """Decode the page."""
        return self._decode(self.body, shard=shard)


def _log_transcode(how: How, topic: str) -> Transcode:
    convert = converter(topic).convert
    log = _Pages(
        choose(environment(how)).log_decoder(_pipeline("debezium"), lambda _table: None, "auto", deaggregate=False)
    )
    reader: WindowedReader | None = None
    iterator: str | None = None

    def transcode(body: bytes) -> Page:
        nonlocal reader, iterator
        log.body = body
        if reader is None:
            changes = LOG_WINDOW_PAGES * len(log.read(LOG_SHARD, _HEAD, None).records)
            reader = WindowedReader(
                log,
                WindowOptions(window_ms=600_000),
                window_bytes=changes * CHANGE_BYTES,
                gone_after_ms=0,
                flagged=late,
                change_of=change_of,
            )
        source = reader.read(LOG_SHARD, _HEAD, iterator)
        iterator = source.next_iterator
        page = convert(LOG_SHARD, source, time.time_ns())
        assert not page.skipped, "no change is a repeat"
        return page

    return transcode


def row_transcoders(topic: str) -> dict[How, Transcode]:
    """Return each way to make of an answer of Scan the page that a snapshot publishes, by name."""
    return {how: _row_transcode(how, topic) for how in installed()}


def _row_transcode(how: How, topic: str) -> Transcode:
    convert = converter(topic).convert
    decode = choose(environment(how)).scan_decoder(_pipeline("debezium"), lambda _table: None)

    def transcode(body: bytes) -> Page:
        now_ns = time.time_ns()
        rows = decode(body, RowsOf(FACTS, "true", now_ns // 1_000_000))
        source = SourcePage(rows.records, None, rows.size_bytes, full=False)
        page = convert(SHARD, source, now_ns)
        return msgspec.structs.replace(page, records=marked(page.records, "bench"))

    return transcode


def _transcode(how: How, topic: str, format_name: FormatName, schema: DocumentKind | None) -> Transcode:
    convert = converter(topic, format_name, schema).convert
    decode = _decoder(how, format_name)

    def transcode(body: bytes) -> Page:
        source = decode(body, shard=SHARD, table=TABLE, region="us-east-1")
        return convert(SHARD, source, time.time_ns())

    return transcode


def _decoder(how: How, format_name: FormatName) -> Callable[..., SourcePage]:
    if how == "pure":
        return decode_page
    return choose(environment(how)).decoder(_pipeline(format_name), lambda _table: None)


def _pipeline(format_name: FormatName) -> Pipeline:
    pipeline = from_flags([TABLE], "localhost:9092", endpoint_url=None, region="us-east-1", name="bench").pipeline
    return pipeline.model_copy(update={"format": FormatChoice(type=format_name)})
