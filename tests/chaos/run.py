"""One run: the world, the crew, the writer, the faults, the checks, the outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException, Message

from chaos import resources, schedule
from chaos.crew import Crew
from chaos.lineage import LineageChecker
from chaos.outcome import Options, Outcome
from chaos.reader import CommittedReader
from chaos.saboteur import Saboteur
from chaos.schedule import SourceKind, Step
from chaos.snapshots import SnapshotChecker, SnapshotOrders
from chaos.sources import TABLES, KinesisStreams, TableStreams
from chaos.take_overs import TakeOvers
from chaos.world import World
from chaos.writer import Writer
from tailrace.local.checker import Checker
from tailrace.local.committed import Interpreter

CATCH_UP_S = 120.0
"""Liveness: within so long after the last fault everything is published."""
BACKLOG_MOST = 60_000
"""Changes not yet published at which the writer rests: the simulator keeps them for minutes only."""
WARM_UP = 0.2
"""The part of a run after which memory, threads and files are looked at."""
_TICK_S = 0.1
_SAMPLE_S = 2.0
_JOIN_S = 240.0
_END_S = 30.0

Tell = Callable[[str], None]


def splits_of(options: Options) -> int:
    """Return the number of splits of a run: as many as there can be, and fewer when it is short."""
    if options.source is SourceKind.KINESIS:
        return max(4, round(options.seconds / 10))  # as many as merges
    return min(TableStreams.SPLITS_MOST, max(4, round(options.seconds / 20)))


def steps_of(options: Options) -> list[Step]:
    """Return a run's schedule."""
    return schedule.draw(
        options.seed, options.source, seconds=options.seconds, kills=options.kills, splits=splits_of(options)
    )


@dataclass(frozen=True)
class _Cast:
    """Who takes part."""

    world: World
    crew: Crew
    orders: SnapshotOrders
    saboteur: Saboteur
    writer: Writer
    reader: CommittedReader


