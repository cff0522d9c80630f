"""Snapshots in the whole worker: what they cost the changes beside them, and what a second worker gains."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.lab import Cell, Lab, Table, wait_until
from benchmarks.measure import cores, percentile
from benchmarks.page_server import Stream
from benchmarks.transcoders import installed
from benchmarks.watcher import Watcher
from benchmarks.worker_run import Pipeline, WorkerRun

_SHARDS = 8
_CHANGES_PER_S = 1_000
_SEGMENTS = 64
_SCAN_S = 0.1
_TIMEOUT_S = 120


@dataclass
class _Rounds:
    """What was measured while the snapshot ran, or while it was paused."""

    delays_ms: list[list[float]] = field(default_factory=list)
    """From write to visible, sorted, round by round."""
    rows: float = 0.0
    cpu_s: float = 0.0

    def at(self, share: float) -> list[float]:
        """Return this percentile of each round."""
        return [percentile(each, share) for each in self.delays_ms]


def latency(lab: Lab) -> Table:
    """Measure write to visible with and without a snapshot, in one worker: it is paused and resumed in turn."""
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    seconds, rounds = (1, 1) if lab.quick else (10, 5)
    for how in lab.some(installed()):
        paused, running = _Rounds(), _Rounds()
        stream = Stream(_SHARDS, rate_per_s=_CHANGES_PER_S / _SHARDS, start_s=time.time(), scan_s=_SCAN_S)
        with lab.pages(stream) as server:
            pipeline = Pipeline(lab, server, snapshot="initial")
            with WorkerRun(pipeline, how) as worker, Watcher(lab, pipeline.topic) as watcher:
                wait_until("rows", lambda: worker.rows() > 0, _TIMEOUT_S)
                for _ in range(rounds):
                    _pause(pipeline, worker)
                    _measure(paused, worker, watcher, stream, seconds)
                    _resume(pipeline, worker)
                    _measure(running, worker, watcher, stream, seconds)
        times = statistics.median(mine / its for mine, its in zip(running.at(0.99), paused.at(0.99), strict=True))
        for which, measured, shown in (("paused", paused, 1.0), ("running", running, round(times, 2))):
            p50, p99 = (round(statistics.median(measured.at(share))) for share in (0.5, 0.99))
            rates = round(measured.rows / seconds / rounds), round(measured.cpu_s / seconds / rounds, 2)
            rows.append([how, which, rates[0], p50, p99, shown, rates[1]])
        figures[f"{how}: times the p99 without a snapshot"] = times
        lab.delete_topics("bench-")
    columns = ["how", "snapshot", "rows/s", "p50 ms", "p99 ms", "times paused", "cores busy"]
    title = f"Write to visible beside a snapshot, {_CHANGES_PER_S:,} changes a second, default settings"
    notes = [f"One worker whose snapshot is paused and resumed in turn, {seconds} s each; medians of {rounds} rounds."]
    return Table(title, columns, rows, notes, figures)


def workers(lab: Lab) -> Table:
    """Measure how many rows a second one worker and two publish of one table of 64 segments."""
    runs: dict[int, list[_Run]] = {1: [], 2: []}
    how = installed()[-1]
    for _ in range(1 if lab.quick else 3):
        for count, measured in runs.items():
            measured.append(_run(lab, count, 2 if lab.quick else 20))
    times = statistics.median(two.rows_per_s / one.rows_per_s for one, two in zip(runs[1], runs[2], strict=True))
    rows: list[list[Cell]] = []
    for count, measured in runs.items():
        rows_per_s = round(statistics.median(run.rows_per_s for run in measured))
        busy = round(statistics.median(run.cores_busy for run in measured), 2)
        rows.append([count, rows_per_s, round(times, 2) if count > 1 else 1.0, busy])
    title = f"One table of {_SEGMENTS} segments over workers ({how}, 400 B items, Scan takes {_SCAN_S * 1000:.0f} ms)"
    columns = ["workers", "rows/s", "times one", "cores busy"]
    notes = [f"The workers share {cores()} cores with the broker and the page server."]
    return Table(title, columns, rows, notes, {"times the rows of one worker": times})


class _Run(NamedTuple):
    """What workers did together."""

    rows_per_s: float
    cores_busy: float


def _run(lab: Lab, count: int, seconds: float) -> _Run:
    """Run so many workers, and measure them once each publishes rows."""
    with lab.pages(Stream(_SHARDS, records=0, scan_s=_SCAN_S)) as server, ExitStack() as opened:
        # So much read capacity that it bounds nothing.
        snapshot = {"mode": "initial", "segments": _SEGMENTS, "read_capacity": 1_000_000}
        pipeline = Pipeline(lab, server, snapshot=snapshot)
        workers = [opened.enter_context(WorkerRun(pipeline, installed()[-1])) for _ in range(count)]
        wait_until("rows of each worker", lambda: all(worker.rows() > 0 for worker in workers), _TIMEOUT_S)
        rows, cpu_s = sum(each.rows() for each in workers), sum(each.cpu_s() for each in workers)
        begun_s = time.perf_counter()
        time.sleep(seconds)
        rows, cpu_s = sum(each.rows() for each in workers) - rows, sum(each.cpu_s() for each in workers) - cpu_s
        took_s = time.perf_counter() - begun_s
    lab.delete_topics("bench-")
    return _Run(rows / took_s, cpu_s / took_s)


def _measure(into: _Rounds, worker: WorkerRun, watcher: Watcher, stream: Stream, seconds: float) -> None:
    rows, cpu_s, begin_s = worker.rows(), worker.cpu_s(), time.time()
    time.sleep(seconds)
    into.rows += worker.rows() - rows
    into.cpu_s += worker.cpu_s() - cpu_s
    into.delays_ms.append(watcher.delays_ms(stream, begin_s, time.time()))


def _pause(pipeline: Pipeline, worker: WorkerRun) -> None:
    """Pause the snapshot, and wait until no chunk is under way any more."""
    pipeline.order_snapshot("pause")
    rows = -1.0
    while worker.rows() != rows:
        rows = worker.rows()
        time.sleep(2)


def _resume(pipeline: Pipeline, worker: WorkerRun) -> None:
    rows = worker.rows()
    pipeline.order_snapshot("run")
    wait_until("rows", lambda: worker.rows() > rows, _TIMEOUT_S)
