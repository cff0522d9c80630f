"""The demo: real services, real workers, one of them killed halfway, and the verdict on what arrived.

It tells a `Screen` what happens, and prints nothing itself.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from tailrace import config
from tailrace.errors import WorldError
from tailrace.local.artifacts import Progress
from tailrace.local.checker import FoundChange, Verdict, Written, check
from tailrace.local.committed import read_committed
from tailrace.local.demo_view import DemoView, Observation, Times
from tailrace.local.dynamodb import REGION
from tailrace.local.fleet import Fleet
from tailrace.local.stack import LocalStack
from tailrace.local.worker_process import STOP_TIMEOUT_S, WorkerProcess
from tailrace.local.workload import TableSpec, Workload, connect
from tailrace.operations.snapshot_status import read_snapshots

if TYPE_CHECKING:
    from tailrace.local.demo_lake import DemoLake, LakeResult

TABLES = (
    TableSpec("customers"),
    TableSpec("orders"),
    TableSpec("lines", sort_key=True),
    TableSpec("visits", sort_key=True),
)
RATE = 250.0
"""Changes per second."""
LOADED = TableSpec("products")
"""The table that holds items before the pipeline begins."""
ALL_TABLES = (*TABLES, LOADED)
LOADED_ITEMS = 1_000
LOADED_RATE = 3.0
"""Its changes per second. DynamoDB Local rounds a change's creation time down to the minute, so a row is published soon
only if the shard is read to its end now and then."""
_LOADED_READ_UNITS = 350
"""What reading it takes, about."""
_LOADED_SHARE = 0.6
"""In which part of the time of writing it is read."""

_WRITERS = 4
_TICK_S = 0.25
_TIMEOUT_S = 60.0
_QUIET_TIMEOUT_S = 20.0
"""How long nothing new may become visible before the demo no longer waits for the rest."""
_SNAPSHOT_EVERY_S = 1.0
"""How often to ask whether the snapshot has ended, once all that it has to publish is visible."""
_REPLACEMENT_S = 7.0
"""From the kill to the start of another worker: long enough to see the others take the work over."""

_PIPELINE = """\
# The demo's pipeline. `tailrace run` with this file is a worker; start as many as you like.
name: demo
kafka:
  bootstrap.servers: {bootstrap_servers}
  session.timeout.ms: 6000      # the least that a broker allows: a dead worker is soon missed
  heartbeat.interval.ms: 1000
source:
  type: dynamodb-streams
  region: {region}
  endpoint_url: {endpoint_url}
  tables: [{tables}]
  poll: {{min: 20ms, max: 100ms}} # reads of DynamoDB Local cost nothing
topics:
  partitions: 3
format: debezium
snapshot:
  mode: initial
  segments: 16
  read_capacity: {read_capacity} # slow enough to be watched
lanes: 8
batch:
  linger: 20ms
"""


@dataclass(frozen=True)
class DemoOptions:
    """What the user chose."""

    seconds: float = 30.0
    """How long changes are written."""
    workers: int = 2
    seed: int = 0
    keep: bool = False
    """Leave everything up after the verdict, until the context ends."""


@dataclass(frozen=True)
class DemoResult:
    """How it ended."""

    verdict: Verdict
    seed: int
    times: Times | None
    """Of all changes."""
    calm_times: Times | None
    """Without the changes that were under way while a dead worker's lanes were taken over or a new one got its own."""
    take_over_s: float
    """From the kill until all that had waited was visible."""
    exit_codes: dict[str, int | None]
    """Of the workers that were asked to stop: 0 is right, None is too slow."""
    bootstrap_servers: str
    endpoint_url: str
    pipeline_file: Path
    lake: LakeResult | None = None

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        lake_is_good = self.lake is None or self.lake.verdict.good
        return self.verdict.good and lake_is_good and all(code == 0 for code in self.exit_codes.values())


class Screen(Protocol):
    """Shows the demo to whoever watches."""

    def event(self, elapsed_s: float, text: str, *, alarming: bool) -> None:
        """Say what happened."""
        ...

    def show(self, view: DemoView) -> None:
        """Show the present state; called a few times a second."""
        ...


class _Tell(Protocol):
    def __call__(self, text: str, *, alarming: bool = False) -> None: ...


