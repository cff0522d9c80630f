"""Plays histories, many at a time, and adds up what they reached."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from simulation.checkers import BrokenPromiseError
from simulation.coverage import Coverage
from simulation.mutations import FOUND_IN, MUTATIONS
from simulation.repeating_mutations import OF_REPEATING
from simulation.snapshot_mutations import OF_SNAPSHOTS
from simulation.snapshot_world import SnapshotWorld
from simulation.source import KINDS, REPEATING, SNAPSHOTS, STREAMS, SWITCHING, SourceKind
from simulation.switch_mutations import OF_SWITCHES
from simulation.switching_world import SwitchingWorld
from simulation.world import World


@dataclass
class Played:
    """One history."""

    seed: int
    kind: str
    """The source's."""
    broken: str | None
    """What went wrong, in words that begin with the seed; None when every promise held."""
    published: int
    coverage: Coverage


@dataclass
class Summary:
    """Many histories."""

    histories: int = 0
    published: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)
    coverage: Coverage = field(default_factory=Coverage)

    def lines(self) -> Iterable[str]:
        yield from self.coverage.lines()
        yield from self.broken
        yield (
            f"{self.histories:,} histories, {self.published:,} changes published, {self.seconds:.1f} s "
            f"({self.histories / self.seconds:.1f} a second), {len(self.broken)} broken"
        )


def play(
    seed: int, trace: Callable[[str], None] | None = None, *, kind: str = STREAMS.name, mutation: str | None = None
) -> Played:
    """Play one history with a source of a kind, and with a planted fault if one is named."""
    with MUTATIONS[mutation]() if mutation else contextlib.nullcontext():
        world = _world_of(KINDS[kind])(seed, trace, KINDS[kind])
        broken = None
        try:
            world.run()
        except BrokenPromiseError as error:
            broken = f"seed {seed} of {kind}: {error}"
        except Exception:
            broken = f"seed {seed} of {kind}: {traceback.format_exc()}"
        return Played(seed, kind, broken, world.checker.published, world.coverage)


def _world_of(kind: SourceKind) -> type[World]:
    if kind.switches:
        return SwitchingWorld
    return SnapshotWorld if kind.has_snapshots else World


def play_all(
    seeds: Iterable[int], processes: int = 2, *, kind: str = STREAMS.name, mutation: str | None = None
) -> Summary:
    """Play many histories."""
    began_s = time.monotonic()
    summary = Summary()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for played in pool.imap_unordered(partial(play, kind=kind, mutation=mutation), seeds, chunksize=5):
            summary.histories += 1
            summary.published += played.published
            summary.coverage.add(played.coverage)
            if played.broken is not None:
                summary.broken.append(played.broken)
    summary.seconds = time.monotonic() - began_s
    summary.broken.sort()
    return summary


def first_to_find(mutation: str, seeds: Iterable[int]) -> Played | None:
    """Return the first history that finds a planted fault."""
    if mutation in OF_SNAPSHOTS:
        kind = SNAPSHOTS.name
    elif mutation in OF_SWITCHES:
        kind = SWITCHING.name
    else:
        kind = REPEATING.name if mutation in OF_REPEATING else FOUND_IN.get(mutation, STREAMS.name)
    return next((played for seed in seeds if (played := play(seed, kind=kind, mutation=mutation)).broken), None)
