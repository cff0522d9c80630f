"""What a run gave, as a block of text that can be pasted into a document, and as JSON."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chaos import resources
from chaos.schedule import SourceKind
from tailrace.local.checker import Verdict

_WIDTH = 13


@dataclass(frozen=True)
class Options:
    """What a run is to be."""

    seed: int
    changes: int
    kills: int
    """SIGKILLs of workers; those of brokers come on top."""
    seconds: float
    """How long faults go on."""
    workers: int
    items: int
    source: SourceKind
    mutation: str | None = None
    """A defect of the workers that the run must find."""

    @property
    def again(self) -> str:
        """The command that repeats it."""
        minutes = f"{self.seconds / 60:g}"
        return (
            f"make soak SEED={self.seed} SOURCE={self.source} CHANGES={self.changes} KILLS={self.kills} "
            f"MINUTES={minutes} WORKERS={self.workers} ITEMS={self.items}"
            + (f' SOAK="--mutation {self.mutation}"' if self.mutation else "")
        )


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    options: Options
    seconds: float
    """From the first change to the end of the last check."""
    interrupted: bool
    verdict: Verdict
    hottest: int
    """Changes of the item that was changed most."""
    rested_s: float
    """How long the writer rested, since too much was not published yet."""
    kills: int
    kills_of_publishers: int
    broker_kills: int
    published_between_kills: Sequence[int]
    faults: dict[str, int]
    late_commits: dict[str, int]
    source_faults: int
    repeats: int
    """Changes that the streams repeated."""
    delays: int
    """Changes that they brought later than those behind them."""
    overtaken: int
    """Changes that came into the source after a newer one of their item."""
    shards_ended: int
    snapshots: dict[str, int]
    """How many were started, by reason, and how many ended, by outcome."""
    rows: int
    """Rows of snapshots that were published."""
    takings: int
    take_overs_s: Sequence[float]
    caught_up_s: float | None
    """From the end of the faults until all was published; None when that took too long."""
    workers_started: int
    samples: Sequence[resources.Sample]
    troubles: Sequence[str]
    """Everything that is wrong besides the verdict."""

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return self.verdict.good and not self.troubles

    def lines(self) -> Iterator[str]:
        """Return the block."""
        options, verdict = self.options, self.verdict
        yield _line(
            "run",
            f"seed {options.seed}, {options.source}, {_duration(self.seconds)}, {options.workers} workers, 3 brokers, "
            "4 tables",
        )
        yield _line(
            "changes",
            f"{verdict.made:,} written to {options.items:,} items ({self.hottest:,} to the hottest), "
            f"{verdict.found:,} published",
        )
        yield _line(
            "wrong",
            f"lost {verdict.lost}, repeated {verdict.repeated}, out of order {verdict.out_of_order}, unexpected "
            f"{verdict.unexpected}, misplaced {verdict.misplaced}, without tombstone {verdict.without_tombstone}"
            + (f", said to be late {verdict.not_late}" if verdict.not_late else ""),
        )
        if options.source is SourceKind.KINESIS:
            yield _line(
                "disorder",
                f"{self.repeats:,} changes repeated by the streams, {self.delays:,} delayed, {self.overtaken:,} came "
                f"behind a newer one of their item, {verdict.late:,} were published as late",
            )
        yield _line(
            "kills",
            f"{self.kills} of workers ({self.kills_of_publishers} had published themselves), "
            f"{self.broker_kills} of brokers",
        )
        if self.published_between_kills:
            between = sorted(self.published_between_kills)
            yield _line(
                "progress",
                f"{statistics.median(between):,.0f} changes published between two kills (p50), at least {between[0]:,}",
            )
        for number, (fault, count) in enumerate(sorted(self.faults.items())):
            yield _line("faults" if number == 0 else "", f"{count:6,}  {fault}")
        yield _line("", f"{self.source_faults:6,}  calls to AWS that failed, hung or lied")
        if self.late_commits:
            told = ", ".join(f"{count:,} {answer}" for answer, count in sorted(self.late_commits.items()))
            yield _line("late commits", f"{told} by the broker")
        yield _line("shards", f"{self.shards_ended:,} read to their end, lanes taken {self.takings:,} times")
        if self.snapshots:
            told = ", ".join(f"{count:,} {what}" for what, count in sorted(self.snapshots.items()))
            yield _line("snapshots", f"{told}; {self.rows:,} rows published")
        if self.take_overs_s:
            claim = sorted(self.take_overs_s)
            yield _line(
                "take-over",
                f"p50 {statistics.median(claim):.1f} s, p95 {claim[int(0.95 * (len(claim) - 1))]:.1f} s, "
                f"max {claim[-1]:.1f} s, of {len(claim):,} lanes whose worker was killed",
            )
        if self.caught_up_s is not None:
            yield _line("catching up", f"all published {self.caught_up_s:.1f} s after the faults ended")
        yield from self._resources()
        for example in verdict.examples:
            yield _line("wrong", str(example))
        for trouble in self.troubles:
            yield _line("wrong", trouble)
        ending = "stopped early; " if self.interrupted else ""
        kept = "every promise kept" if self.good else "NOT every promise was kept"
        yield _line("verdict", ending + kept)
        yield _line("again", options.again)

    def json(self) -> dict[str, Any]:
        """Return all of it."""
        told = dataclasses.asdict(self)
        told["verdict"]["examples"] = [str(fault) for fault in self.verdict.examples]
        return told | {"good": self.good, "again": self.options.again}

    def _resources(self) -> Iterator[str]:
        if len(self.samples) < 2:
            return
        first, last = resources.thirds(self.samples)
        told: list[str] = []
        for bound, name in zip(resources.BOUNDS, ("memory MB", "threads", "sockets", "files"), strict=True):
            levels = [resources.quiet_level(part, bound.name) for part in (first, last) if len(part) > 1]
            most = max(getattr(each, bound.name) for each in self.samples)
            told.append(f"{name} {' -> '.join(f'{level:.0f}' for level in levels)} (max {most:.0f})")
        lived_s = self.samples[-1].at_s - self.samples[0].at_s
        yield _line("resources", f"of one worker, first third -> last third of {_duration(lived_s)}:")
        yield _line("", ", ".join(told))


def _line(name: str, text: str) -> str:
    return f"{name:{_WIDTH}}{text}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
