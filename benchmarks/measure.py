"""Clocks, rounds and medians. CPU time counts every thread of a process, librdkafka's too."""

from __future__ import annotations

import gc
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

Step = Callable[[], int]
"""Does a piece of work and gives the number of changes in it."""

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Measured(msgspec.Struct):
    """What a run over so many keys took, as a process of its own tells it."""

    keys: int
    cpu_s: float
    memory_mb: float


@dataclass
class Rates:
    """What one contender did, round by round."""

    per_cpu_s: list[float] = field(default_factory=list)
    per_wall_s: list[float] = field(default_factory=list)

    def add(self, changes: float, cpu_s: float, wall_s: float) -> None:
        """Note a round; one that used less CPU than a process's clock shows counts as one tick of it."""
        self.per_cpu_s.append(changes / max(cpu_s, 1 / _TICKS_PER_S))
        self.per_wall_s.append(changes / wall_s)

    def extend(self, other: Rates) -> None:
        """Note the rounds of another."""
        self.per_cpu_s += other.per_cpu_s
        self.per_wall_s += other.per_wall_s

    @property
    def cpu(self) -> float:
        """Changes a CPU second, the median of the rounds."""
        return statistics.median(self.per_cpu_s)

    @property
    def wall(self) -> float:
        """Changes a second, the median of the rounds."""
        return statistics.median(self.per_wall_s)

    def times(self, other: Rates) -> float:
        """Return how many times as many changes a CPU second as `other`: the median of the rounds' ratios."""
        return statistics.median(mine / its for mine, its in zip(self.per_cpu_s, other.per_cpu_s, strict=True))


def interleave(contenders: Mapping[str, Step], *, rounds: int, seconds: float) -> dict[str, Rates]:
    """Run each contender for `seconds` of CPU time a round, in turn, so that noise hits all alike."""
    rates = {name: Rates() for name in contenders}
    for step in contenders.values():
        step()  # connections, caches and imports are nobody's speed
    for _ in range(rounds):
        for name, step in contenders.items():
            gc.collect()
            changes = 0
            cpu_s, wall_s = time.process_time(), time.perf_counter()
            while time.process_time() - cpu_s < seconds or not changes:
                changes += step()
            rates[name].add(changes, time.process_time() - cpu_s, time.perf_counter() - wall_s)
    return rates


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """Pin this thread, and the processes and threads that it starts, to one core, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    cores = sorted(before)
    os.sched_setaffinity(0, {cores[number % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores() -> int:
    """Return how many cores this run may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_s_of(pid: int) -> float:
    """Return the CPU seconds that a process has used, all threads together (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def memory_mb_of(pid: int, *, peak: bool = True) -> float:
    """Return the resident memory of a process, its highest or the present one, in MB (Linux)."""
    name = "VmHWM" if peak else "VmRSS"
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) / 1024


def peak_memory_mb() -> float:
    """Return the highest resident memory of this process so far, in MB (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie."""
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


def machine() -> str:
    """Describe this machine in a line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{model}, {cores()} cores, {platform.system()}, Python {platform.python_version()}"
