"""Reads and converts the pages that the lanes ask for, in the readers' threads."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tailrace.convert.converter import Converter
from tailrace.core.lane_messages import Event, PageRead, Read, ReadFailed
from tailrace.core.ports import ReadError, ReadFailure, ShardReader
from tailrace.errors import WorldError
from tailrace.process.host import Host
from tailrace.worker.observer import Observer
from tailrace.worker.vitals import Vitals

logger = logging.getLogger("tailrace.worker")


class PageReader:
    """Answers each `Read` with one `PageRead` or `ReadFailed`, whatever happens."""

    def __init__(
        self,
        reader: ShardReader,
        converter: Converter,
        *,
        observer: Observer,
        vitals: Vitals,
        host: Host,
        answer: Callable[[int, Event], None],
    ) -> None:
        """`answer(lane, event)` takes the answers."""
        self._reader = reader
        self._converter = converter
        self._observer = observer
        self._vitals = vitals
        self._host = host
        self._answer = answer

    def read(self, lane: int, read: Read) -> None:
        """Read and convert one page."""
        started_s = self._host.monotonic_s()
        shard = read.shard
        under_way = self._vitals.read_began(shard, read.table)
        try:
            source = self._reader.read(shard, read.position, read.iterator)
            under_way.converting = True
            page = self._converter.convert(shard, source, self._host.time_ns())
        except (ReadError, WorldError) as error:
            # What a conversion has to ask the world for, as a schema registry, is asked for again with the page.
            failure = error.failure if isinstance(error, ReadError) else ReadFailure.UNAVAILABLE
            self._vitals.read_failed(failure, str(error))
            self._observer.read_failed(read, failure, self._host.monotonic_s() - started_s)
            self._answer(lane, ReadFailed(read.epoch, read.ticket, shard, failure, str(error)))
        except Exception as error:
            self._vitals.read_ended()
            logger.exception("reading shard %s failed; this is a defect of Tailrace", shard.shard_id)
            reason = f"{type(error).__name__}: {error}"
            self._answer(lane, ReadFailed(read.epoch, read.ticket, shard, ReadFailure.UNAVAILABLE, reason))
        else:
            self._vitals.read_succeeded()
            self._observer.page_read(read, page, self._host.monotonic_s() - started_s)
            self._answer(lane, PageRead(read.epoch, read.ticket, page))
