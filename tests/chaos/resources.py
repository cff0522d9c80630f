"""Memory, threads, sockets and open files of a process that lives long, and whether they stay flat."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """What a process holds at a moment."""

    at_s: float
    """Since the run began."""
    memory_mb: float
    """Resident."""
    threads: int
    sockets: int
    files: int
    """Open file handles, sockets among them."""


@dataclass(frozen=True)
class Bound:
    """How much of something may be held: never more than `most`, and not more and more of it."""

    name: str
    most: float
    growth: float
    """What the quiet level may gain from the first third of the run to the last."""


BOUNDS = (
    Bound("memory_mb", most=400, growth=25),
    Bound("threads", most=350, growth=20),
    Bound("sockets", most=250, growth=20),
    Bound("files", most=550, growth=20),
)
TREND_S = 600.0
"""In a shorter time a trend means nothing: the thirds differ by how many lanes the worker happened to have."""


def sample(pid: int, at_s: float) -> Sample | None:
    """Look at a process; None when it is gone, or the system has no /proc."""
    folder = Path(f"/proc/{pid}")
    try:
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        links = [link for handle in (folder / "fd").iterdir() if (link := _target(handle)) is not None]
    except (OSError, ValueError):
        return None
    if "VmRSS" not in status:  # it has ended, and waits to be reaped
        return None
    return Sample(
        at_s=at_s,
        memory_mb=int(status["VmRSS"].split()[0]) / 1024,
        threads=int(status["Threads"]),
        sockets=sum(link.startswith("socket:") for link in links),
        files=len(links),
    )


def _target(handle: Path) -> str | None:
    try:
        return str(handle.readlink())
    except OSError:  # closed meanwhile
        return None


def quiet_level(samples: Sequence[Sample], name: str) -> float:
    """Return the lower quartile.

    A worker has more lanes, and with them more producers, threads and connections, while others are dead; means and
    maxima tell of that. What is left when it has few lanes tells of what it does not give back: a leak raises it.
    """
    levels: list[float] = [getattr(each, name) for each in samples]
    return statistics.quantiles(levels, n=4)[0]


def thirds(samples: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Return the samples of the first and of the last third of the time."""
    begin_s, end_s = samples[0].at_s, samples[-1].at_s
    third_s = (end_s - begin_s) / 3
    return (
        [each for each in samples if each.at_s <= begin_s + third_s],
        [each for each in samples if each.at_s >= end_s - third_s],
    )


def troubles(samples: Sequence[Sample]) -> list[str]:
    """Return what is not flat: what exceeds its bound at any time, and, if the time was long enough, what grows."""
    if not samples:
        return []
    first, last = thirds(samples)
    is_long = samples[-1].at_s - samples[0].at_s >= TREND_S
    found: list[str] = []
    for bound in BOUNDS:
        most = max(getattr(each, bound.name) for each in samples)
        if most > bound.most:
            found.append(f"{bound.name}: {most:.0f}, more than {bound.most:.0f}")
        if not is_long:
            continue
        before, after = quiet_level(first, bound.name), quiet_level(last, bound.name)
        if after - before > bound.growth:
            found.append(f"{bound.name}: grew from {before:.0f} to {after:.0f}, by more than {bound.growth:.0f}")
    return found