class Demo:
    """One run of the demo; a context manager that leaves nothing behind but the logs when something was wrong."""

    def __init__(
        self,
        options: DemoOptions,
        screen: Screen,
        downloading: Callable[[], AbstractContextManager[Progress]],
        lake: DemoLake | None = None,
    ) -> None:
        """`lake` is where the topics are written to in the end."""
        self.failed = False
        """Whether something was wrong; the folder then stays."""
        self.fleet: Fleet | None = None
        self._options = options
        self._screen = screen
        self._downloading = downloading
        self._owned = ExitStack()
        self._lake = lake
        if lake is not None:
            self._owned.callback(lake.close)
        self._began_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owned.close()

    def run(self) -> DemoResult:
        """Run to the verdict. Raises WorldError for a service or worker that does not do its part."""
        try:
            result = self._run()
        except BrokenPipeError:  # whoever watched has gone
            raise
        except Exception:
            self.failed = True
            raise
        self.failed = not result.good
        return result

    def _run(self) -> DemoResult:
        options = self._options
        services = self._start_services()
        kafka = {"bootstrap.servers": services.bootstrap_servers}
        topics = [f"demo.{table.name}" for table in ALL_TABLES]
        folder = self._make_folder()
        pipeline_file = folder / "pipeline.yaml"
        pipeline_file.write_text(_pipeline(services, options.seconds) + (self._lake.section if self._lake else ""))

        tables = self._make_tables(services)
        history = tables.history
        fleet = self.fleet = self._owned.enter_context(Fleet(pipeline_file, folder))
        seen = Observation(kafka, topics, history=history, loaded=tables.loaded, fleet=fleet)
        self._owned.enter_context(seen.reader)
        show = _Clock(self._began_s, self._screen, seen, fleet)

        for _ in range(options.workers):
            self._tell(f"{_named(fleet.add())} started")
        show.until(
            "starting workers",
            lambda: seen.reader.follows_all.is_set() and fleet.all_stream() and _all_tables(fleet),
            otherwise="the workers did not stream every table",
        )
        self._tell("every table is streamed; writing begins, while the snapshot goes on")
        self._owned.callback(tables.abandon)
        tables.start()
        show.begin_writing(options.seconds)
        snapshot = _Snapshot(pipeline_file, self._tell)

        def look_for_loaded() -> None:
            if seen.is_loaded:
                snapshot.has_ended()

        show.write_until(options.seconds / 2, look_for_loaded)

        worker = fleet.busiest()
        death = _Shift()
        fleet.kill(worker)
        self._tell(f"{_named(worker)} killed with SIGKILL", alarming=True)

        def look_for_take_over() -> None:
            look_for_loaded()
            if not death.is_over and _all_tables(fleet):
                self._tell(f"its work is taken over, {death.end():.1f} s after its death")

        show.write_until(options.seconds / 2 + min(_REPLACEMENT_S, options.seconds * 0.3), look_for_take_over)
        arrival = _Shift()
        self._tell(f"{_named(fleet.add())} started in its place")

        def look_for_both() -> None:
            look_for_take_over()
            if not arrival.is_over and death.is_over and fleet.all_stream() and _all_tables(fleet):
                self._tell(f"{len(fleet.running())} workers stream again")
                arrival.end()

        show.write_until(options.seconds, look_for_both)
        tables.stop()
        self._tell(f"writing ends; {len(history):,} changes were made")
        show.until_all_visible(look_for_both)
        show.until("ending the snapshot", snapshot.has_ended, otherwise="the snapshot did not end")

        exit_codes = {} if options.keep else self._stop(fleet)
        found = read_committed(kafka, topics)
        self._tell(f"read the topics with read_committed: {len(found):,} records, with rows and tombstones")
        times = _WriteToVisible(history, seen.reader.found)
        return DemoResult(
            verdict=check(history, found, loaded=tables.loaded, held=tables.held()),
            seed=options.seed,
            times=Times.of(times.all_ms()),
            calm_times=Times.of(times.all_ms(without=[times.settled(death), times.settled(arrival)])),
            take_over_s=times.settled(death).seconds,
            exit_codes=exit_codes,
            bootstrap_servers=services.bootstrap_servers,
            endpoint_url=services.endpoint_url,
            pipeline_file=pipeline_file,
            lake=self._write_lake(pipeline_file, found),
        )

    def _start_services(self) -> LocalStack:
        self._tell("starting Kafka and DynamoDB Local")
        with self._downloading() as progress:
            services = self._owned.enter_context(LocalStack(progress=progress))
        self._tell(f"Kafka is at {services.bootstrap_servers}, DynamoDB at {services.endpoint_url}")
        return services

    def _make_folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="tailrace-demo-"))

        def remove() -> None:
            if not self.failed:
                shutil.rmtree(folder, ignore_errors=True)

        self._owned.callback(remove)
        return folder

    def _make_tables(self, services: LocalStack) -> _Tables:
        client = connect(services.endpoint_url)
        self._owned.callback(client.close)
        tables = _Tables(client, self._options.seed)
        self._tell(f"table {LOADED.name} holds {len(tables.loaded):,} items that its stream knows nothing of")
        return tables

    def _write_lake(self, pipeline_file: Path, found: Iterable[FoundChange]) -> LakeResult | None:
        if self._lake is None:
            return None
        self._lake.write(pipeline_file)
        self._tell(f"tailrace lake wrote them to {self._lake.folder}")
        return self._lake.result(found)

    def _stop(self, fleet: Fleet) -> dict[str, int | None]:
        began_s = time.monotonic()
        codes = fleet.stop()
        self._tell(_ends(codes, time.monotonic() - began_s), alarming=any(code != 0 for code in codes.values()))
        return codes

    def _tell(self, text: str, *, alarming: bool = False) -> None:
        self._screen.event(time.monotonic() - self._began_s, text, alarming=alarming)


