"""The whole worker: `tailrace run` against a server of ready-made pages and a real broker."""

from __future__ import annotations

import time
from contextlib import ExitStack

from benchmarks.lab import MEASURED_CORE, Cell, Lab, Table
from benchmarks.measure import Rates, cores, interleave, on_core, percentile
from benchmarks.naive import NaiveStreams
from benchmarks.page_server import Stream
from benchmarks.transcoders import How, installed
from benchmarks.watcher import Watcher
from benchmarks.worker_run import Pipeline, WorkerRun, steady_rate

_CHANGES = {"pure": 160_000, "native": 640_000}
_SHARDS = 8
_TIMEOUT_S = 300


def throughput(lab: Lab) -> Table:
    """Measure one worker on one core with 8 and 64 shards, then more workers as the cores allow."""
    rounds = 1 if lab.quick else 3
    naive = Rates()
    runs = {
        (how, workers, shards): Rates()
        for how in installed()
        for workers in lab.some(_worker_counts())
        for shards in lab.some((8, 64))
    }
    for _ in range(rounds):
        with lab.pages(Stream()) as server, on_core(MEASURED_CORE):
            step = NaiveStreams(server.endpoint_url, lab.kafka, lab.topic()).step
            naive.extend(interleave({"naive": step}, rounds=1, seconds=lab.round_s)["naive"])
        for (how, workers, shards), rates in runs.items():
            rates.add(*_run(lab, how, workers, shards))
            lab.delete_topics("bench-")
    rows: list[list[Cell]] = [["naive", 1, 1, round(naive.cpu), round(naive.wall), 1.0]]
    figures: dict[str, float] = {}
    for (how, workers, shards), rates in runs.items():
        times = rates.times(naive)
        rows.append([how, workers, shards, round(rates.cpu), round(rates.wall), round(times, 1)])
        figures[f"{how}: {workers} workers, {shards} shards"] = times
    columns = ["how", "workers", "shards", "changes/CPU s", "changes/s", "times naive"]
    notes = [f"One worker is pinned to one core; several share {cores()} with the broker and the page server."]
    return Table("The whole worker (400 B items, Debezium)", columns, rows, notes, figures)


def latency(lab: Lab) -> Table:
    """Measure the time from a change's writing until a read_committed consumer has it, at three rates."""
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    for how in lab.some(installed()):
        for rate in lab.some((10, 1_000, 10_000)):
            delays_ms, busy = _delays_ms(lab, how, rate)
            p50, p99, p999 = (round(percentile(delays_ms, share)) for share in (0.5, 0.99, 0.999))
            rows.append([how, rate, len(delays_ms), p50, p99, p999, round(busy, 2)])
            figures[f"{how}: p99 ms at {rate}/s"] = p99
            lab.delete_topics("bench-")
    columns = ["how", "changes/s", "measured", "p50 ms", "p99 ms", "p99.9 ms", "cores busy"]
    title = f"Write to visible (read_committed), {_SHARDS} shards, default poll (100 ms) and linger (50 ms)"
    return Table(title, columns, rows, figures=figures)


def _delays_ms(lab: Lab, how: How, rate: int) -> tuple[list[float], float]:
    """Return how long each change of some seconds took, sorted, and how many cores the worker kept busy meanwhile."""
    seconds = 2 if lab.quick else 20
    stream = Stream(shards=_SHARDS, rate_per_s=rate / _SHARDS, start_s=time.time())
    with lab.pages(stream) as server:
        pipeline = Pipeline(lab, server)
        with WorkerRun(pipeline, how) as worker, Watcher(lab, pipeline.topic) as watcher:
            watcher.wait_seen()
            time.sleep(2)  # until it has caught up with what was written before
            begin_s, cpu_s = time.time(), worker.cpu_s()
            time.sleep(seconds)
            end_s, busy = time.time(), (worker.cpu_s() - cpu_s) / seconds
            return watcher.delays_ms(stream, begin_s, end_s), busy


def catch_up(lab: Lab) -> Table:
    """Measure how long a worker needs for what came in ten minutes, while changes continue."""
    rows: list[list[Cell]] = []
    for how in lab.some(installed()):
        rate, pause_s = 1_000, 10 if lab.quick else 600
        stream = Stream(shards=_SHARDS, rate_per_s=rate / _SHARDS, start_s=time.time() - pause_s)
        with lab.pages(stream) as server, ExitStack() as opened:
            begun_s = time.time()
            with on_core(MEASURED_CORE):
                worker = opened.enter_context(WorkerRun(Pipeline(lab, server), how))
            while worker.published() < (time.time() - stream.start_s - 1) * rate:
                time.sleep(0.2)
            took_s = time.time() - begun_s
        rows.append([how, rate, pause_s, round(took_s, 1), round(rate * (pause_s + took_s) / took_s)])
        lab.delete_topics("bench-")
    columns = ["how", "changes/s meanwhile", "pause s", "caught up after s", "changes/s on the way"]
    return Table("Catch-up, one worker on one core, its start included", columns, rows)


def _worker_counts() -> list[int]:
    return [count for count in (1, 2, 4) if count <= cores()]


def _run(lab: Lab, how: How, workers: int, shards: int) -> tuple[float, float, float]:
    changes = 16_000 if lab.quick else _CHANGES[how]
    records = max(1, changes // shards // 1_000) * 1_000
    with lab.pages(Stream(shards=shards, records=records)) as server, ExitStack() as opened:
        pipeline = Pipeline(lab, server)
        if workers == 1:
            opened.enter_context(on_core(MEASURED_CORE))
        runs = [opened.enter_context(WorkerRun(pipeline, how)) for _ in range(workers)]
        return steady_rate(runs, records * shards, _TIMEOUT_S)
