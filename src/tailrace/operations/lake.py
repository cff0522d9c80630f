"""Writes topics to the data lakes of a file, exactly once, for as long as it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import cache, partial
from threading import Event
from typing import TYPE_CHECKING, Any

import msgspec

from tailrace.config import AnyLoaded, LoadedLakeFile
from tailrace.config.lake import TableKind
from tailrace.extras import brought_by
from tailrace.kafka import clients, topics
from tailrace.kafka.owner import new_owner
from tailrace.lake.dead_letters import LakeDeadLetters
from tailrace.lake.ledger import Ledger
from tailrace.lake.location import MaintainedLocation
from tailrace.lake.opening import definition, open_location, open_tables
from tailrace.lake.part import LakePart, LakeSink
from tailrace.operations import preconditions
from tailrace.operations.lake_targets import LakeTarget, require_targets
from tailrace.operations.lake_topics import ensure_dead_letters, tables_found
from tailrace.operations.progress import OnProgress, Progress, unheard
from tailrace.remedy import AcceptLakeGap
from tailrace.sinks.progress import Limits
from tailrace.sinks.runner import Totals, connect
from tailrace.sinks.topics import Topics

if TYPE_CHECKING:
    from tailrace.lake.columns import TableColumns
    from tailrace.lake.parquet_sink import ParquetSink
    from tailrace.lake.table_sink import TableSink

_STEP_S = 0.2
_BY_SIZE_OF_FILES = 1 << 62
"""Records do not fill a batch: the files do, which are smaller."""


class LakeReport(msgspec.Struct, frozen=True):
    """What this process wrote to a lake."""

    name: str
    location: str
    at_end: bool
    """Whether the lake has all that the topics held when it began, whichever process wrote it."""
    topics: Mapping[str, Totals]
    """Records of the change logs as Kafka has them, by topic."""
    current: Mapping[str, Totals]
    """Those that were merged into the present state of tables."""
    files: int
    """Of the change logs."""
    size_bytes: int
    """Of these files."""
    dead_letters: int
    """Records that make no row."""
    fenced: int
    """How often another process had claimed a partition that this one wrote to."""


class LakeWriter:
    """One process that writes to the lakes of a file."""

    def __init__(self, loaded: AnyLoaded, *, once: bool, target: str | None = None) -> None:
        """Find the topics and the lakes, each of which is founded if there is none; `target` names one of them.

        `once` ends when they have all that the topics hold now. Raises TailraceError.
        """
        targets = require_targets(loaded, target)
        with brought_by("lake"):
            import pyarrow  # noqa: F401, PLC0415 - an extra
        if isinstance(loaded, LoadedLakeFile):
            tables_found(loaded)
            ensure_dead_letters(loaded)
        else:
            preconditions.require_pipeline(loaded.pipeline)
        self._written: list[_Written] = []
        for each in targets:
            with each.telling():
                self._written.append(_Written(each, once=once))

    @property
    def parts(self) -> Sequence[LakePart]:
        """Whatever runs on its own."""
        return [part for each in self._written for part in each.parts]

    def run(self, stopped: Callable[[], bool], progress: OnProgress = unheard) -> Sequence[LakeReport]:
        """Write until `stopped`, or to the end. `progress` hears of committed records. Raises WorldError."""
        ending, parts = Event(), self.parts
        with ThreadPoolExecutor(len(parts)) as pool:
            runs = [pool.submit(part.run, ending.is_set) for part in parts]
            try:
                while not stopped():
                    done, left = wait(runs, _STEP_S, FIRST_EXCEPTION)
                    progress(Progress("records", sum(each.records for each in parts)))
                    if not left or any(each.exception() for each in done):
                        break
            finally:
                ending.set()
        for each in runs:
            each.result()
        return [each.report() for each in self._written]

    def close(self) -> None:
        """Give back what it holds on this machine, if it is not run."""
        for each in self.parts:
            each.sink.close()


class _Written:
    """One of the lakes."""

    def __init__(self, target: LakeTarget, *, once: bool) -> None:
        maker = _maker(target)
        self.parts: Sequence[LakePart] = [maker.part(kind, once=once) for kind in target.lake.tables]
        self._name = target.lake.name
        self._location = target.lake.location

    def report(self) -> LakeReport:
        """Return what was written to it."""
        totals = {each.kind: each.runner.totals for each in self.parts}
        written = [each.sink.written for each in self.parts if each.kind == "changes"]
        return LakeReport(
            self._name,
            self._location,
            all(each.runner.is_at_end for each in self.parts),
            totals.get("changes", {}),
            totals.get("current", {}),
            sum(each.files for each in written),
            sum(each.size_bytes for each in written),
            sum(each.dead_letters.count for each in self.parts),
            sum(each.runner.fenced for each in self.parts),
        )


def open_sinks(target: LakeTarget) -> Mapping[TableKind, LakeSink]:
    """Return what writes each kind of tables of a lake, for whoever closes it. Raises TailraceError."""
    with brought_by("lake"):
        import pyarrow  # noqa: F401, PLC0415 - an extra
    maker = _maker(target)
    return {kind: maker.sink(kind, new_owner())[0] for kind in target.lake.tables}


def _maker(target: LakeTarget) -> _Maker:
    location = open_location(target.lake)
    ledger = Ledger(location)
    cluster = topics.describe(clients.admin(target.kafka), target.kafka)
    return _Maker(target, location, ledger, ledger.found(definition(target.lake, target.name, cluster.id)))


class _Maker:
    """Makes what keeps one kind of tables."""

    def __init__(self, target: LakeTarget, location: MaintainedLocation, ledger: Ledger, identity: str) -> None:
        self._target = target
        self._lake = target.lake
        self._location = location
        self._ledger = ledger
        self._identity = identity

    def part(self, kind: TableKind, *, once: bool) -> LakePart:
        """Return it, ready to run."""
        target, lake, owner = self._target, self._lake, new_owner()
        is_log = kind == "changes"
        sink, dead_letters = self.sink(kind, owner)
        runner = connect(
            target.kafka,
            sink,
            lambda topic: target.table_of(topic) is not None,
            Limits(_BY_SIZE_OF_FILES, lake.file.age_ms if is_log else lake.current.lag_ms),
            group=f"{target.name}.lake-{self._identity}" + ("" if is_log else f"-{kind}"),
            client_id=owner,
            until_end=once,
            when_deleted=AcceptLakeGap(lake.name),
        )
        return LakePart(kind, sink, runner, dead_letters, Topics(target.kafka), lake=lake.name)

    def sink(self, kind: TableKind, owner: str) -> tuple[LakeSink, LakeDeadLetters]:
        """Return what writes it, and what takes the records that it cannot."""
        target, lake = self._target, self._lake
        beside_log = kind != "changes" and "changes" in lake.tables
        dead_letters = LakeDeadLetters(target.kafka, target.dead_letters, owner, lake.name, beside_log=beside_log)
        has_steps = kind == "changes" and lake.format == "parquet"
        return self._parquet(dead_letters) if has_steps else self._tables(kind, dead_letters), dead_letters

    def _parquet(self, dead_letters: LakeDeadLetters) -> ParquetSink:
        from tailrace.lake.parquet_sink import ParquetSink  # noqa: PLC0415 - pyarrow is an extra

        return ParquetSink(
            self._location,
            self._ledger,
            identity=self._identity,
            table_of=self._table_of,
            make_rows=self._rows,
            set_aside=dead_letters,
            partition_by=self._lake.partitions,
            file_bytes=self._lake.file.size_bytes,
        )

    def _tables(self, kind: TableKind, dead_letters: LakeDeadLetters) -> TableSink:
        open_table = open_tables(self._lake, self._target.name, self._location)
        from tailrace.lake.table_sink import TableSink  # noqa: PLC0415 - pyarrow is an extra

        opened = cache(partial(open_table, kind=kind))
        return TableSink(
            lambda topic: opened(self._table_of(topic)),
            identity=self._identity,
            make_rows=lambda topic, known: self._rows(topic, known, fixed=True, keyed=kind == "current"),
            set_aside=dead_letters,
            file_bytes=self._lake.file.size_bytes,
        )

    def _rows(self, topic: str, known: Any, **how: bool) -> TableColumns:
        from tailrace.lake.columns import TableColumns  # noqa: PLC0415 - pyarrow is an extra

        declared = self._lake.columns_of(self._table_of(topic))
        return TableColumns([self._target.format], declared, known, **how)

    def _table_of(self, topic: str) -> str:
        return self._target.table_of(topic) or topic
