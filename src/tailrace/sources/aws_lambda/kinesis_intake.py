"""Takes in the events of Kinesis. What a batch repeats is known from the stream itself, read back after a claim.

A window holds what is published up to a position. It is kept from batch to batch while all that it holds is published
and nobody else published more; otherwise it is filled again from the shard's checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from tailrace.core.ports import LogRecord, ReadError, ReadFailure, Source, SourcePage
from tailrace.core.shard import Position, ShardRef, Tail, is_after
from tailrace.core.shard_publisher import ShardPublisher
from tailrace.core.tails import listed_tails
from tailrace.sources.aws_lambda.event import Batch
from tailrace.sources.aws_lambda.intake import Delivery, Intake, pieces
from tailrace.sources.aws_lambda.kinesis_event import read_event
from tailrace.sources.delivered import DeliveredLog
from tailrace.sources.kinesis.log_page import LogDecoder
from tailrace.sources.windowed import WindowedReader

_DESCRIBED_FOR_S: Final = 60.0
"""How long a stream counts as the one that it was: many sandboxes share ten calls a second."""
_RETRY_S: Final = 1.0
_WINDOWS_MAX: Final = 64
"""Shards whose place is remembered; the oldest goes first."""


class _Window(msgspec.Struct):
    """The window of a shard: a session of the reader."""

    position: Position
    """Where the session began."""
    token: str | None
    """The iterator that it returned last."""
    sequence: str | None
    """All up to here is in it, or will be when its tails are read."""


class KinesisIntake(Intake):
    """Takes in the events of the streams of one account and region."""

    def __init__(
        self,
        streams: Source,
        log: DeliveredLog,
        reader: WindowedReader,
        decode: LogDecoder,
        *,
        orders: bool,
    ) -> None:
        """`reader` reads from `log`; `streams` lists the shards; `orders`: the changes of a batch are put in order."""
        self._decode = decode
        self._streams = streams
        self._log = log
        self._reader = reader
        self._orders = orders
        self._described: dict[str, tuple[float, str]] = {}
        self._windows: dict[ShardRef, _Window] = {}

    def take(self, event: object) -> Delivery | None:
        """Read an event, and decode its records."""
        batch = read_event(event)
        if batch is None:
            return None
        shard = ShardRef(self._stream(batch.shard.stream), batch.shard.shard_id)
        batch = msgspec.structs.replace(batch, shard=shard)
        return KinesisDelivery(self, batch, self._decode(batch.body, shard=shard).records)

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._streams.close()

    def pages(
        self,
        batch: Batch,
        records: list[LogRecord],
        publisher: ShardPublisher,
        step: int,
        pause: Callable[[float], None],
    ) -> Iterator[SourcePage]:
        """Return what is to be published of a batch's records; see `Delivery.pages`."""
        window = self._windows.pop(batch.shard, None)
        if window is None or window.sequence != publisher.sequence:
            window = _Window(self._position(batch, records[0], publisher, pause), None, publisher.sequence)
        self._keep(batch.shard, window)
        for piece in pieces(records, len(records) if self._orders else step, _sequence):
            page = self._judged(batch, piece, window, publisher, pause)
            window.sequence = _sequence(piece[-1])
            self._windows.pop(batch.shard, None)  # it holds what is not published, until the next page is asked for
            yield page
        self._keep(batch.shard, window)

    def _keep(self, shard: ShardRef, window: _Window) -> None:
        self._windows[shard] = window
        if len(self._windows) > _WINDOWS_MAX:
            del self._windows[next(iter(self._windows))]

    def _judged(
        self,
        batch: Batch,
        piece: list[LogRecord],
        window: _Window,
        publisher: ShardPublisher,
        pause: Callable[[float], None],
    ) -> SourcePage:
        """Return what is to be published of a piece, once all tails are read; wait as the stream's limits ask for."""
        policy = self._streams.policy
        self._log.bring(batch.shard, window.position.sequence, piece, len(batch.body))
        while True:
            pause(0)
            asked_ms = round(time.monotonic() * 1000)
            try:
                page = self._reader.read(batch.shard, window.position, window.token)
            except ReadError as error:
                match error.failure:
                    case ReadFailure.EXPIRED:  # the sandbox was frozen for long: the window is filled again
                        window.token = None
                        window.position = self._position(batch, piece[0], publisher, pause)
                        self._log.bring(batch.shard, window.position.sequence, piece, len(batch.body))
                    case ReadFailure.THROTTLED | ReadFailure.UNAVAILABLE:
                        pause(_RETRY_S)
                    case _:
                        raise
                continue
            window.token = page.next_iterator
            if not self._log.has_more:
                return page
            pause(max(0.0, policy.next_read_ms(asked_ms, page.size_bytes) / 1000 - time.monotonic()))

    def _position(
        self, batch: Batch, first: LogRecord, publisher: ShardPublisher, pause: Callable[[float], None]
    ) -> Position:
        """Return where a new window begins: what is read again, and behind what the batch's records are.

        Lambda brings a shard's records when those of its parents are through, so that these need no checkpoint. What
        it gave up between the checkpoint and the batch counts as published, as it does behind any later checkpoint.
        """
        shard, checkpoint, window_ms = batch.shard, publisher.checkpoint, self._streams.policy.window_ms
        if publisher.shard != shard or not window_ms:  # nothing is known of the shard, or nothing repeats
            return Position("TRIM_HORIZON")
        arrived_ms = first.arrived_ms
        if checkpoint is not None and checkpoint.arrived_ms is not None:
            arrived_ms = checkpoint.arrived_ms
        pause(0)
        listed = self._streams.shards(shard.stream).shards
        tails = listed_tails(listed, shard, max(0, arrived_ms - window_ms))
        if checkpoint is None or checkpoint.sequence is None or checkpoint.trimmed:
            return Position("TRIM_HORIZON", tails=tails)
        own = Tail(shard, checkpoint.window_from)
        before_first = str(int(_sequence(first)) - 1)
        return Position("AFTER_SEQUENCE_NUMBER", before_first, tails=(*tails, own))

    def _stream(self, arn: str) -> str:
        """Return what the stream is called, which tells when it was created. Raises `ReadError`."""
        now_s = time.monotonic()
        at_s, stream = self._described.get(arn, (0.0, ""))
        if not stream or now_s - at_s > _DESCRIBED_FOR_S:
            stream = self._streams.table_stream(arn).stream or ""
            self._described[arn] = now_s, stream
        return stream


class KinesisDelivery(Delivery):
    """One batch of a shard of Kinesis."""

    def __init__(self, intake: KinesisIntake, batch: Batch, records: list[LogRecord]) -> None:
        self.batch = batch
        self.sequences = list(dict.fromkeys(map(_sequence, records)))
        self._intake = intake
        self._records = records

    def pages(self, publisher: ShardPublisher, step: int, pause: Callable[[float], None]) -> Iterator[SourcePage]:
        """Return what is to be published, without repeats."""
        if publisher.has_ended:
            return
        records = [each for each in self._records if is_after(_sequence(each), publisher.sequence)]
        if records:
            yield from self._intake.pages(self.batch, records, publisher, step, pause)


def _sequence(record: LogRecord) -> str:
    return record.record.origin.sequence
