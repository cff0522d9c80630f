"""A broker that hangs stops the reading: what waits stays in the stream, not in the worker's memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.bench import LANES, Bench
from support.worker_process import LoggedWorker
from tailrace.local.kafka import KafkaBroker

BUFFER_BYTES = 1 << 20
PAGE_BYTES = 1 << 20
"""A page that is read although the buffer is full: a lane that holds nothing may always read one, of at most 1 MB."""
HANGS_S = 8.0
GROWTH_MAX_MB = 20.0


def memory_mb(worker: LoggedWorker) -> float:
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a worker is read from /proc")
def test_a_broker_that_hangs_does_not_fill_the_worker(bench: Callable[..., Bench], own_kafka: KafkaBroker) -> None:
    settings = {"buffer": "1MiB", "batch": {"bytes": "64KiB"}}
    pipeline = bench(on=own_kafka.client_properties(), rate=None, settings=settings)
    with pipeline.workload:
        worker = pipeline.worker()
        pipeline.wait_published(500)
        own_kafka.freeze()
        before_mb = memory_mb(worker)
        until_s = time.monotonic() + HANGS_S
        written = len(pipeline.workload.history)
        while time.monotonic() < until_s:
            assert worker.metric("tailrace_buffered_bytes") <= BUFFER_BYTES + LANES * PAGE_BYTES
            time.sleep(0.2)
        assert memory_mb(worker) - before_mb < GROWTH_MAX_MB
        assert len(pipeline.workload.history) > written
        own_kafka.resume()
    pipeline.settle(90)
