"""What a worker takes: time to start, memory, CPU of idle shards."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.lab import MEASURED_CORE, Cell, Lab, Table, wait_until
from benchmarks.measure import on_core
from benchmarks.page_server import Stream
from benchmarks.watcher import Watcher
from benchmarks.worker_run import Pipeline, WorkerRun

_SHARDS = (1, 100, 1_000)


def start(lab: Lab) -> Table:
    """Measure `tailrace --help`, and the time from starting a worker to its first visible change."""
    rows: list[list[Cell]] = [["tailrace --help", round(_help_s(1 if lab.quick else 7), 2)]]
    with lab.pages(Stream(records=1_000)) as server:
        for what in ("first start of a pipeline, topics made", "start of a pipeline that is known"):
            times_s = []
            for _ in range(1 if lab.quick else 3):
                pipeline = Pipeline(lab, server)
                if what.startswith("start"):
                    with WorkerRun(pipeline) as worker:
                        worker.wait_ready()
                begun_s = time.time()
                with WorkerRun(pipeline) as worker:
                    worker.wait_ready()
                    with Watcher(lab, pipeline.topic) as watcher:
                        watcher.wait_seen()
                times_s.append(watcher.seen[0][0] - begun_s)
            rows.append([what, round(statistics.median(times_s), 2)])
    return Table("Start, seconds of wall time", ["what", "s"], rows, figures={"help s": float(rows[0][1])})


def memory(lab: Lab) -> Table:
    """Measure memory under full load with 1, 100 and 1,000 shards, and while the broker is stopped."""
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    shards_tried = lab.some(_SHARDS)
    for shards in shards_tried:
        with _full_of_changes(lab, Stream(shards=shards), changes=20_000) as worker:
            time.sleep(1 if lab.quick else 10)
            rows.append([f"{shards:,} shards, all full of changes", round(worker.memory_mb())])
            figures[f"MB at {shards} shards"] = worker.memory_mb()
            if shards == shards_tried[-1]:
                lab.broker.freeze()
                time.sleep(1 if lab.quick else 15)
                rows.append([f"{shards:,} shards, broker frozen 15 s", round(worker.memory_mb())])
                figures["MB with a frozen broker"] = worker.memory_mb()
                lab.broker.resume()
    return Table("Memory of a worker with default settings (highest, MB)", ["load", "MB"], rows, figures=figures)


def kinesis_memory(lab: Lab) -> Table:
    """Measure memory under full load with 1, 100 and 1,000 shards of Kinesis, all windows for repeats full."""
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    for shards in lab.some(_SHARDS):
        changes = 1_000 if lab.quick else min(10_000 * shards, 500_000)
        with _full_of_changes(lab, Stream(shards=shards), changes=changes, is_kinesis=True) as worker:
            rows.append([f"{shards:,} shards, all full of changes", round(worker.memory_mb())])
            figures[f"MB at {shards} shards"] = worker.memory_mb()
    return Table("Memory of a worker that reads Kinesis (highest, MB)", ["load", "MB"], rows, figures=figures)


@contextmanager
def _full_of_changes(lab: Lab, stream: Stream, *, changes: int, is_kinesis: bool = False) -> Iterator[WorkerRun]:
    """Let a worker publish so many changes, and go on."""
    with lab.pages(stream) as server:
        topics = {"properties": {"retention.bytes": str(1 << 26)}}
        pipeline = Pipeline(lab, server, is_kinesis=is_kinesis, topics=topics)
        with on_core(MEASURED_CORE), WorkerRun(pipeline) as worker:
            wait_until("changes", lambda: worker.published() > changes, 300, pause_s=0.25)
            yield worker
    lab.delete_topics("bench-")


def idle(lab: Lab) -> Table:
    """Measure what shards without changes cost a worker."""
    rows: list[list[Cell]] = []
    for shards in lab.some(_SHARDS):
        with (
            lab.pages(Stream(shards=shards, records=0)) as server,
            on_core(MEASURED_CORE),
            WorkerRun(Pipeline(lab, server)) as worker,
        ):
            worker.wait_reading(shards)
            time.sleep(0.5 if lab.quick else 5)  # until each shard is read at its slowest
            cpu_s, wall_s = worker.cpu_s(), time.perf_counter()
            time.sleep(1 if lab.quick else 15)
            share = (worker.cpu_s() - cpu_s) / (time.perf_counter() - wall_s)
            rows.append([f"{shards:,}", round(share * 100, 1), round(share * 1e3 / shards, 2)])
        lab.delete_topics("bench-")
    columns = ["shards", "% of a core", "ms CPU a shard and second"]
    return Table("Idle: shards without changes, each read once a second (poll.max)", columns, rows)


def _help_s(rounds: int) -> float:
    times_s = []
    for _ in range(rounds):
        begun_s = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tailrace", "--help"], capture_output=True, check=True)
        times_s.append(time.perf_counter() - begun_s)
    return statistics.median(times_s)
