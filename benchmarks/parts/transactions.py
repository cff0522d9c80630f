"""What a transaction costs against its size, and what compression costs and saves."""

from __future__ import annotations

from contextlib import ExitStack

import msgspec

from benchmarks import pages
from benchmarks.lab import MEASURED_CORE, Cell, Lab, Table
from benchmarks.measure import Step, interleave, on_core
from benchmarks.publisher import Publisher
from benchmarks.transcoders import transcoders
from tailrace.core.page import Page

_SIZES = (1, 10, 100, 1_000, 5_000, 20_000)
_CODECS = ("none", "lz4", "snappy", "zstd", "gzip")


def by_size(lab: Lab) -> Table:
    """Measure transactions of several sizes, records ready-made."""
    topic, checkpoints = lab.topic(), lab.topic(1)
    page = transcoders(topic)["pure"](pages.page(pages.USUAL_SIZE))
    with ExitStack() as opened, on_core(MEASURED_CORE):
        steps: dict[str, Step] = {}
        for size in _SIZES:
            publisher = Publisher(lab.kafka, checkpoints)
            opened.callback(publisher.close)
            steps[str(size)] = _Committer(publisher, _of_size(page, size)).step
        rates = interleave(steps, rounds=lab.rounds, seconds=lab.round_s / 4)
    rows: list[list[Cell]] = []
    for size in _SIZES:
        rate = rates[str(size)]
        rows.append([size, round(1e3 * size / rate.cpu, 2), round(1e3 * size / rate.wall, 1), round(1e6 / rate.cpu, 1)])
    columns = ["changes", "CPU ms", "wall ms", "µs CPU a change"]
    return Table("A transaction against its size (400 B items, Debezium, ready-made records)", columns, rows)


def by_codec(lab: Lab) -> Table:
    """Measure producing with each codec, and what the broker's log then holds."""
    checkpoints = lab.topic(1)
    bodies = [pages.page(pages.USUAL_SIZE, number) for number in range(5)]
    with ExitStack() as opened, on_core(MEASURED_CORE):
        steps: dict[str, Step] = {}
        held: dict[str, float] = {}
        for codec in _CODECS:
            topic = lab.topic()
            publisher = Publisher({**lab.kafka, "compression.type": codec}, checkpoints)
            opened.callback(publisher.close)
            steps[codec] = _Committer(publisher, [transcoders(topic)["pure"](body) for body in bodies]).step
            before = lab.bytes_of(topic)
            changes = steps[codec]()
            held[codec] = (lab.bytes_of(topic) - before) / changes
        rates = interleave(steps, rounds=lab.rounds, seconds=lab.round_s / 2)
    rows: list[list[Cell]] = [
        [codec, round(1e6 / rate.cpu, 2), round(held[codec]), round(held["none"] / held[codec], 1)]
        for codec, rate in rates.items()
    ]
    columns = ["codec", "µs CPU a change", "bytes a change", "times smaller"]
    return Table("Compression: produce and commit of 5,000 ready-made changes (400 B items, Debezium)", columns, rows)


class _Committer:
    def __init__(self, publisher: Publisher, pages_: list[Page]) -> None:
        self._publisher = publisher
        self._pages = pages_

    def step(self) -> int:
        return self._publisher.commit(self._pages)


def _of_size(page: Page, changes: int) -> list[Page]:
    whole, rest = divmod(changes, len(page.changes))
    cut = msgspec.structs.replace(page, changes=page.changes[:rest], records=page.records[:rest])
    return [page] * whole + ([cut] if rest else [])
