"""Bytes of Scan's answers to committed rows of a snapshot on one core, against the usual loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle

from benchmarks import pages
from benchmarks.lab import MEASURED_CORE, Cell, Lab, Table
from benchmarks.measure import Step, interleave, on_core
from benchmarks.naive_scan import NaiveScan
from benchmarks.page_server import TABLE, Stream
from benchmarks.publisher import Publisher
from benchmarks.transcoders import Transcode, row_transcoders
from tailrace.core.checkpoint import SegmentKey, SegmentRecord, SegmentRef, Write
from tailrace.core.lane_messages import Transaction

NAIVE = "naive"
SIZES = (400, 100, 4_000)
"""Bytes of an item; the first is the usual one, of which the goals are."""
_BODIES = 2
_SEGMENT = SegmentKey(SegmentRef(TABLE, "bench", "0"))


def by_size(lab: Lab) -> Table:
    """Measure items of several sizes, Debezium's envelope, exact numbers; a transaction a page, as a snapshot does."""
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    for size in lab.some(SIZES):
        with _contenders(lab, size) as contenders, on_core(MEASURED_CORE):
            rates = interleave(contenders, rounds=lab.rounds, seconds=lab.round_s)
        lab.delete_topics("bench-")
        for how, rate in rates.items():
            times = rate.times(rates[NAIVE])
            cells: list[Cell] = [round(rate.cpu), round(rate.wall), round(1e6 / rate.cpu, 1), round(times, 1)]
            rows.append([f"{size:,} B", pages.items_per_page(size), how, *cells])
            if size == SIZES[0]:
                figures[how] = times
    columns = ["item", "items a page", "how", "items/CPU s", "items/s", "µs CPU an item", "times naive"]
    return Table("Rows: an answer of Scan to commit, Debezium", columns, rows, figures=figures)


class _Carrier:
    """Carries ready-made bodies: each step is one page and its transaction."""

    def __init__(self, publisher: Publisher, transcode: Transcode, bodies: Sequence[bytes]) -> None:
        self._publisher = publisher
        self._transcode = transcode
        self._bodies = cycle(bodies)

    def step(self) -> int:
        """Transcode one page and commit it."""
        page = self._transcode(next(self._bodies))
        record = SegmentRecord(table=TABLE, state="running", at_ms=0, rows=len(page.changes))
        self._publisher.publish(Transaction((page,), (Write(0, _SEGMENT, record),)))
        return len(page.changes)


@contextmanager
def _contenders(lab: Lab, size: int) -> Iterator[dict[str, Step]]:
    topic, checkpoints = lab.topic(), lab.topic(1)
    bodies = [pages.scanned(size, number * pages.items_per_page(size)) for number in range(_BODIES)]
    with ExitStack() as opened:
        server = opened.enter_context(lab.pages(Stream(item_bytes=size)))
        opened.enter_context(on_core(MEASURED_CORE))
        contenders: dict[str, Step] = {NAIVE: NaiveScan(server.endpoint_url, lab.kafka, lab.topic()).step}
        for how, transcode in row_transcoders(topic).items():
            publisher = Publisher(lab.kafka, checkpoints)
            opened.callback(publisher.close)
            contenders[how] = _Carrier(publisher, transcode, bodies).step
        yield contenders
