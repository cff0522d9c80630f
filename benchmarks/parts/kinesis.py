"""Bytes of answers of Kinesis to the records of a page on one core, against the usual loop."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

from benchmarks import pages
from benchmarks.lab import MEASURED_CORE, Cell, Lab, Table
from benchmarks.measure import Step, interleave, on_core
from benchmarks.naive_log import NaiveLog
from benchmarks.transcoders import Transcode, log_transcoders

NAIVE = "naive"
SIZES = (400, 100, 4_000)
"""Bytes of an item; the first is the usual one, of which the goals are."""
_BODIES = 4


def by_size(lab: Lab) -> Table:
    """Measure changes of items of several sizes, both images, Debezium's envelope, exact numbers."""
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    for size in lab.some(SIZES):
        bodies = [pages.log_page(size, number) for number in range(_BODIES)]
        contenders: dict[str, Step] = {NAIVE: NaiveLog(bodies).step}
        contenders |= {how: _step(transcode, bodies) for how, transcode in log_transcoders("bench").items()}
        with on_core(MEASURED_CORE):
            rates = interleave(contenders, rounds=lab.rounds, seconds=lab.round_s)
        for name, rate in rates.items():
            times = rate.times(rates[NAIVE])
            rows.append([f"{size:,} B", name, round(rate.cpu), round(1e6 / rate.cpu, 1), round(times, 1)])
            if size == SIZES[0]:
                figures[name] = times
    columns = ["item", "how", "changes/CPU s", "µs CPU a change", "times naive"]
    return Table("Pages of Kinesis: 1,000 records or 1 MB, both images, to Debezium", columns, rows, figures=figures)


def _step(transcode: Transcode, bodies: list[bytes]) -> Callable[[], int]:
    following = cycle(bodies)
    return lambda: len(transcode(next(following)).changes)
