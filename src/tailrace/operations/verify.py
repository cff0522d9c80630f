"""Compares a live table with what its topics show last of each key: `tailrace verify`.

The table is read first. Then every change that its stream holds by then has to be published, and the topics are read to
their ends: so whatever an item was when it was read, its topic has shown. Items change on, so each key that differs is
looked at again: the item's state must be among those that the topic went through while it was read. A difference that
outlives this stands; where the changes in flight are not published in time, it is unsettled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from tailrace.config import LoadedPipeline, Pipeline
from tailrace.config.snapshot import ReadCapacity
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.ports import Source, TableFacts, TableReader
from tailrace.errors import FileError, WorldError
from tailrace.kafka import checkpoint_topic, clients
from tailrace.operations import preconditions
from tailrace.operations.pending_changes import PendingChanges
from tailrace.operations.progress import OnProgress, unheard
from tailrace.operations.published_items import PublishedItems
from tailrace.operations.table_comparison import Found, TableComparison
from tailrace.operations.table_scan import TableScan
from tailrace.operations.topic_states import TopicStates
from tailrace.operations.verify_repair import Repair
from tailrace.transform.transformation import Transformation
from tailrace.wiring.pipeline import make_converter, make_limits
from tailrace.wiring.sources import carried_tables, make_source, make_tables
from tailrace.wiring.table_choice import list_tables
from tailrace.wiring.transformations import Transformations

TIMEOUT_S: Final = 60.0
_LEARNED_ITEMS: Final = 50
"""With so many items of a table it is tried whether what a user's function makes depends on the change."""


class TableVerified(msgspec.Struct, frozen=True):
    """How a table compares with its topics. Keys are Kafka keys, counted once for each topic that they belong to."""

    table: str
    topics: tuple[str, ...]
    items: int
    """Items read."""
    equal: int
    missing: Found
    """The item is there, and the topic does not show it."""
    stale: Found
    """The topic shows another state than the item has."""
    surplus: Found
    """The topic shows an item that does not exist."""
    unsettled: Found
    """They differ, and changes of them were not published in time to say whether that stays so."""
    left_behind: int
    """Keys of items that the transformation drops now, or sends to another topic."""
    left_out: int
    """Keys of items that the filter of snapshots leaves out, and that the topic does not show."""
    refused: int
    """Items that cannot be converted: the pipeline makes dead letters of them, so they were not compared."""
    unchecked: int
    """Keys that appeared while the table was read, and whose items cannot be read: the transformation changes keys."""
    pending: int
    """Changes in the stream that were not published when the table had been read."""
    read_units: float
    """Read capacity units used."""
    repaired: int | None
    """Differences that a repair removed; None without one."""
    notes: tuple[str, ...]
    """Sentences about what limits the comparison."""

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not any(found.count for found in (self.missing, self.stale, self.surplus, self.unsettled))


