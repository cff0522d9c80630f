"""Switches a pipeline between DynamoDB Streams and Kinesis: `tailrace switch FILE --to OTHER_FILE`.

The source before is fenced like another method (`operations.switch`), so what it published is final. Then it is worked
out once what the next source is to leave out (`core.handover`): everything older than the oldest change that may be
unpublished, and of what is newer the changes that are published, read again from the source before. That, the new
definition, and tombstones for all that is known of the old shards are one transaction with the mark of who publishes.
Broken off before it, nobody publishes until it is run again; running it again does not depend on what was done before.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from typing import Final, TypeVar

import msgspec

from tailrace.config import LoadedPipeline, Pipeline
from tailrace.config.definition import definition_of
from tailrace.core.change import ViewType
from tailrace.core.checkpoint import (
    AcceptKey,
    CheckpointKey,
    DefinitionKey,
    HandoverKey,
    HandoverPart,
    HandoverPartKey,
    HandoverRecord,
    ShardKey,
    TableKey,
    Write,
)
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.handover import CLOCKS_DIFFER_MS, second_of
from tailrace.core.ports import ReadError, ReadFailure, StreamListing, TableStream
from tailrace.core.shard import ListedShard, ShardRef
from tailrace.errors import FileError, WorldError
from tailrace.kafka.checkpoint_topic import read_checkpoint_state
from tailrace.moments import utc
from tailrace.operations import preconditions
from tailrace.operations.progress import OnProgress, Progress, unheard
from tailrace.operations.published_changes import Noted, PublishedChanges
from tailrace.operations.surroundings import THIS_PROCESS, Surroundings
from tailrace.operations.switch import Switching
from tailrace.remedy import CancelSnapshot, RestoreShard, ShowStatus, SwitchAgain, SwitchTo
from tailrace.wiring.sources import COMPARED_AT_ONCE, ComparedSource, make_compared
from tailrace.wiring.table_choice import list_tables

CHANGES_MAX: Final = 500_000
"""Most published changes that are handed over: each costs a worker some 100 bytes until its time has passed."""
_PART_CHANGES: Final = 10_000
_HOUR_MS: Final = 3_600_000
_SECOND_MS: Final = 1_000
_REHEARSALS: Final = 3
_AGAIN: Final = SwitchAgain()
_T = TypeVar("_T")


class SwitchedSource(msgspec.Struct, frozen=True):
    """What a switch of sources has done; with `fenced` 0 there was nothing to do."""

    pipeline: str
    before: str
    after: str
    """The kinds of source."""
    fenced: int
    """Lanes and shards whose producers were fenced."""
    from_ms: int
    """All changes that were made before were published by the source before; milliseconds since the epoch."""
    changes: int
    """Published changes that were made since: the next source leaves them out."""


OpenSource = Callable[[Pipeline], ComparedSource]


def check_files(before: LoadedPipeline, after: LoadedPipeline) -> None:
    """Raise FileError unless two files are of one pipeline, and differ in the source alone."""
    old, new = before.pipeline, after.pipeline
    if old.name != new.name:
        raise FileError(
            f"the files are of two pipelines, {old.name} and {new.name}",
            hint=f"a switch gives a pipeline another source: write `name: {old.name}` in both",
        )
    if old.source.type == new.source.type:
        raise FileError(
            f"both files have `source.type: {old.source.type}`",
            hint="a switch is from one kind of source to another; for any other change start the workers with the "
            "new file",
        )
    for each in (old, new):
        if not each.source.carries_changes:
            raise FileError("raw records of Kinesis are not changes of tables, so no other source has them")
    shown_before, shown_after = old.shown(), new.shown()
    names = [name for name in shown_before if name != "source" and shown_before[name] != shown_after[name]]
    if names:
        raise FileError(
            f"the files differ in {', '.join(f'`{name}`' for name in names)}",
            hint="a switch changes the source alone: make the rest equal, and change it before or after",
        )


def source_of(loaded: LoadedPipeline, *, around: Surroundings = THIS_PROCESS) -> str:
    """Return the kind of source that a pipeline is read from. Raises WorldError when the pipeline does not exist."""
    pipeline = loaded.pipeline
    with closing(Switching(pipeline, preconditions.count_lanes(pipeline, around.clients), around)) as looked_at:
        return _source_type(looked_at.checkpoint_state, pipeline)


def switch_source(
    before: LoadedPipeline,
    after: LoadedPipeline,
    *,
    progress: OnProgress = unheard,
    around: Surroundings = THIS_PROCESS,
    open_source: OpenSource = make_compared,
) -> SwitchedSource:
    """Let the workers read what `after` names instead of what `before` does, without losing or repeating a change.

    `progress` hears of producers that are fenced, and of shards that are read again. Raises FileError for files that do
    not go together, WorldError when the pipeline does not exist, is not served by workers, has gaps or a snapshot under
    way, or is too far behind, and for whatever fails.
    """
    check_files(before, after)
    pipeline, to = before.pipeline, after.pipeline.source.type
    lanes = preconditions.count_lanes(pipeline, around.clients)
    with ExitStack() as opened:
        under_way = opened.enter_context(closing(Switching(pipeline, lanes, around)))
        checkpoint_state = under_way.checkpoint_state
        if _source_type(checkpoint_state, pipeline) == to and under_way.method == "worker":
            last = checkpoint_state.handovers.record
            from_ms, changes = (last.from_ms, last.changes) if last is not None else (0, 0)
            return SwitchedSource(pipeline.name, pipeline.source.type, to, 0, from_ms, changes)
        _check_method(under_way, pipeline)
        old, new = open_source(pipeline), open_source(after.pipeline)
        opened.callback(old.source.close)
        opened.callback(new.source.close)
        before_side, after_side = _Side(pipeline, old), _Side(after.pipeline, new)
        # While the workers still publish: to say what forbids a switch, to list each shard at least once, and to find
        # where changes are lately, so that shards are not read from their heads while nobody publishes.
        for _ in range(_REHEARSALS):
            checkpoint_state = read_checkpoint_state(pipeline.kafka, pipeline.name, lanes, factory=around.clients)
            _Transition(before_side, after_side, checkpoint_state, around, progress).work_out()
        handed_over: list[HandoverRecord] = []

        def writes() -> tuple[Write, ...]:
            transition = _Transition(before_side, after_side, under_way.checkpoint_state, around, progress)
            try:
                record, parts = transition.work_out()
            except WorldError as error:
                raise WorldError(
                    f"the switch of {pipeline.name} broke off: {error.message}", hint=error.hint, remedy=_AGAIN
                ) from error
            handed_over.append(record)
            return _final_writes(under_way.checkpoint_state, after.pipeline, record, parts)

        fenced = under_way.run("worker", progress, writes, source_type=to)
        record = handed_over[-1]
        return SwitchedSource(pipeline.name, pipeline.source.type, to, fenced, record.from_ms, record.changes)


def _final_writes(
    checkpoint_state: CheckpointState, after: Pipeline, record: HandoverRecord, parts: list[HandoverPart]
) -> tuple[Write, ...]:
    recorded = checkpoint_state.definition
    generation = recorded.generation + 1 if recorded is not None else 1
    definition = msgspec.structs.replace(definition_of(after), generation=generation)
    return (
        *_forgotten(checkpoint_state),
        *(Write(0, HandoverPartKey(number), part) for number, part in enumerate(parts)),
        *(Write(0, HandoverPartKey(each), None) for each in checkpoint_state.handovers.part_numbers[len(parts) :]),
        Write(0, HandoverKey(), record),
        Write(0, DefinitionKey(), definition),
    )


def _forgotten(checkpoint_state: CheckpointState) -> Iterator[Write]:
    """Yield tombstones for all that is known of the tables, streams and shards of the source before."""
    lanes = checkpoint_state.lane_count
    for shard in sorted(checkpoint_state.shards.keys() | checkpoint_state.checkpoints.keys()):
        if shard in checkpoint_state.shards:
            yield ShardKey(*shard).write(None, lanes)
        if shard in checkpoint_state.checkpoints:
            yield CheckpointKey(*shard).write(None, lanes)
    yield from (Write(0, TableKey(table), None) for table in sorted(checkpoint_state.tables))
    yield from (Write(0, AcceptKey(table), None) for table in sorted(checkpoint_state.accepted))


def _source_type(checkpoint_state: CheckpointState, pipeline: Pipeline) -> str:
    """Return the kind of source that a pipeline reads; that of its file while none is recorded."""
    recorded = checkpoint_state.definition
    return checkpoint_state.source_type or (recorded.source_type if recorded is not None else pipeline.source.type)


def _check_method(under_way: Switching, pipeline: Pipeline) -> None:
    checkpoint_state = under_way.checkpoint_state
    if under_way.method == "lambda":
        raise WorldError(
            f"the pipeline {pipeline.name} is served by AWS Lambda, and a switch of sources is between workers",
            hint="let workers take over first; Lambda can take over from them again when the switch is over",
            remedy=SwitchTo("worker"),
        )
    source_type = _source_type(checkpoint_state, pipeline)
    if source_type != pipeline.source.type:
        raise WorldError(
            f"the pipeline {pipeline.name} reads from {source_type}, and the file has `source.type: "
            f"{pipeline.source.type}`",
            hint="give the file that the workers run with first, and the next one with --to",
        )


class _Side:
    """One of the two sources, with the file that names it."""

    def __init__(self, pipeline: Pipeline, opened: ComparedSource) -> None:
        self.asked = pipeline.source
        self.name = pipeline.name
        self.policy = opened.source.policy
        self.log = opened.log
        self._source = opened.source
        self._listed: dict[str, dict[str, ListedShard]] = {}
        """By stream, the shards that any listing showed: one may have holes."""
        self.noted: dict[ShardRef, Noted] = {}
        """Where lately published changes begin, as it was last seen."""

    @property
    def tells_of_tables(self) -> bool:
        """Whether what it lists are tables: then it tells which images their records carry."""
        return not self.policy.carries_tables

    def list(self) -> dict[str, TableStream]:
        """Describe what the file names, by name. Raises WorldError for what is not there, or has no stream."""
        return {entry: self._described(entry) for entry in _ask(partial(list_tables, self.asked, self._source))}

    def _described(self, entry: str) -> TableStream:
        try:
            found = self._source.table_stream(entry)
        except ReadError as error:
            if error.failure is ReadFailure.GONE:
                raise self.asked.missing_table(entry) from error
            raise WorldError(error.message, hint=error.hint) from error
        if found.stream is None:
            raise self.asked.missing_stream(entry)
        return found

    def shards(self, stream: str) -> StreamListing:
        """List a stream, with what earlier listings showed. Raises WorldError."""
        listing = _ask(partial(self._source.shards, stream))
        listed = self._listed.setdefault(stream, {})
        listed.update((each.shard_id, each) for each in listing.shards)
        return msgspec.structs.replace(listing, shards=tuple(listed.values()))


class _Transition:
    """Works out what one source hands over to the other."""

    def __init__(
        self,
        before: _Side,
        after: _Side,
        checkpoint_state: CheckpointState,
        around: Surroundings,
        progress: OnProgress,
    ) -> None:
        """`checkpoint_state` says what is published."""
        self._before = before
        self._after = after
        self._checkpoint_state = checkpoint_state
        self._around = around
        self._progress = progress
        self._published = PublishedChanges(before.log, before.policy, checkpoint_state, around, before.noted)
        self._streams_of = {
            entry: {record.stream_arn or "", *checkpoint_state.streams_of(entry)} - {""}
            for entry, record in checkpoint_state.tables.items()
            if record.state not in {"left out", "missing"}
        }
        """What is read now, by name."""

    def _survey(self) -> tuple[int, dict[str, TableStream]]:
        """Return since when changes may be unpublished, and what the next source reads.

        Raises WorldError for what forbids a switch.
        """
        self._check_standing()
        listed = self._after.list()
        from_ms = self._from_ms()
        for entry, found in listed.items():
            self._check_reaches_back(entry, self._after.shards(found.stream or ""), from_ms)
        return from_ms, listed

    def work_out(self) -> tuple[HandoverRecord, list[HandoverPart]]:
        """Return what is handed over; it is final once nobody publishes any more. Raises WorldError."""
        from_ms, listed = self._survey()
        view_types = self._view_types(listed)
        changes = self._changes_since(from_ms, view_types)
        last_ms = max((second_of(change) * _SECOND_MS for change in changes), default=from_ms)
        window_ms = max(self._before.policy.window_ms, self._after.policy.window_ms)
        parts = [b"".join(changes[each : each + _PART_CHANGES]) for each in range(0, len(changes), _PART_CHANGES)]
        handover_id = uuid.uuid4().hex
        record = HandoverRecord(
            id=handover_id,
            before=self._before.asked.type,
            after=self._after.asked.type,
            at_ms=self._around.now_ms(),
            from_ms=from_ms,
            until_ms=last_ms + _SECOND_MS + CLOCKS_DIFFER_MS + (window_ms if self._after.policy.window_ms else 0),
            view_types=view_types,
            entries=tuple(listed),
            parts=len(parts),
            changes=len(changes),
        )
        return record, [HandoverPart(id=handover_id, changes=part) for part in parts]

    def _check_standing(self) -> None:
        state = self._checkpoint_state
        if unfinished := state.snapshots.unfinished:
            raise WorldError(f"a snapshot of table {unfinished[0]} is under way", remedy=CancelSnapshot(unfinished[0]))
        if not self._streams_of:
            raise WorldError(
                f"the workers of the pipeline {self._before.name} have not listed anything to read yet",
                hint="wait until they have, or start workers with the new file under another name",
            )
        for entry in self._streams_of:
            if self._is_new(state.tables[entry].stream_arn or ""):
                raise WorldError(
                    f"the shards of {entry} were not listed until just now, and some may be missing",
                    hint="try again in some seconds",
                )
            if state.tables[entry].state in {"gap", "failed"} or state.is_stopped(entry):
                raise WorldError(f"{entry} stands still, so how far it is published is not known", remedy=ShowStatus())
        for shard, checkpoint in state.checkpoints.items():
            if checkpoint.state == "failed":
                raise WorldError(
                    f"shard {shard.shard_id} of {checkpoint.table} has stopped at a change", remedy=RestoreShard()
                )

    def _is_new(self, stream: str) -> bool:
        """Return whether a stream was listed so lately that not all of its first shards need be known."""
        state = self._checkpoint_state
        known = [state.shards[shard] for shard in state.shards_of_stream(stream)]
        whole_before_ms = self._around.now_ms() - 2 * self._before.policy.second_child_ms
        roots = [record for record in known if not record.parents]
        return not known or any((record.listed_ms or record.seen_ms) > whole_before_ms for record in roots)

    def _from_ms(self) -> int:
        """Return a time, in whole seconds: all changes that were made before are published.

        They may reach Kinesis late, and within a shard their times may go back.
        """
        places = [
            place
            for streams in self._streams_of.values()
            for stream in sorted(streams)
            for place in self._published.unpublished(stream, self._before.shards(stream).shards)
        ]
        since = list(self._around.map(self._published.oldest_ms, places, COMPARED_AT_ONCE))
        oldest_ms = min((each for each in since if each is not None), default=self._around.now_ms())
        behind_ms = max(self._before.policy.window_ms, CLOCKS_DIFFER_MS)
        last = self._checkpoint_state.handovers.record
        from_ms = max(oldest_ms - behind_ms, last.from_ms if last is not None else 0)
        return from_ms // _SECOND_MS * _SECOND_MS

    def _check_reaches_back(self, entry: str, listing: StreamListing, from_ms: int) -> None:
        """Raise WorldError unless a stream of the next source has all changes since a time."""
        if listing.created_ms > from_ms:
            raise WorldError(
                f"{entry} has a stream since {utc(listing.created_ms)}, and changes since {utc(from_ms)} are needed",
                hint="switch when the workers have published all that is older, and mind how long Kinesis may take",
            )
        kept_ms = (listing.retention_ms or self._after.policy.retention_ms) - _HOUR_MS
        if self._around.now_ms() - from_ms > kept_ms:
            raise WorldError(
                f"the workers are behind: changes since {utc(from_ms)} may be unpublished, and the stream of {entry} "
                "may have forgotten the first of them",
                hint="let them catch up",
                remedy=ShowStatus(),
            )

    def _view_types(self, listed: Mapping[str, TableStream]) -> dict[str, ViewType]:
        """Return the tables of the source that tells of tables, with the images that their records carry."""
        if self._after.tells_of_tables:
            view_types = {entry: found.view_type for entry, found in listed.items()}
        else:
            view_types = {entry: self._checkpoint_state.tables[entry].view_type for entry in self._streams_of}
        for table in view_types:
            if not self._after.asked.publishes(table):
                raise self._left_out(table)
        return {table: view_type or "NEW_AND_OLD_IMAGES" for table, view_type in view_types.items()}

    def _changes_since(self, from_ms: int, view_types: Mapping[str, ViewType]) -> list[bytes]:
        """Return what is kept of the published changes since a time. Raises WorldError."""
        shards = sorted(self._checkpoint_state.checkpoints)
        read = self._around.map(
            lambda shard: self._published.since(shard, from_ms, view_types), shards, COMPARED_AT_ONCE
        )
        changes, identities = Counter[bytes](), set[bytes]()
        for done, found in enumerate(read, 1):
            for each in found:
                if each.digest is None and self._before.asked.publishes(each.table):
                    raise self._left_out(each.table)
                if each.digest is not None and each.identity not in identities:
                    changes[each.digest] += 1
                    identities.update((each.identity,) if each.identity else ())
            if changes.total() > CHANGES_MAX:
                raise WorldError(
                    f"more than {CHANGES_MAX:,} published changes were made since {utc(from_ms)}, when the first "
                    "unpublished one may have been",
                    hint="switch when there are fewer, or with a shorter `source.window`",
                )
            self._progress(Progress("shards", done, len(shards)))
        # What was handed over to this source is published, whether its stream has told it yet or not.
        handed_over = Counter(self._checkpoint_state.handovers.digests())
        return sorted((changes | handed_over).elements())

    def _left_out(self, table: str) -> WorldError:
        return WorldError(
            f"the next source leaves out table {table}, which is published now",
            hint=f"see {self._after.asked.tables_key}",
        )


def _ask(call: Callable[[], _T]) -> _T:
    try:
        return call()
    except ReadError as error:
        raise WorldError(error.message, hint=error.hint) from error