class Run:
    """Plays it once. `event` is told what happens, `progress` how it stands, a few times a second."""

    def __init__(self, options: Options, folder: Path, *, event: Tell, progress: Tell) -> None:
        self._options = options
        self._folder = folder
        self._event = event
        self._progress = progress
        self._changes = Checker()
        self._lineage = LineageChecker()
        self._snapshots = SnapshotChecker()
        self._take_overs = TakeOvers()
        self._interpret = Interpreter()
        self._letters: list[str] = []
        self._interrupted = False
        self._began_s = 0.0

    def play(self) -> Outcome:
        """Run to the verdict. Ctrl-C ends the writing and the faults early, another one the waiting for the rest."""
        options = self._options
        with ExitStack() as owned:
            source = (KinesisStreams if options.source is SourceKind.KINESIS else TableStreams)(options.seed)
            world = owned.enter_context(World(self._folder, source, seed=options.seed))
            crew = Crew(world.pipeline_file, self._folder, options.workers, mutation=options.mutation)
            owned.callback(crew.close)
            reader = CommittedReader(world.kafka, world.partitions, self._saw(world))
            reader.start()
            owned.callback(reader.stop)
            writer = Writer(
                world.simulator.endpoint_url,
                TABLES,
                seed=options.seed,
                items=options.items,
                changes=options.changes,
                rate=options.changes / options.seconds,
                told=self._changes.wrote,
                must_rest=lambda: self._changes.missing > BACKLOG_MOST,
            )
            orders = SnapshotOrders(world.pipeline_file, self._snapshots.unfinished)
            saboteur = Saboteur(world, crew, orders, self._take_overs, lambda: self._changes.found)
            owned.callback(saboteur.close)
            cast = _Cast(world, crew, orders, saboteur, writer, reader)
            if schedule.has_snapshots(options.seed):
                writer.load(self._changes.loaded)
                self._snapshots.quiet = writer.quiet
            source.begin(world.simulator)
            crew.fill()
            self._wait_for_crew(world, crew)
            self._began_s = time.monotonic()
            writer.start()
            with self._interruptible():
                self._trouble(cast)
            writer.stop()
            caught_up_s: float | None = None
            troubles: list[str] = []
            with self._interruptible():
                try:
                    caught_up_s, troubles = self._settle(cast)
                except KafkaException as error:
                    troubles = [f"the end could not be looked at: {error}"]
            return self._outcome(cast, caught_up_s, troubles)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self._interrupted = True
            self._event("stopping early")

    def _saw(self, world: World) -> Callable[[Message, float], None]:
        checkpoints, letters = world.checkpoints_topic, world.dead_letters_topic

        def saw(message: Message, at_s: float) -> None:
            key, value = message.key() or b"", message.value()
            if message.topic() == checkpoints:
                self._lineage.saw(key, value, message.timestamp()[1])
                self._snapshots.saw(key, value)
                if key == b'["taken"]' and value is not None:
                    self._take_overs.claim(message.partition() or 0, value, at_s)
            elif message.topic() == letters:
                self._letters.append(f"a dead letter: {message.headers()}")
            else:
                change = self._interpret(message, time.time_ns())
                self._changes.saw(change)
                self._snapshots.saw_row(change)

        return saw

    def _wait_for_crew(self, world: World, crew: Crew) -> None:
        deadline_s = time.monotonic() + _JOIN_S
        while world.members() < self._options.workers:
            crew.look()
            if crew.troubles:
                raise RuntimeError(f"a worker could not start: {crew.troubles[0]}")
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the workers did not join within {_JOIN_S:.0f} s")
            time.sleep(_TICK_S)

    def _trouble(self, cast: _Cast) -> None:
        """Let the faults happen, until the schedule is done and everything is written."""
        crew, saboteur, writer = cast.crew, cast.saboteur, cast.writer
        steps = steps_of(self._options)
        sampled_s = 0.0
        while steps or not writer.ended:
            now_s = self._elapsed_s()
            while steps and steps[0].at_s <= now_s:
                self._event(str(steps[0]))
                saboteur.carry_out(steps.pop(0))
            saboteur.undo_what_is_over()
            crew.look()
            if now_s - sampled_s >= _SAMPLE_S:
                sampled_s = now_s
                if now_s >= self._options.seconds * WARM_UP:
                    crew.take_sample(now_s)
            self._show(crew, saboteur)
            if self._is_hopeless(cast):
                return
            time.sleep(_TICK_S)

    def _is_hopeless(self, cast: _Cast) -> bool:
        """Return whether a promise is broken already: what comes after would only hide it."""
        faulty = self._changes.faults or self._lineage.broken or cast.crew.troubles or self._letters
        return bool(faulty or cast.saboteur.errors or cast.writer.error or cast.reader.error)

    def _settle(self, cast: _Cast) -> tuple[float | None, list[str]]:
        """End the faults, wait until all is published, end the workers, and read to the end."""
        world, crew, saboteur, reader = cast.world, cast.crew, cast.saboteur, cast.reader
        troubles: list[str] = []
        saboteur.lift_all()
        self._event("the faults are over")
        calm_s = time.monotonic()
        caught_up_s: float | None = None
        repeated: set[str] = set()
        while caught_up_s is None:
            crew.look()
            pending = self._snapshots.not_done()
            cancelled = {table for table, outcome in pending.items() if outcome is not None}
            repeated |= {table for table in cancelled - repeated if cast.orders.start([table])}
            for table in self._snapshots.paused():
                cast.orders.resume(table)
            self._show(crew, saboteur)
            waited_s = time.monotonic() - calm_s
            if not (self._changes.missing or pending):
                caught_up_s = waited_s
            elif waited_s > CATCH_UP_S:
                troubles.append(f"not everything was published {CATCH_UP_S:.0f} s after the faults ended")
                break
            time.sleep(_TICK_S)
        crew.stop_all()
        deadline_s = time.monotonic() + _END_S
        while (still_open := world.open_transactions()) and time.monotonic() < deadline_s:
            time.sleep(_TICK_S)
        troubles += [f"a transaction was left open in {partition}" for partition in still_open]
        ends = world.ends(committed=True)
        while not reader.has_read(ends):
            if time.monotonic() > deadline_s:
                troubles.append(f"not everything that is committed could be read within {_END_S:.0f} s")
                break
            time.sleep(_TICK_S)
        return caught_up_s, troubles

    def _outcome(self, cast: _Cast, caught_up_s: float | None, troubles: list[str]) -> Outcome:
        crew, saboteur, writer = cast.crew, cast.saboteur, cast.writer
        errors = [
            f"{type(error).__name__}: {error}" for error in (writer.error, cast.reader.error) if error is not None
        ]
        verdict = self._changes.verdict()
        state = cast.world.simulator.state()
        faults: dict[str, int] = state["faults"]
        repeats, delays = (faults.pop(f"replication {fault}", 0) for fault in ("repeat", "delay"))
        overtaken = sum(state["overtaken"].values())
        agrees = verdict.late == overtaken or (verdict.late < overtaken and not cast.world.source.flags_late)
        if caught_up_s is not None and not agrees:
            errors.append(f"{overtaken} changes came behind a newer one of their item, and {verdict.late} say so")
        return Outcome(
            options=self._options,
            seconds=self._elapsed_s(),
            interrupted=self._interrupted,
            verdict=verdict,
            hottest=writer.hottest,
            rested_s=writer.rested_s,
            kills=saboteur.kills,
            kills_of_publishers=saboteur.kills_of_publishers,
            broker_kills=saboteur.broker_kills,
            published_between_kills=saboteur.published_between_kills,
            faults=dict(saboteur.done),
            late_commits=dict(saboteur.late_commits),
            source_faults=sum(faults.values()),
            repeats=repeats,
            delays=delays,
            overtaken=overtaken,
            shards_ended=self._lineage.ended,
            snapshots=dict(self._snapshots.counts()),
            rows=self._changes.rows,
            takings=self._lineage.takings,
            take_overs_s=self._take_overs.seconds,
            caught_up_s=caught_up_s,
            workers_started=crew.started,
            samples=crew.samples,
            troubles=[
                *self._lineage.finish(),
                *self._snapshots.finish(),
                *self._letters,
                *troubles,
                *crew.troubles,
                *saboteur.errors,
                *errors,
                *crew.defects(),
                *resources.troubles(crew.samples),
            ],
        )

    def _show(self, crew: Crew, saboteur: Saboteur) -> None:
        changes = self._changes
        self._progress(
            f"{self._elapsed_s():6.0f} s  {changes.made:9,} written  {changes.missing:7,} behind  "
            f"{saboteur.kills:4} kills  {saboteur.done.total():6,} faults  {len(crew.members)} workers  "
            f"{changes.faults} wrong"
        )

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began_s
