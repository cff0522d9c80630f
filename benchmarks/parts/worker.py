"""The whole worker: `tailrace run` against a server of ready-made pages and a real broker."""

from __future__ import annotations

import time
from contextlib import ExitStack

from benchmarks import pages
from benchmarks.lab import MEASURED_CORE, Cell, Lab, Table, wait_until
from benchmarks.measure import Rates, cores, interleave, on_core, percentile
from benchmarks.naive import NaivePipeline
from benchmarks.page_server import Stream
from benchmarks.watcher import Watcher
from benchmarks.worker_run import Pipeline, WorkerRun, steady_rate

_CHANGES = 160_000
_TIMEOUT_S = 300


def throughput(lab: Lab) -> Table:
    """Measure one worker on one core with 8 and 64 shards, then more workers as the cores allow."""
    changes = 16_000 if lab.quick else _CHANGES
    rounds = 1 if lab.quick else 3
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    naive, runs = Rates(), {(workers, shards): Rates() for workers in _worker_counts() for shards in (8, 64)}
    for _ in range(rounds):
        with lab.pages(Stream()) as server, on_core(MEASURED_CORE):
            step = NaivePipeline(server.endpoint_url, lab.kafka, lab.topic()).step
            round_ = interleave({"naive": step}, rounds=1, seconds=lab.round_s)["naive"]
        naive.per_cpu_s += round_.per_cpu_s
        naive.per_wall_s += round_.per_wall_s
        for (workers, shards), rates in runs.items():
            rates.add(*_run(lab, workers, shards, changes))
            lab.delete_topics("bench-")
    rows.append(["naive", 1, 1, round(naive.cpu), round(naive.wall), 1.0])
    for (workers, shards), rates in runs.items():
        times = rates.times(naive)
        rows.append(["pure", workers, shards, round(rates.cpu), round(rates.wall), round(times, 1)])
        figures[f"pure/{workers}/{shards}"] = times
    columns = ["how", "workers", "shards", "changes/CPU s", "changes/s", "× naive (CPU)"]
    notes = [f"One worker is pinned to one core; more share {cores()} with the broker and the page server."]
    return Table("The whole worker (400 B items, Debezium)", columns, rows, notes, figures)


def latency(lab: Lab) -> Table:
    """Measure the time from a change's writing until a read_committed consumer has it, at three rates."""
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    shards = 8
    for rate in (10, 1_000, 10_000):
        seconds = 3 if lab.quick else 20
        start_s = time.time() + 8
        stream = Stream(shards=shards, rate_per_s=rate / shards, start_s=start_s, item_bytes=pages.USUAL_SIZE)
        with lab.pages(stream) as server:
            pipeline = Pipeline(lab, server)
            with WorkerRun(pipeline) as worker:
                worker.wait_ready()
                with Watcher(lab, pipeline.topic) as watcher:
                    watcher.wait_seen()
                    settled_s = max(start_s, time.time()) + 2
                    time.sleep(settled_s - time.time() + seconds)
                    cpu_s, now_s = worker.cpu_s(), time.time()
                    time.sleep(1)
                    busy = (worker.cpu_s() - cpu_s) / (time.time() - now_s)
        delays = sorted(
            (seen_s - stream.written_s(index)) * 1000
            for seen_s, index in watcher.seen
            if stream.written_s(index) > settled_s
        )
        p50, p99, p999 = (round(percentile(delays, share)) for share in (0.5, 0.99, 0.999))
        rows.append([rate, len(delays), p50, p99, p999, round(busy, 2)])
        figures[f"p99 ms at {rate}/s"] = p99
        lab.delete_topics("bench-")
    columns = ["changes/s", "measured", "p50 ms", "p99 ms", "p99.9 ms", "cores busy"]
    title = f"Write to visible (read_committed), {shards} shards, default poll (100 ms) and linger (100 ms)"
    return Table(title, columns, rows, figures=figures)


def catch_up(lab: Lab) -> Table:
    """Measure how long a worker needs for what came in ten minutes, while changes go on."""
    rate, pause_s, shards = 1_000, 10 if lab.quick else 600, 8
    stream = Stream(shards=shards, rate_per_s=rate / shards, start_s=time.time() - pause_s)
    with lab.pages(stream) as server:
        pipeline = Pipeline(lab, server)
        with ExitStack() as opened:
            begun_s = time.time()
            with on_core(MEASURED_CORE):
                worker = opened.enter_context(WorkerRun(pipeline))
            worker.wait_ready()

            def caught_up() -> bool:
                time.sleep(0.1)
                return worker.published() >= (time.time() - stream.start_s - 1) * rate

            wait_until("catching up", caught_up, 600)
            took_s = time.time() - begun_s
    rows: list[list[Cell]] = [[rate, pause_s, round(took_s, 1), round(rate * (pause_s + took_s) / took_s)]]
    columns = ["changes/s meanwhile", "pause s", "caught up after s", "changes/s on the way"]
    return Table("Catch-up, one worker on one core, start included", columns, rows)


def _worker_counts() -> list[int]:
    return [count for count in (1, 2, 4) if count <= cores()]


def _run(lab: Lab, workers: int, shards: int, changes: int) -> tuple[float, float, float]:
    records = max(1, round(changes / shards / 1_000)) * 1_000
    with lab.pages(Stream(shards=shards, records=records)) as server, ExitStack() as opened:
        pipeline = Pipeline(lab, server)
        if workers == 1:
            opened.enter_context(on_core(MEASURED_CORE))
        runs = [opened.enter_context(WorkerRun(pipeline)) for _ in range(workers)]
        return steady_rate(runs, records * shards, _TIMEOUT_S)
