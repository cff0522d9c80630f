"""The facade of `import tailrace`: a pipeline, and what can be done with it. Every method is one of `operations`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from tailrace import config
from tailrace.config import LoadedPipeline
from tailrace.core.checkpoint import ActiveMethod, Method
from tailrace.core.redrive import Selection
from tailrace.kafka.owner import new_owner
from tailrace.operations import (
    accept_gap,
    definition,
    plan,
    redrive,
    redrive_batches,
    rescale,
    sample,
    snapshot,
    snapshot_exports,
    snapshot_status,
    status,
    switch,
)
from tailrace.operations import export as exporting
from tailrace.operations import replay as replaying
from tailrace.operations import switch_source as switching
from tailrace.operations import tail as tailing
from tailrace.operations import verify as verifying
from tailrace.operations.accept_gap import Gaps
from tailrace.operations.export import ExportReport
from tailrace.operations.plan import Plan
from tailrace.operations.progress import OnProgress, unheard
from tailrace.operations.replay import Replayed
from tailrace.operations.republisher import Report
from tailrace.operations.rescale import Rescaled
from tailrace.operations.sample import Tried
from tailrace.operations.snapshot import OrderedSnapshot, SnapshotDraft, StartedSnapshot
from tailrace.operations.snapshot_status import SnapshotsStatus
from tailrace.operations.status import Status
from tailrace.operations.switch import Switched
from tailrace.operations.switch_source import SwitchedSource
from tailrace.operations.tail import Start, Tailed, Wanted
from tailrace.operations.verify import Verified
from tailrace.sinks.progress import Limits
from tailrace.sources.aws_lambda.failure_messages import FailureMessages
from tailrace.wiring.sources import make_export, make_source, make_tables, policy_of


def open(file: str | Path) -> Pipeline:  # noqa: A001 - `tailrace.open`
    """Load and check a pipeline file. Raises `FileErrors` with everything that is wrong in it.

    Nothing but its secrets is connected to; they are read from AWS if it names any there.
    """
    return Pipeline(config.load(Path(file), with_functions=True))


def open_running(name: str, bootstrap_servers: str) -> Pipeline:
    """Return a pipeline that runs without a file, by its name and its Kafka: enough for all but `plan`.

    Raises `FileErrors`.
    """
    return Pipeline(config.from_flags(["*"], bootstrap_servers, name=name))


class Pipeline:
    """One pipeline. Each method opens its own connections, and raises a `TailraceError` for what fails.

    `progress` hears how far an operation is.
    """

    def __init__(self, loaded: LoadedPipeline) -> None:
        self._loaded = loaded

    def __repr__(self) -> str:
        return f"Pipeline({self.name!r})"

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self._loaded.pipeline.name

    def plan(self, *, progress: OnProgress = unheard) -> Plan:
        """Return what a worker would use and make, and what stands in its way. Nothing is made."""
        with self._loaded.telling("source"):
            source, reader = make_source(self._loaded.pipeline), make_tables(self._loaded.pipeline)
        with closing(source), closing(reader):
            return plan.make_plan(self._loaded, source, reader=reader, progress=progress)

    def status(self, *, with_ended: bool = False) -> Status:
        """Return where each table and shard stands; with `with_ended`, shards that have ended as well."""
        return status.read_status(self._loaded, with_ended=with_ended)

    def gaps(self, table: str) -> Gaps:
        """Return what is lost of a table and not accepted. Raises WorldError when nothing is."""
        return accept_gap.find_gaps(self._loaded, table)

    def accept_gap(self, table: str) -> Gaps:
        """Accept that changes of a table are lost, so that it goes on; return what that is.

        Look at `gaps` first. Raises WorldError when nothing is lost.
        """
        gaps = self.gaps(table)
        accept_gap.accept(self._loaded, gaps)
        return gaps

    def snapshots(self, tables: Sequence[str] = ()) -> SnapshotsStatus:
        """Return how far the last snapshot of each table is; of `tables` only, when some are given."""
        return snapshot_status.read_snapshots(self._loaded, tables)

    def draft_snapshot(
        self,
        table: str,
        *,
        row_filter: str | None = None,
        keys: Iterable[bytes] | None = None,
        exports: Sequence[str] = (),
    ) -> SnapshotDraft:
        """Return what a snapshot of a table would read, and what that costs; nothing is started.

        Without `row_filter`, that of the file holds. `keys` are lines of JSON, each the key of an item to be read;
        `exports` are exports to S3, `s3://bucket/prefix` or folders, to be loaded instead of the table. With neither,
        all items are read. Raises WorldError when the table cannot have a snapshot now, or changes are missing between
        the exports and the topics, `FileError` for a wrong key or filter.
        """
        pipeline = self._loaded.pipeline
        with self._loaded.telling("source"):
            reader = make_tables(pipeline)
        with closing(reader):
            if exports:
                return snapshot_exports.draft_exports(
                    self._loaded,
                    reader,
                    table,
                    exports,
                    open_export=partial(make_export, pipeline),
                    policy=policy_of(pipeline),
                    row_filter=row_filter,
                )
            if keys is None:
                return snapshot.draft_scan(self._loaded, reader, table, row_filter=row_filter)
            return snapshot.draft_keys(self._loaded, reader, table, keys, row_filter=row_filter)

    def start_snapshot(
        self,
        table: str,
        *,
        row_filter: str | None = None,
        keys: Iterable[bytes] | None = None,
        exports: Sequence[str] = (),
    ) -> StartedSnapshot:
        """Start a snapshot of a table, as `draft_snapshot` describes it: the workers read it from now on."""
        draft = self.draft_snapshot(table, row_filter=row_filter, keys=keys, exports=exports)
        return snapshot.start(self._loaded, draft)

    def pause_snapshot(self, table: str) -> OrderedSnapshot:
        """Pause a table's snapshot. Raises WorldError when none is running."""
        return snapshot.order(self._loaded, table, "pause")

    def resume_snapshot(self, table: str) -> OrderedSnapshot:
        """Resume a paused snapshot, and try failed segments again. Raises WorldError when there is nothing to do."""
        return snapshot.order(self._loaded, table, "run")

    def cancel_snapshot(self, table: str) -> OrderedSnapshot:
        """Cancel a table's snapshot; its rows stay. Raises WorldError when none is unfinished."""
        return snapshot.order(self._loaded, table, "cancel")

    def rescale(self, *, progress: OnProgress = unheard) -> Rescaled:
        """Raise the number of lanes to what the file says. Stop every worker first."""
        return rescale.rescale(self._loaded, progress=progress)

    def method(self) -> Method:
        """Return who publishes: `worker`, `lambda`, or `none` in the midst of a switch."""
        return switch.method_of(self._loaded)

    def switch(self, to: ActiveMethod, *, accept_changes: bool = False, progress: OnProgress = unheard) -> Switched:
        """Let the workers or the Lambda function publish from now on.

        With `accept_changes` the file may stop or redirect tables that run.
        """
        done = switch.switch(self._loaded, to, progress=progress)
        if accept_changes:
            definition.define(self._loaded, new_owner(), accept_changes=True)
        return done

    def switch_source(self, to: Pipeline, *, progress: OnProgress = unheard) -> SwitchedSource:
        """Let the workers read the source of another file of this pipeline from now on.

        This file is the one that the workers run with; `to` differs from it in `source` alone. Raises FileError for
        files that do not go together.
        """
        return switching.switch_source(self._loaded, to._loaded, progress=progress)

    def redrive(
        self,
        selection: Selection | None = None,
        *,
        messages: FailureMessages | None = None,
        dry_run: bool = False,
        skip_superseded: bool = True,
        progress: OnProgress = unheard,
    ) -> Report:
        """Publish dead letters again, or what is missing of the batches that on-failure `messages` of Lambda name.

        With `dry_run` only say what would be done. Of messages, only the tables of `selection` count.
        """
        chosen = selection or Selection()
        if messages is None:
            return redrive.redrive(
                self._loaded, chosen, dry_run=dry_run, skip_superseded=skip_superseded, progress=progress
            )
        return redrive_batches.redrive_batches(
            self._loaded, messages, chosen, dry_run=dry_run, skip_superseded=skip_superseded, progress=progress
        )

    def replay(
        self,
        table: str,
        *,
        from_ms: int | None = None,
        to_ms: int | None = None,
        stopped: Callable[[], bool] = lambda: False,
        progress: OnProgress = unheard,
    ) -> Replayed:
        """Publish a table's changes of a time again, both ends included, as far as its stream still holds them.

        Times are in milliseconds since the epoch; `from_ms` None means the oldest change, `to_ms` None until the
        replay has caught up. It ends early when `stopped`, asked a few times a second.
        """
        return replaying.replay(self._loaded, table, from_ms=from_ms, to_ms=to_ms, stopped=stopped, progress=progress)

    def transform(self, content: bytes, *, table: str | None = None, now_ns: int = 0) -> tuple[Tried, ...]:
        """Convert a sample as a worker would, without a connection.

        It is a Lambda event, an answer of GetRecords, or one record of them, as JSON; `table` is where records come
        from that do not say so; `now_ns` is the time that they are made at. Raises FileError for anything else.
        """
        return tuple(sample.try_sample(self._loaded, content, table=table, file="the sample", now_ns=now_ns))

    def tail(
        self,
        wanted: Wanted | None = None,
        *,
        start: Start = "end",
        until_ms: int | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Tailed]:
        """Return committed records as they come, until `stopped`, which is asked a few times a second.

        `start` may be a time, in milliseconds since the epoch. With `until_ms`, return the records of that time or
        before that the topics hold now, and end.
        """
        return tailing.tail(self._loaded, wanted, start=start, until_ms=until_ms, stopped=stopped)

    def export(
        self,
        folder: str | Path,
        *,
        tables: Sequence[str] = (),
        limits: Limits | None = None,
        until_end: bool = True,
        stopped: Callable[[], bool] = lambda: False,
        progress: OnProgress = unheard,
    ) -> ExportReport:
        """Write committed records to JSON Lines files in a folder, each exactly once; resume where the folder ends.

        It ends when the folder has all that the topics hold now; without `until_end` when `stopped`, asked a few
        times a second. `tables` are names and patterns, none for all; `limits` say when a file is finished.
        """
        exported = exporting.of_pipeline(self._loaded, tables)
        return exporting.export(
            exported, Path(folder), limits or Limits(), until_end=until_end, stopped=stopped, progress=progress
        )

    def verify(
        self,
        tables: Sequence[str] = (),
        *,
        repair: bool = False,
        read_capacity: str = "50%",
        timeout_s: float = verifying.TIMEOUT_S,
        spill_folder: str | Path | None = None,
        progress: OnProgress = unheard,
    ) -> Verified:
        """Compare tables with what their topics show last of each key; `tables` are names and patterns, none for all.

        With `repair`, what differs is published again by a snapshot of those keys.
        At most `read_capacity` units a second are used of a table, or a share of what it has. Changes in flight may
        take `timeout_s`. What does not fit in memory is in a temporary folder, in `spill_folder` if given.
        """
        return verifying.verify(
            self._loaded,
            tables,
            repair=repair,
            read_capacity=read_capacity,
            timeout_s=timeout_s,
            spill_folder=None if spill_folder is None else Path(spill_folder),
            progress=progress,
        )
