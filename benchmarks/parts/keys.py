"""Memory by the number of keys: of a snapshot, of what finds deletes after it, and of a comparison."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import msgspec

from benchmarks.deletes_run import fill
from benchmarks.lab import Cell, Lab, Table, wait_until
from benchmarks.measure import Measured
from benchmarks.page_server import Stream
from benchmarks.transcoders import installed
from benchmarks.worker_run import Pipeline, WorkerRun

_SMALL_BYTES = 100
_CHANGES_PER_S = 100
_TIMEOUT_S = 3_600


def memory(lab: Lab) -> Table:
    """Measure the highest memory at a number of keys and at ten times as many."""
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    parts: dict[str, Callable[[Lab, int], Measured]] = {
        "snapshot (the whole worker, 100 B items)": _snapshot,
        "finding deletes (on_gap: resnapshot)": _deletes,
        "verify": _verify,
    }
    for what, measure in parts.items():
        for keys in lab.some((lab.keys // 10, lab.keys)):
            measured = measure(lab, keys)
            rows.append([what, f"{keys:,}", round(measured.memory_mb), round(keys / measured.cpu_s)])
            figures[f"{what}: MB at {keys} keys"] = measured.memory_mb
            lab.delete_topics("bench-")
    columns = ["what", "keys", "highest MB", "keys a CPU second"]
    notes = ["`make bench ONLY=keys KEYS=10000000` measures other sizes."]
    return Table("Memory by the number of keys", columns, rows, notes, figures)


def _snapshot(lab: Lab, keys: int) -> Measured:
    stream = Stream(item_bytes=_SMALL_BYTES, items=keys, rate_per_s=_CHANGES_PER_S, start_s=time.time())
    with lab.pages(stream) as server:
        snapshot = {"mode": "initial", "segments": 16, "read_capacity": 1_000_000}
        topics = {"properties": {"retention.bytes": str(1 << 26)}}
        with WorkerRun(Pipeline(lab, server, snapshot=snapshot, topics=topics), installed()[-1]) as worker:
            wait_until("the rows", lambda: worker.rows() >= keys, _TIMEOUT_S, pause_s=1)
            return Measured(keys, worker.cpu_s(), worker.memory_mb())


def _deletes(lab: Lab, keys: int) -> Measured:
    topic = lab.topic(1, {"retention.bytes": "-1"})
    fill(lab.kafka, topic, keys)
    return _measured("benchmarks.deletes_run", str(keys), topic, json.dumps(lab.kafka))


def _verify(_lab: Lab, keys: int) -> Measured:
    return _measured("benchmarks.verify_run", str(keys))


def _measured(module: str, *arguments: str) -> Measured:
    """Run a part in a process of its own, so that its memory is counted alone."""
    told = subprocess.run([sys.executable, "-m", module, *arguments], check=True, stdout=subprocess.PIPE).stdout
    return msgspec.json.decode(told, type=Measured)
