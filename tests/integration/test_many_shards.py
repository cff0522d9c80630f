"""A thousand open shards in one worker: what they cost, and that nothing is lost among them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.bench import LANES, Bench
from support.waiting import wait_for
from support.worker_process import LoggedWorker
from tailrace_simulator import SimulatedDynamoDB
from tailrace_simulator.actions import parse_script

TABLES = 4
SHARDS = 1_000
POLL_MAX_S = 4
MEASURED_S = 8.0
MEMORY_MB_MAX = 300
THREADS_MAX = 32 + 8 * LANES
"""The readers, what a worker has but once, and what a lane's producer needs: none of it grows with the shards."""


@pytest.mark.timeout(240)
def test_a_thousand_open_shards_in_one_worker(bench: Callable[..., Bench], tell: Callable[[str], None]) -> None:
    script = parse_script({"settings": {"shards": SHARDS // TABLES}})
    with SimulatedDynamoDB(seed=1, script=script) as simulated:
        pipeline = bench(endpoint_url=simulated.endpoint_url, tables=TABLES, items=SHARDS)
        source = pipeline.settings["source"] | {"poll": {"min": "500ms", "max": f"{POLL_MAX_S}s"}}
        worker = pipeline.worker(pipeline.write_file(source=source))
        wait_for("every shard is read", lambda: _shards_read(worker) == SHARDS, 90)
        pipeline.workload.run(2_000)
        pipeline.wait_complete()
        wait_for("all are quiet", lambda: _calls_a_second(simulated, 1.0) < SHARDS / POLL_MAX_S * 1.2)
        cpu_s = _cpu_s(worker)
        calls = _calls_a_second(simulated, MEASURED_S)
        cpu_part = (_cpu_s(worker) - cpu_s) / MEASURED_S
        memory_mb, threads = _status(worker, "VmHWM") / 1024, _status(worker, "Threads")
        tell(
            f"{SHARDS:,} quiet shards, read every {POLL_MAX_S} s: {memory_mb:.0f} MB at most, {threads} threads, "
            f"{calls:.0f} GetRecords a second, {cpu_part:.0%} of a core"
        )
        assert memory_mb < MEMORY_MB_MAX
        assert threads < THREADS_MAX
        assert SHARDS / POLL_MAX_S * 0.2 < calls < SHARDS / POLL_MAX_S * 1.2
        pipeline.settle()


def _shards_read(worker: LoggedWorker) -> float:
    return sum(worker.metric("tailrace_shards", state=phase) for phase in ("ready", "reading"))


def _calls_a_second(simulated: SimulatedDynamoDB, seconds: float) -> float:
    before = simulated.state()["calls"].get("GetRecords", 0)
    time.sleep(seconds)
    return float(simulated.state()["calls"].get("GetRecords", 0) - before) / seconds


def _status(worker: LoggedWorker, name: str) -> int:
    """Return a number of the process (kB for memory)."""
    lines = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _cpu_s(worker: LoggedWorker) -> float:
    fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
