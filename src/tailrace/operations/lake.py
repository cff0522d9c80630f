"""Writes the topics of a pipeline to its data lake, exactly once, for as long as it runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec

from tailrace.config import LoadedPipeline, Pipeline
from tailrace.config.lake import Lake
from tailrace.errors import FileError, UnreachableError
from tailrace.extras import brought_by
from tailrace.formats import FORMATS
from tailrace.kafka import clients, topics
from tailrace.kafka.owner import new_owner
from tailrace.lake.dead_letters import LakeDeadLetters
from tailrace.lake.ledger import Ledger
from tailrace.lake.opening import definition, open_location
from tailrace.operations import preconditions
from tailrace.operations.progress import OnProgress, Progress, unheard
from tailrace.operations.tail import tables_by_topic
from tailrace.sinks.progress import Limits
from tailrace.sinks.runner import Runner, Totals, connect
from tailrace.sinks.topics import Topics

if TYPE_CHECKING:
    from tailrace.lake.columns import TableColumns
    from tailrace.lake.parquet_sink import ParquetSink

_MEASURE_S = 15.0
"""Time between two looks at how far the topics are."""
_BY_SIZE_OF_FILES = 1 << 62
"""Records do not fill a batch: the files do, which are smaller."""


class LakeReport(msgspec.Struct, frozen=True):
    """What this process wrote."""

    location: str
    at_end: bool
    """Whether the lake has all that the topics held when it began, whichever process wrote it."""
    topics: Mapping[str, Totals]
    """Records as Kafka has them, by topic."""
    files: int
    size_bytes: int
    """Of the files."""
    dead_letters: int
    """Records that make no row."""
    fenced: int
    """How often another process had claimed a partition that this one wrote to."""


class LakeWriter:
    """One process that writes to the lake of a pipeline; a context manager."""

    def __init__(self, loaded: LoadedPipeline, *, once: bool) -> None:
        """Find the topics and the lake, which is founded if there is none.

        `once` ends when the lake has all that the topics hold now. Raises TailraceError.
        """
        pipeline = loaded.pipeline
        lake = require_lake(loaded)
        with brought_by("lake"):
            from tailrace.lake.parquet_sink import ParquetSink  # noqa: PLC0415 - pyarrow is an extra
        preconditions.require_pipeline(pipeline)
        with loaded.telling("lake"):
            location = open_location(lake)
            ledger = Ledger(location)
            cluster = topics.describe(clients.admin(pipeline.kafka), pipeline.kafka)
            identity = ledger.found(definition(lake, pipeline.name, cluster.id))
        table_of = tables_by_topic(pipeline)
        owner = new_owner()
        self.dead_letters = LakeDeadLetters(pipeline.kafka, pipeline.dead_letters_topic, owner)
        self.sink: ParquetSink = ParquetSink(
            location,
            ledger,
            identity=identity,
            table_of=lambda topic: table_of(topic) or topic,
            make_rows=lambda topic, known: _rows(pipeline, lake, table_of(topic) or topic, known),
            set_aside=self.dead_letters,
            partition_by=lake.partitions,
            file_bytes=lake.file.size_bytes,
        )
        self.runner: Runner = connect(
            pipeline.kafka,
            self.sink,
            lambda topic: table_of(topic) is not None,
            Limits(_BY_SIZE_OF_FILES, lake.file.age_ms),
            group=f"{pipeline.name}.lake-{identity}",
            client_id=owner,
            until_end=once,
        )
        self._location = location.uri
        self._topics = Topics(pipeline.kafka)
        self._measured_s = 0.0
        self.behind = 0
        """Offsets that the partitions of this process have beyond what the lake has of them."""

    def run(self, stopped: Callable[[], bool], progress: OnProgress = unheard) -> LakeReport:
        """Write until `stopped`, or to the end. `progress` hears of committed records. Raises WorldError."""
        with closing(self.sink):
            self.runner.run(stopped, lambda: self._tell(progress))
        written = self.sink.written
        return LakeReport(
            self._location,
            self.runner.is_at_end,
            self.runner.totals,
            written.files,
            written.size_bytes,
            self.dead_letters.count,
            self.runner.fenced,
        )

    def _tell(self, progress: OnProgress) -> None:
        progress(Progress("records", sum(each.records for each in self.runner.totals.values())))
        if time.monotonic() < self._measured_s + _MEASURE_S:
            return
        committed = self.runner.committed
        with contextlib.suppress(UnreachableError):  # the next time
            ends = self._topics.ends(list(committed))
            self.behind = sum(max(0, end - committed[place]) for place, end in ends.items())
        self._measured_s = time.monotonic()


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


def _rows(pipeline: Pipeline, lake: Lake, table: str, known: Any) -> TableColumns:
    from tailrace.lake.columns import TableColumns  # noqa: PLC0415 - pyarrow is an extra

    return TableColumns([FORMATS[pipeline.format.type]], lake.columns_of(table), known)
