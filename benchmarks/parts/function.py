"""The Lambda function: cold starts, warm batches, memory and package, with AWS's runtime client and a real broker."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.function_run import DeployedFunction, SandboxRun, batch
from benchmarks.lab import Cell, Lab, Table
from benchmarks.measure import percentile
from benchmarks.page_server import STREAM_ARN, TABLE, Stream
from benchmarks.transcoders import How, installed
from benchmarks.worker_run import Pipeline
from tailrace.config import load
from tailrace.core.checkpoint import Checkpoint, CheckpointKey, Claim, ShardClaimKey, Write
from tailrace.core.lane_messages import Committed, Transaction
from tailrace.core.shard import ShardRef, lane_of
from tailrace.wiring.pipeline import make_producer

_BATCH = 1_000
_SMALL_BATCH = 100
_SHARDS = 1_000


@dataclass
class _Measured:
    """Invocations, or starts, of the same kind."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    memory_mb: float = 0.0

    def add(self, wall_s: float, cpu_s: float, memory_mb: float) -> None:
        self.wall_s.append(wall_s)
        self.cpu_s += cpu_s
        self.memory_mb = max(self.memory_mb, memory_mb)

    def row(self, what: str, how: str) -> list[Cell]:
        ordered = sorted(self.wall_s)
        p50_ms, p99_ms = (round(percentile(ordered, share) * 1e3) for share in (0.5, 0.99))
        cpu_ms = self.cpu_s / len(ordered) * 1e3
        return [what, how, len(ordered), p50_ms, p99_ms, round(cpu_ms, 1), round(self.memory_mb)]


def batches(lab: Lab) -> Table:
    """Measure cold starts with and without byte code and with many shards, and warm batches of two sizes."""
    function = DeployedFunction(lab)
    hows = installed()[-1:] if lab.quick else installed()
    bench = _Bench(lab, function, Pipeline(lab))
    rows = bench.cold("zip", hows)
    if not lab.quick:
        function.compile()
        rows += bench.cold("image", hows)
    bench.write_checkpoints(_SHARDS)
    rows += bench.cold(f"{_SHARDS:,} shards known", hows)[1:]
    for how in hows:
        rows += bench.warm(how)
    columns = ["what", "how", "measured", "p50 ms", "p99 ms", "CPU ms", "peak MB"]
    return Table("The Lambda function (400 B items, Debezium)", columns, rows, _notes(function), bench.figures)


class _Bench:
    """Sandboxes of one pipeline that Lambda has claimed, and the batches that they are given."""

    def __init__(self, lab: Lab, function: DeployedFunction, pipeline: Pipeline) -> None:
        self.figures: dict[str, float] = {}
        self._function = function
        self._pipeline = pipeline
        self._cold_starts = 1 if lab.quick else 10
        self._batches = 3 if lab.quick else 200
        self._index = itertools.count(0, _BATCH)
        with self._sandbox("pure") as sandbox:
            sandbox.invoke(self._event(1))  # it claims the pipeline and makes the topics: only once in its life

    def cold(self, layout: str, hows: list[How]) -> list[list[Cell]]:
        """Start sandboxes, and let each publish one batch."""
        starts = _Measured()
        first = {how: _Measured() for how in hows}
        for _ in range(self._cold_starts):
            for how in hows:
                event = self._event(_BATCH)
                with self._sandbox(how) as sandbox:
                    start_cpu_s = sandbox.cpu_s()
                    starts.add(sandbox.start_s, start_cpu_s, sandbox.memory_mb())
                    took_s = sandbox.invoke(event)
                    first[how].add(took_s, sandbox.cpu_s() - start_cpu_s, sandbox.memory_mb())
                    if sandbox.transcoder() != how:
                        raise AssertionError(f"the function's transcoder is {sandbox.transcoder()}, not {how}")
        rows = [starts.row("cold start, until it takes an event", layout)]
        return rows + [first[how].row(f"first batch of {_BATCH:,}", f"{how}, {layout}") for how in hows]

    def warm(self, how: How) -> list[list[Cell]]:
        """Measure one sandbox that publishes many batches."""
        rows = []
        with self._sandbox(how) as sandbox:
            sandbox.invoke(self._event(_BATCH))
            for count in (_SMALL_BATCH, _BATCH):
                measured = _Measured()
                for _ in range(self._batches):
                    event = self._event(count)
                    cpu_s = sandbox.cpu_s()
                    measured.add(sandbox.invoke(event), sandbox.cpu_s() - cpu_s, sandbox.memory_mb())
                rows.append(measured.row(f"warm batch of {count:,}", how))
                self.figures[f"{how}: ms a batch of {count}"] = percentile(sorted(measured.wall_s), 0.5) * 1e3
                self.figures[f"{how}: CPU ms a batch of {count}"] = measured.cpu_s / self._batches * 1e3
        return rows

    def write_checkpoints(self, shards: int) -> None:
        """Write what the function leaves behind of so many shards."""
        pipeline = load(self._pipeline.file).pipeline
        producer = make_producer(pipeline, "bench")
        producer.open(30)
        answer = producer.commit(Transaction((), tuple(_left_behind(pipeline.lanes, shards))))
        producer.close()
        if answer != Committed(0):
            raise AssertionError(f"the checkpoints were not written: {answer}")

    def _sandbox(self, how: How) -> SandboxRun:
        return SandboxRun(self._function, self._pipeline, how)

    def _event(self, count: int) -> bytes:
        return batch(next(self._index), count)


def _left_behind(lanes: int, shards: int) -> Iterator[Write]:
    now_ms = time.time_ns() // 1_000_000
    for shard_id in Stream(shards=shards).shard_ids()[1:]:
        shard = ShardRef(STREAM_ARN, shard_id)
        lane = lane_of(shard, lanes)
        yield Write(lane, ShardClaimKey(*shard), Claim(owner="bench", nonce="bench/1", at_ms=now_ms))
        yield Write(
            lane,
            CheckpointKey(*shard),
            Checkpoint(table=TABLE, state="open", sequence="1", created_ms=now_ms, at_ms=now_ms),
        )


def _notes(function: DeployedFunction) -> list[str]:
    package = function.package
    return [
        f"The package for {package.architecture} ({package.transcoder}): "
        f"function {_mb(package.function.zipped_bytes)}, layer {_mb(package.layer.zipped_bytes)}, "
        f"unzipped {_mb(package.unzipped_bytes)}. Of few starts p99 is the slowest.",
    ]


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