class _Tables:
    """Tables that are written to, one of which holds items from before its stream began."""

    def __init__(self, client: Any, seed: int) -> None:
        self.history: list[Written] = []
        """The changes to all tables; grows while they are made."""
        busy = Workload(client, TABLES, seed=seed, threads=_WRITERS, rate=RATE, history=self.history)
        slow = Workload(
            client, [LOADED], seed=seed, threads=1, items=LOADED_ITEMS, rate=LOADED_RATE, history=self.history
        )
        self.loaded = slow.create_loaded_tables()
        self._workloads = busy.create_tables(), slow

    def start(self) -> None:
        """Write until `stop`."""
        for workload in self._workloads:
            workload.start()

    def stop(self) -> None:
        """End after the writes under way. Raises what ended a thread before."""
        self.abandon()
        for workload in self._workloads:
            workload.wait()

    def abandon(self) -> None:
        """Make no more changes, and do not wait for those under way."""
        for workload in self._workloads:
            workload.abandon()

    def held(self) -> dict[tuple[str, str], int]:
        """Read the tables: the version of each item that they hold, by table and key."""
        return {item: version for workload in self._workloads for item, version in workload.held().items()}


class _Snapshot:
    """That of the table which holds items from before."""

    def __init__(self, pipeline_file: Path, tell: _Tell) -> None:
        self._pipeline = config.load(pipeline_file)
        self._tell = tell
        self._ended = False
        self._ask_s = 0.0

    def has_ended(self) -> bool:
        """Return whether it has ended, as of some time in the last second; tell it once."""
        if self._ended or time.monotonic() < self._ask_s:
            return self._ended
        self._ask_s = time.monotonic() + _SNAPSHOT_EVERY_S
        for snapshot in read_snapshots(self._pipeline).snapshots:
            if snapshot.table == LOADED.name and snapshot.phase == "done":
                self._ended = True
                told = f"{snapshot.rows:,} rows, {snapshot.stale:,} left out for a newer change"
                self._tell(f"table {LOADED.name} is loaded: {told}")
        return self._ended


