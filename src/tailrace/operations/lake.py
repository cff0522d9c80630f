"""Writes the topics of a pipeline to its data lake, exactly once, for as long as it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import cache, partial
from threading import Event
from typing import TYPE_CHECKING, Any

import msgspec

from tailrace.config import LoadedPipeline, Pipeline
from tailrace.config.lake import Lake, TableKind
from tailrace.errors import FileError
from tailrace.extras import brought_by
from tailrace.formats import FORMATS
from tailrace.kafka import clients, topics
from tailrace.kafka.owner import new_owner
from tailrace.lake.dead_letters import LakeDeadLetters
from tailrace.lake.ledger import Ledger
from tailrace.lake.location import Location
from tailrace.lake.opening import definition, open_location, open_tables
from tailrace.lake.part import LakePart
from tailrace.operations import preconditions
from tailrace.operations.progress import OnProgress, Progress, unheard
from tailrace.operations.tail import tables_by_topic
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
    """What this process wrote."""

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
    """Records that make no row; what both kinds of tables refuse counts twice."""
    fenced: int
    """How often another process had claimed a partition that this one wrote to."""


class LakeWriter:
    """One process that writes to the lake of a pipeline."""

    def __init__(self, loaded: LoadedPipeline, *, once: bool) -> None:
        """Find the topics and the lake, which is founded if there is none.

        `once` ends when the lake has all that the topics hold now. Raises TailraceError.
        """
        pipeline = loaded.pipeline
        lake = require_lake(loaded)
        with brought_by("lake"):
            import pyarrow  # noqa: F401, PLC0415 - an extra
        preconditions.require_pipeline(pipeline)
        with loaded.telling("lake"):
            location = open_location(lake)
            ledger = Ledger(location)
            cluster = topics.describe(clients.admin(pipeline.kafka), pipeline.kafka)
            identity = ledger.found(definition(lake, pipeline.name, cluster.id))
            maker = _Maker(pipeline, lake, location, ledger, identity)
            self.parts: Sequence[LakePart] = [maker.part(kind, once=once) for kind in lake.tables]
        self._location = location.uri

    def run(self, stopped: Callable[[], bool], progress: OnProgress = unheard) -> LakeReport:
        """Write until `stopped`, or to the end. `progress` hears of committed records. Raises WorldError."""
        ending = Event()
        with ThreadPoolExecutor(len(self.parts)) as pool:
            runs = [pool.submit(part.run, ending.is_set) for part in self.parts]
            try:
                while not stopped():
                    done, left = wait(runs, _STEP_S, FIRST_EXCEPTION)
                    progress(Progress("records", sum(each.records for each in self.parts)))
                    if not left or any(each.exception() for each in done):
                        break
            finally:
                ending.set()
        for each in runs:
            each.result()
        return self._report()

    def close(self) -> None:
        """Give back what it holds on this machine, if it is not run."""
        for each in self.parts:
            each.sink.close()

    def _report(self) -> LakeReport:
        totals = {each.kind: each.runner.totals for each in self.parts}
        written = [each.sink.written for each in self.parts if each.kind == "changes"]
        return LakeReport(
            self._location,
            all(each.runner.is_at_end for each in self.parts),
            totals.get("changes", {}),
            totals.get("current", {}),
            sum(each.files for each in written),
            sum(each.size_bytes for each in written),
            sum(each.dead_letters.count for each in self.parts),
            sum(each.runner.fenced for each in self.parts),
        )


class _Maker:
    """Makes what keeps one kind of tables."""

    def __init__(self, pipeline: Pipeline, lake: Lake, location: Location, ledger: Ledger, identity: str) -> None:
        self._pipeline = pipeline
        self._lake = lake
        self._location = location
        self._ledger = ledger
        self._identity = identity
        self._found_table = tables_by_topic(pipeline)

    def part(self, kind: TableKind, *, once: bool) -> LakePart:
        """Return it, ready to run."""
        pipeline, lake, owner = self._pipeline, self._lake, new_owner()
        dead_letters = LakeDeadLetters(pipeline.kafka, pipeline.dead_letters_topic, owner)
        sink = self._parquet(dead_letters) if lake.format == "parquet" else self._tables(kind, dead_letters)
        is_log = kind == "changes"
        runner = connect(
            pipeline.kafka,
            sink,
            lambda topic: self._found_table(topic) is not None,
            Limits(_BY_SIZE_OF_FILES, lake.file.age_ms if is_log else lake.current.lag_ms),
            group=f"{pipeline.name}.lake-{self._identity}" + ("" if is_log else f"-{kind}"),
            client_id=owner,
            until_end=once,
        )
        return LakePart(kind, sink, runner, dead_letters, Topics(pipeline.kafka))

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
        open_table = open_tables(self._lake, self._pipeline.name, self._location)
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
        return TableColumns([FORMATS[self._pipeline.format.type]], declared, known, **how)

    def _table_of(self, topic: str) -> str:
        return self._found_table(topic) or topic


def require_lake(loaded: LoadedPipeline) -> Lake:
    """Return the lake of a pipeline. Raises FileError when its file has none, or its records say too little."""
    pipeline = loaded.pipeline
    if pipeline.lake is None:
        raise FileError(
            "the pipeline has no `lake`", file=loaded.file, hint="add e.g. `lake: {location: s3://bucket/prefix}`"
        )
    if not pipeline.reads_back:
        raise FileError(
            "records of this form do not tell enough of a change to become rows",
            path=loaded.place("connect" if pipeline.connect_properties else "format"),
            hint="a lake needs records that Tailrace's formats make, without Connect's transforms and converters",
        )
    return pipeline.lake
