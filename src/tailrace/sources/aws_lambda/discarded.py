"""Reads the batches again that AWS Lambda discarded, as far as their streams, or the messages about them, have them."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from tailrace.core.ports import LogRecord, ReadError, ReadFailure, Source, SourceRecord
from tailrace.core.shard import ShardRef, Tail
from tailrace.core.tails import listed_tails
from tailrace.errors import WorldError, excerpt
from tailrace.sources.aws_lambda.failure_message import DiscardedBatch
from tailrace.sources.aws_lambda.kinesis_event import read_event
from tailrace.sources.dynamodb.stream_arn import parse as parse_arn
from tailrace.sources.dynamodb.stream_record import decode_page
from tailrace.sources.kinesis import stream_ref
from tailrace.sources.kinesis.log_page import LogDecoder
from tailrace.sources.kinesis.policy import HOUR_MS
from tailrace.sources.shard_range import read_range
from tailrace.sources.windowed import WindowedReader

_CREATION_ROUNDED_MS: Final = 1_000
"""How much earlier than it was Lambda may tell that a record arrived: some of its times are in whole seconds."""


class FoundBatch(msgspec.Struct, frozen=True):
    """What is left of a batch."""

    shard: ShardRef
    records: list[SourceRecord]
    """In the shard's order. Those that repeat others before them, in the batch or not, are marked."""
    whole: bool
    """False when the stream no longer has its beginning."""
    kept: str
    """How long the stream keeps what it holds, in words."""


class DiscardedBatches(Protocol):
    """Reads batches again."""

    def read(self, batch: DiscardedBatch) -> FoundBatch:
        """Read what is left of a batch. Raises `ReadError` if it is none of this source, WorldError if it cannot."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


class StreamsBatches(DiscardedBatches):
    """Reads batches of DynamoDB Streams."""

    def __init__(self, streams: Source) -> None:
        self._streams = streams

    def read(self, batch: DiscardedBatch) -> FoundBatch:
        """Return the records of the message itself, if it has them, else those of the stream."""
        shard, kept = batch.shard, "DynamoDB keeps changes for 24 hours"
        table, region = parse_arn(shard.stream)
        if batch.payload is not None:
            page = decode_page(batch.payload, shard=shard, table=table, region=region)
            return FoundBatch(shard, page.records, whole=True, kept=kept)
        found = read_range(self._streams, shard, batch.first, batch.last)
        return FoundBatch(shard, found.records, found.whole, kept)

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._streams.close()


class KinesisBatches(DiscardedBatches):
    """Reads batches of Kinesis, and what arrived in the window before them, to mark what they repeat."""

    def __init__(self, streams: Source, reader: WindowedReader, decode: LogDecoder) -> None:
        """`streams` reads with `reader`, which holds nothing back."""
        self._streams = streams
        self._reader = reader
        self._decode = decode

    def read(self, batch: DiscardedBatch) -> FoundBatch:
        """Return the records of the stream; if it no longer has them all, those of the message itself, if it has them.

        What a batch repeats that the stream no longer has is not known, unless it is in the batch.
        """
        arn = batch.shard.stream
        if stream_ref.of(arn, 0) is None:
            raise _refusal(batch, f"{excerpt(arn)!r} is not the ARN of a stream of Kinesis")
        ref = stream_ref.parse(self._streams.table_stream(arn).stream or "")
        if batch.created_ms + _CREATION_ROUNDED_MS <= ref.created_ms:
            raise _refusal(batch, "the stream was deleted and created again since, so they are lost")
        shard = ShardRef(ref.text, batch.shard.shard_id)
        listing = self._streams.shards(shard.stream)
        kept = f"the stream keeps its records for {(listing.retention_ms or 0) // HOUR_MS} hours"
        tails: tuple[Tail, ...] = ()
        if window_ms := self._streams.policy.window_ms:
            since_ms = max(0, batch.created_ms - window_ms)
            tails = (*listed_tails(listing.shards, shard, since_ms), Tail(shard, None, since_ms))
        found = read_range(self._streams, shard, batch.first, batch.last, tails=tails)
        if found.whole or batch.payload is None:
            return FoundBatch(shard, found.records, found.whole, kept)
        records = self._records(batch, batch.payload, shard)
        page = self._reader.judged(shard, records)
        return FoundBatch(shard, page.records, whole=True, kept=kept)

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._streams.close()

    def _records(self, batch: DiscardedBatch, payload: bytes, shard: ShardRef) -> list[LogRecord]:
        try:
            event = read_event(msgspec.json.decode(payload))
        except (ValueError, RecursionError, WorldError) as error:
            raise _refusal(batch, f"the event in the message cannot be understood: {excerpt(str(error))}") from None
        if event is None or event.shard != batch.shard:
            raise _refusal(batch, "the event in the message is not of that shard")
        return self._decode(event.body, shard=shard).records


def _refusal(batch: DiscardedBatch, why: str) -> ReadError:
    return ReadError(
        f"records {batch.first} to {batch.last} of {batch.place}, shard {batch.shard.shard_id}, cannot be read: {why}",
        ReadFailure.GONE,
        hint="the message stays: delete it if it is of no use",
    )
