"""Bytes of answers of Kinesis to committed transaction on one core, against the usual loop and DynamoDB Streams."""

from __future__ import annotations

from benchmarks.lab import MEASURED_CORE, Cell, Lab, Table
from benchmarks.measure import interleave, on_core
from benchmarks.parts.page_to_commit import COLUMNS, KINESIS, NAIVE, STREAMS, cells, contenders

SIZES = (400, 100, 4_000)
"""Bytes of an item; the first is the usual one, of which the goals are."""
_OF_STREAMS = "of DynamoDB Streams"


def by_size(lab: Lab) -> Table:
    """Measure changes of items of several sizes, both images, Debezium's envelope, exact numbers."""
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    for size in lab.some(SIZES):
        with contenders(lab, KINESIS, size) as steps, contenders(lab, STREAMS, size) as of_streams:
            all_steps = steps | {f"{how} {_OF_STREAMS}": step for how, step in of_streams.items() if how != NAIVE}
            with on_core(MEASURED_CORE):
                rates = interleave(all_steps, rounds=lab.rounds, seconds=lab.round_s)
        for name, rate in rates.items():
            rows.append([f"{size:,} B", name, *cells(rates, name)])
            if size == SIZES[0]:
                figures[name] = rate.times(rates[NAIVE])
        lab.delete_topics("bench-")
    return Table(
        "Kinesis: page to commit, 1,000 records or 1 MB of items a page, both images, Debezium",
        ["item", "how", *COLUMNS],
        rows,
        figures=figures,
    )