class _Clock:
    """Waits while the screen is kept up to date and the workers are supervised."""

    def __init__(self, began_s: float, screen: Screen, seen: Observation, fleet: Fleet) -> None:
        self._began_s = began_s
        self._screen = screen
        self._seen = seen
        self._fleet = fleet
        self._writing_s = 0.0
        self._seconds = 0.0

    def until(self, phase: str, condition: Callable[[], bool], *, otherwise: str) -> None:
        """Return when the condition holds. Raises WorldError, which says `otherwise`, if it does not in time."""
        deadline_s = time.monotonic() + _TIMEOUT_S
        while not condition():
            if time.monotonic() > deadline_s:
                raise WorldError(f"{otherwise} within {_TIMEOUT_S:.0f} s")
            self._tick(phase)

    def begin_writing(self, seconds: float) -> None:
        """Note that the writing begins, and how long it is to last."""
        self._writing_s, self._seconds = time.monotonic(), seconds

    def write_until(self, seconds: float, look: Callable[[], None] = lambda: None) -> None:
        """Return so many seconds after the writing began; `look` is called at each tick."""
        while (left_s := self._writing_s + seconds - time.monotonic()) > 0:
            look()
            self._tick("writing", min(_TICK_S, left_s))

    def until_all_visible(self, look: Callable[[], None]) -> None:
        """Return when no change or item waits, or when nothing has become visible for long."""
        visible, moved_s = -1, time.monotonic()
        while not (view := self._tick("catching up")).is_complete and time.monotonic() < moved_s + _QUIET_TIMEOUT_S:
            look()
            if view.visible + view.rows != visible:
                visible, moved_s = view.visible + view.rows, time.monotonic()

    def _tick(self, phase: str, pause_s: float = _TICK_S) -> DemoView:
        self._fleet.check()
        self._seen.reader.check()
        now_s = time.monotonic()
        done = min(1.0, (now_s - self._writing_s) / self._seconds) if self._seconds else 0.0
        view = self._seen.view(now_s - self._began_s, phase, done)
        self._screen.show(view)
        time.sleep(pause_s)
        return view


class _Shift:
    """A span in which lanes pass from one worker to another; it begins now. Nanoseconds since the epoch."""

    def __init__(self) -> None:
        self.began_ns = time.time_ns()
        self._ended_ns: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether its end was noticed."""
        return self._ended_ns is not None

    @property
    def ended_ns(self) -> int:
        """When its end was noticed; now, if it was not yet."""
        return time.time_ns() if self._ended_ns is None else self._ended_ns

    def end(self) -> float:
        """Note the end; give the seconds that it lasted."""
        self._ended_ns = time.time_ns()
        return (self._ended_ns - self.began_ns) / 1e9


@dataclass(frozen=True)
class _Span:
    began_ns: int
    ended_ns: int

    @property
    def seconds(self) -> float:
        return (self.ended_ns - self.began_ns) / 1e9


class _WriteToVisible:
    """When each change was sent, and when a consumer first had it."""

    def __init__(self, history: Iterable[Written], live: Iterable[FoundChange]) -> None:
        sent: dict[tuple[str, str, int | None], int] = {
            (change.table, change.key, change.version): change.time_ns for change in history
        }
        self._changes = [
            _Span(sent_ns, change.seen_ns)
            for change in live
            if change.op != "r" and (sent_ns := sent.pop((change.table, change.key, change.version), None)) is not None
        ]

    def settled(self, shift: _Shift) -> _Span:
        """Return the span of a shift until all that had been written during it was visible."""
        ended_ns = shift.ended_ns
        return _Span(
            shift.began_ns, max((c.ended_ns for c in self._changes if c.began_ns < ended_ns), default=ended_ns)
        )

    def all_ms(self, without: Iterable[_Span] = ()) -> list[float]:
        """Return the times, but for the changes that were under way during one of the spans."""
        return [
            change.seconds * 1000
            for change in self._changes
            if not any(change.began_ns <= span.ended_ns and change.ended_ns >= span.began_ns for span in without)
        ]


def _pipeline(services: LocalStack, seconds: float) -> str:
    return _PIPELINE.format(
        bootstrap_servers=services.bootstrap_servers,
        endpoint_url=services.endpoint_url,
        region=REGION,
        tables=", ".join(table.name for table in ALL_TABLES),
        read_capacity=max(1, round(_LOADED_READ_UNITS / (seconds * _LOADED_SHARE))),
    )


def _all_tables(fleet: Fleet) -> bool:
    return fleet.streamed_tables() == {table.name for table in ALL_TABLES}


def _named(worker: WorkerProcess) -> str:
    return f"{worker.name} (pid {worker.pid})"


def _ends(codes: dict[str, int | None], seconds: float) -> str:
    if not any(code != 0 for code in codes.values()):
        return f"{' and '.join(codes)} stopped on SIGTERM within {seconds:.1f} s, exit code 0"
    return "; ".join(
        f"{name} still runs {STOP_TIMEOUT_S:.0f} s after SIGTERM"
        if code is None
        else f"{name} ended on SIGTERM with exit code {code}"
        for name, code in codes.items()
    )