class Verified(msgspec.Struct, frozen=True):
    """How the tables of a pipeline compare with their topics."""

    pipeline: str
    tables: tuple[TableVerified, ...]

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs in any table."""
        return all(table.is_equal for table in self.tables)


def verify(
    loaded: LoadedPipeline,
    tables: Sequence[str] = (),
    *,
    repair: bool = False,
    read_capacity: str = "50%",
    timeout_s: float = TIMEOUT_S,
    spill_folder: Path | None = None,
    progress: OnProgress = unheard,
) -> Verified:
    """Compare tables with their topics, one after the other; without `tables` (names, patterns) all of the pipeline's.

    With `repair` what differs is published again, by a snapshot of those keys, and looked at again.

    `read_capacity` is how many read capacity units a second may be used of a table, or which share of what it has.
    `timeout_s` is how long changes in flight may take. What does not fit in memory is in a temporary folder, in
    `spill_folder` if given. Raises WorldError and ReadError.
    """
    pipeline = loaded.pipeline
    if not pipeline.source.carries_changes:
        raise WorldError("the records of the streams are raw, so there is no table to compare with the topics")
    if not pipeline.reads_back:
        raise WorldError(
            "the records of this pipeline cannot be read back, so they cannot be compared with tables",
            hint="verify works without `connect`, and with the formats debezium, item, dynamodb-json and cloudevents",
        )
    if pipeline.parts_streams:
        raise WorldError(
            "`topic` has {stream}, so no table has one topic that shows all of it",
            hint="name one stream in source.streams, or leave {stream} out",
        )
    try:
        capacity = ReadCapacity.parse(int(read_capacity) if read_capacity.isdecimal() else read_capacity)
    except ValueError as error:
        raise FileError(f"the read capacity {error}", hint="it is e.g. 500 or 50%") from error
    with loaded.telling("kafka", "bootstrap.servers"):
        lanes = preconditions.count_lanes(pipeline)
    checkpoint_state = checkpoint_topic.read_checkpoint_state(pipeline.kafka, pipeline.name, lanes)
    with ExitStack() as opened:
        with loaded.telling("source"):
            source = make_source(pipeline)
            opened.callback(source.close)
            reader = make_tables(pipeline)
            opened.callback(reader.close)
        known = _tables(pipeline, source, reader)
        preconditions.require_known(known, tables)
        names = [name for name in known if _is_wanted(name, tables)]
        verification = _Verification(
            loaded,
            checkpoint_state,
            source=source,
            reader=reader,
            capacity=capacity,
            repairs=repair,
            timeout_s=timeout_s,
            spill_folder=spill_folder,
        )
        return Verified(pipeline.name, tuple(verification.of(name, progress) for name in names))


def _tables(pipeline: Pipeline, source: Source, reader: TableReader) -> list[str]:
    """Return the tables whose changes the pipeline publishes. Raises ReadError."""
    found: set[str] = set()
    for entry in list_tables(pipeline.source, source):
        stream = source.table_stream(entry).stream if pipeline.source.carries_tables else None
        found.update(carried_tables(pipeline.source, entry, stream or "", reader))
    return sorted(found)


def _is_wanted(table: str, tables: Sequence[str]) -> bool:
    return not tables or any(fnmatchcase(table, each) for each in tables)


class _Verification:
    """What the comparisons of a pipeline's tables share."""

    def __init__(
        self,
        loaded: LoadedPipeline,
        checkpoint_state: CheckpointState,
        *,
        source: Source,
        reader: TableReader,
        capacity: ReadCapacity,
        repairs: bool,
        timeout_s: float,
        spill_folder: Path | None,
    ) -> None:
        pipeline = loaded.pipeline
        self._loaded = loaded
        self._pipeline = pipeline
        self._repairs = repairs
        self._checkpoint_state = checkpoint_state
        self._source = source
        self._reader = reader
        self._capacity = capacity
        self._timeout_s = timeout_s
        self._spill_folder = spill_folder
        self._transformations = Transformations(pipeline)
        limits = make_limits(pipeline, clients.LastingAdmin(pipeline.kafka))
        self._converter = make_converter(pipeline, self._transformations, limits, always_set_aside=True, as_json=True)

    def of(self, table: str, progress: OnProgress) -> TableVerified:
        """Compare one table."""
        facts = self._reader.facts(table)
        transformation = self._transformations.of(table)
        keeps_keys = transformation is None or transformation.keeps_keys(tuple(facts.key_types))
        published = PublishedItems(self._pipeline, facts, self._converter, keeps_keys=keeps_keys)
        scan = TableScan(self._reader, facts, self._capacity.of(facts))
        notes = list(self._notes_of_table(table))
        if transformation is not None:
            notes += _notes_of_transformation(transformation, published, scan)
        with (
            TemporaryDirectory(prefix="tailrace-verify-", dir=self._spill_folder) as folder,
            PendingChanges(self._pipeline, self._source, table, self._checkpoint_state.lane_count) as pending,
            TopicStates(self._pipeline, published.topics) as topics,
        ):
            compared = TableComparison(
                published, scan=scan, pending=pending, topics=topics, folder=Path(folder), progress=progress
            )
            compared.run(self._timeout_s)
            repaired = None
            if self._repairs:
                repaired = self._repair(facts, compared, pending=pending, notes=notes, progress=progress)
        if compared.counts["missing"] and self._pipeline.snapshot.mode == "never":
            notes.append("the pipeline takes no snapshots: items that have not changed since it began are missing")
        return TableVerified(
            table=table,
            topics=published.topics,
            items=scan.items,
            equal=compared.counts["equal"],
            missing=compared.found("missing"),
            stale=compared.found("stale"),
            surplus=compared.found("surplus"),
            unsettled=compared.found("unsettled"),
            left_behind=compared.counts["left behind"],
            left_out=compared.counts["left out"],
            refused=compared.counts["refused"],
            unchecked=compared.counts["unchecked"],
            pending=compared.pending_changes,
            read_units=scan.read_units,
            repaired=repaired,
            notes=tuple(notes),
        )

    def _repair(
        self,
        facts: TableFacts,
        compared: TableComparison,
        *,
        pending: PendingChanges,
        notes: list[str],
        progress: OnProgress,
    ) -> int:
        """Repair what differs, and look at it again; return how many differences are gone."""
        before, keys, left = compared.differences, compared.repairable, compared.unrepairable
        if keys:
            repair = Repair(
                self._loaded,
                facts,
                source=self._source,
                transformations=self._transformations,
                pending=pending,
                timeout_s=self._timeout_s,
                progress=progress,
            )
            if not repair.run(keys):
                notes.append("the repair is not finished: the workers go on with it once they publish the changes")
            compared.look_again(self._timeout_s)
        if left:
            notes.append(
                f"{left} differences were not repaired: more keys differ than are looked at, or nothing tells their "
                "items; run it again, or start a snapshot of the table"
            )
        return before - compared.differences

    def _notes_of_table(self, table: str) -> Iterator[str]:
        for entry in self._checkpoint_state.entries_with(table, self._source.policy):
            name = "the table" if entry == table else f"stream {entry}"
            record = self._checkpoint_state.tables.get(entry)
            if record is not None and record.state != "streaming":
                yield f"{name} is {record.state}, not streaming: {record.detail or 'its changes are not published'}"
            elif self._checkpoint_state.is_stopped(entry):
                yield f"{name} is stopped by a gap: what was lost stays missing or stale"
        if self._checkpoint_state.snapshots.is_unfinished(table):
            yield "a snapshot of the table has not ended: rows that it has not published yet are missing"


def _notes_of_transformation(
    transformation: Transformation, published: PublishedItems, scan: TableScan
) -> Iterator[str]:
    """Find out how far what is published depends on the item alone; yield sentences about what does not."""
    for place in transformation.looks_beyond_the_item:
        yield (
            f"{place} decides by more than the item (such as op or before): items are compared as rows that are read "
            "(op r), so keys for which it decides otherwise differ"
        )
    if not published.keeps_keys:
        yield "the transformation changes keys: a surplus key that is new cannot be checked, and none can be repaired"
    if transformation.may_make_items:
        if not published.learn(scan.first(_LEARNED_ITEMS)):
            yield (
                "what a function publishes of an item depends on the change (its op, its time or its before), so keys "
                "may differ although nothing is lost"
            )
        if published.leaving_out:
            yield (f"attributes that depend on the change are not compared: {', '.join(sorted(published.leaving_out))}")
