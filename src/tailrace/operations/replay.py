"""Publishes again what a table's stream still holds, marked in a header: `tailrace replay`.

All replays of a pipeline share the transactional id `<name>.replay`: one that begins fences any other and ends what
that left open. Whole pages are published, each as a worker would (`core/replay.py` says in which order), and nothing is
written to the checkpoint topic. Where an answer to a commit is lost, the topic tells whether the transaction is there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Final, NamedTuple, TypeVar

import msgspec

from tailrace.config import LoadedPipeline, Pipeline
from tailrace.core.pacing import Backoff
from tailrace.core.page import Outgoing, Page, SetAside
from tailrace.core.ports import ReadError, ReadFailure, Source, SourcePage
from tailrace.core.refusals import Learned, RefusedRecords
from tailrace.core.replay import Course, ReplayShard, Span
from tailrace.core.shard import ShardRef
from tailrace.errors import FileError, TailraceError, WorldError
from tailrace.kafka import headers
from tailrace.kafka.dead_letters import too_large
from tailrace.kafka.topic_reader import TopicReader
from tailrace.kafka.watched_consumer import Place
from tailrace.moments import utc
from tailrace.operations import preconditions
from tailrace.operations.progress import OnProgress, Progress, unheard
from tailrace.operations.publisher import LOSSES_MAX, NotPublishedError, Publisher, in_batches
from tailrace.operations.record_view import header_texts
from tailrace.remedy import EnableStream, ReplayFrom
from tailrace.sinks.topics import Topics
from tailrace.wiring import transcoder
from tailrace.wiring.pipeline import check_table, make_converter
from tailrace.wiring.sources import make_source, reading_of
from tailrace.wiring.transformations import Transformations

TRANSACTION_PAGES_MAX: Final = 100
TRANSACTION_BYTES_MAX: Final = 8 << 20
_ATTEMPTS_MAX: Final = 6
_BACKOFF: Final = Backoff(200, 10_000)
_PASSING: Final = {ReadFailure.THROTTLED, ReadFailure.UNAVAILABLE}
_SLEEP_S: Final = 0.2
"""How often `stopped` is asked while nothing can be read."""

_Answer = TypeVar("_Answer")


class Replayed(msgspec.Struct, frozen=True):
    """What a replay published."""

    pipeline: str
    table: str
    from_ms: int | None
    """Milliseconds since the epoch; None: from the oldest change that the stream held."""
    to_ms: int | None
    """None: until everything was read."""
    changes: int
    """Changes of that time, those that were dropped or became dead letters among them."""
    records: int
    """Records published, tombstones and dead letters among them."""
    dropped: int
    """Changes that the transformation dropped."""
    dead_letters: int
    shards: int
    trimmed_shards: tuple[str, ...]
    """Shards of which the stream trimmed changes before they were read."""
    busy_shards: tuple[str, ...]
    """Shards that were written to all the time: their last few changes may have been overtaken by newer ones."""
    complete: bool
    """False: it was stopped."""
    resume_from_ms: int | None = None
    """If it was stopped: from when on another replay has to begin; None: as this one."""


def replay(
    loaded: LoadedPipeline,
    table: str,
    *,
    from_ms: int | None = None,
    to_ms: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
    progress: OnProgress = unheard,
) -> Replayed:
    """Publish a table's changes of a time again, both ends included, until all are or `stopped`.

    Times are milliseconds since the epoch; `from_ms` None means the oldest change that the stream holds, `to_ms` None
    that the replay ends once it has read all shards to their present ends. `progress` hears of changes. Raises
    WorldError when it breaks off: its remedy says from when on to go on. Raises FileError for times that cannot be.
    """
    pipeline, begun_ms = loaded.pipeline, _now_ms()
    check(loaded, table, from_ms=from_ms, to_ms=to_ms)
    span = Span(from_ms, to_ms)
    with ExitStack() as opened:
        transformations = Transformations(pipeline)
        source = make_source(pipeline, transcoder.choose(), transformations.of)
        opened.callback(source.close)
        stream = _stream(pipeline, source, transformations, table)
        publisher = opened.enter_context(Publisher(pipeline, "replay"))
        run = _Replay(publisher, source, transformations, Course(stream, span, source.policy, random.random), table)
        opened.callback(run.close)
        try:
            run.run(stopped, progress)
        except TailraceError as error:
            raise WorldError(
                f"the replay of table {table} broke off after {run.changes} changes: {error.message}",
                hint=error.hint,
                remedy=ReplayFrom(table, run.course.resume_ms(begun_ms), to_ms),
            ) from error
        return run.report(pipeline.name, span, begun_ms)


def check(loaded: LoadedPipeline, table: str, *, from_ms: int | None, to_ms: int | None) -> None:
    """Raise FileError or WorldError for what a replay does not even begin with."""
    now_ms = _now_ms()
    if to_ms is not None and to_ms > now_ms:
        raise FileError(f"{utc(to_ms)} is still to come", hint="a replay ends at the latest now")
    if from_ms is not None and from_ms > (now_ms if to_ms is None else to_ms):
        raise FileError(f"a replay from {utc(from_ms)} would begin after it ends")
    pipeline = loaded.pipeline
    preconditions.require_pipeline(pipeline)
    if not pipeline.source.reads(table):
        raise WorldError(f"the file leaves table {table} out", hint=f"see {pipeline.source.tables_key}")


def _stream(pipeline: Pipeline, source: Source, transformations: Transformations, table: str) -> str:
    try:
        found = source.table_stream(table)
    except ReadError as error:
        raise WorldError(error.message, hint=error.hint) from error
    if found.stream is None:
        raise WorldError(f"table {table} has no stream", remedy=EnableStream(table, pipeline.source.tables_key))
    check_table(pipeline, transformations, found)
    return found.stream


class _Replay:
    """One run. What it reads at once is committed before it reads on."""

    def __init__(
        self, publisher: Publisher, source: Source, transformations: Transformations, course: Course, table: str
    ) -> None:
        self.course = course
        self._table = table
        self._source = source
        pipeline = publisher.pipeline
        self._converter = make_converter(pipeline, transformations, publisher.limits)
        self._publishing = _Publishing(publisher, table)
        self._at_once = reading_of(pipeline).readers
        self._pool = ThreadPoolExecutor(self._at_once, "replay")
        self._is_stopped = False

    @property
    def changes(self) -> int:
        """How many changes are committed."""
        return self._publishing.changes

    def close(self) -> None:
        self._pool.shutdown()

    def run(self, stopped: Callable[[], bool], progress: OnProgress) -> None:
        """Publish everything, until `stopped`. Raises TailraceError."""
        self._publishing.begin()
        self._list()
        while not self._is_whole(stopped):
            if stopped():
                self._is_stopped = True
                return
            now_ms = _now_ms()
            shards = self.course.next(now_ms, self._at_once)
            if shards:
                self._advance(shards)
                progress(Progress("changes", self.changes))
            else:
                time.sleep(min(_SLEEP_S, max(0, (self.course.wake_ms() or now_ms) - now_ms) / 1000))

    def report(self, pipeline: str, span: Span, begun_ms: int) -> Replayed:
        published = self._publishing
        return Replayed(
            pipeline=pipeline,
            table=self._table,
            from_ms=span.from_ms,
            to_ms=span.to_ms,
            changes=published.changes,
            records=published.records,
            dropped=published.dropped,
            dead_letters=published.dead_letters,
            shards=len(self.course.shards),
            trimmed_shards=tuple(sorted(self.course.trimmed)),
            busy_shards=tuple(sorted(self.course.busy)),
            complete=not self._is_stopped,
            resume_from_ms=self.course.resume_ms(begun_ms) if self._is_stopped else None,
        )

    # Shards

    def _is_whole(self, stopped: Callable[[], bool]) -> bool:
        """Return whether everything is published, as a listing confirms that is late enough to show what is new."""
        if not self.course.is_read():
            return False
        policy = self._source.policy
        due_ms = self.course.changed_ms + policy.second_child_ms
        for attempt in range(policy.children_tries):
            while (left_ms := due_ms - _now_ms()) > 0:
                if stopped():
                    return False
                time.sleep(min(_SLEEP_S, left_ms / 1000))
            self._list()
            if not self.course.is_read():
                return False
            if not self.course.missing:
                return True
            due_ms = _now_ms() + (policy.children_pause_ms << attempt)
        missing = ", ".join(self.course.missing)
        raise WorldError(f"the listing of the stream still has holes around {missing}", hint="it should show more soon")

    def _list(self) -> None:
        stream = self.course.stream
        self.course.take_listing(_ask(lambda: self._source.shards(stream)).shards, _now_ms())
        parents = [ShardRef(stream, each) for each in self.course.unlisted_parents]
        self.course.forget_parents([each.shard_id for each in parents if not _ask(partial(self._source.exists, each))])

    # Pages

    def _advance(self, shards: list[ReplayShard]) -> None:
        """Read a page of each shard and publish them."""
        answers = list(self._pool.map(self._read, shards))
        self._publishing.publish([each.page for each in answers if isinstance(each, _Read)])
        for shard, answer in zip(shards, answers, strict=True):
            if isinstance(answer, _Read):
                self.course.take_page(shard, answer.source, _now_ms())
            elif not self.course.take_failure(shard, answer.failure, _now_ms()):
                raise answer

    def _read(self, shard: ReplayShard) -> _Read | ReadError:
        try:
            source = self._source.read(shard.ref, shard.position, shard.iterator)
        except ReadError as error:
            return error
        return _Read(source, self._converter.convert(shard.ref, self.course.wanted(source), time.time_ns()))


class _Read(NamedTuple):
    """A page as it was read, and what is to be published of it."""

    source: SourcePage
    page: Page


class _Publishing:
    """Publishes pages, each once; counts what is committed."""

    def __init__(self, publisher: Publisher, table: str) -> None:
        self.changes = self.records = self.dropped = self.dead_letters = 0
        self._publisher = publisher
        self._pipeline = publisher.pipeline
        self._table = table
        self._refused = RefusedRecords()
        self._topics = Topics(self._pipeline.kafka)
        self._places: set[Place] = set()

    def begin(self) -> None:
        """Fence other replays. Raises WorldError."""
        self._publisher.ensure_topics(self._table)
        self._publisher.fence()
        names = {*self._pipeline.topics_of(self._table), self._pipeline.dead_letters_topic}
        self._places = self._topics.find(names.__contains__)

    def publish(self, pages: list[Page]) -> None:
        """Publish pages of different shards, whole. Raises WorldError when that fails, or a record stops its shard."""
        sizes = ((index, page.size_bytes) for index, page in enumerate(pages))
        for batch in in_batches(sizes, TRANSACTION_PAGES_MAX, TRANSACTION_BYTES_MAX):
            self._publish([pages[index] for index in batch])

    def _publish(self, pages: list[Page]) -> None:
        losses = 0
        marked = self._marked(pages)
        while any(page.records for page in marked):
            ends = self._topics.ends(self._places)
            try:
                self._publisher.commit(marked)
                break
            except NotPublishedError as error:
                self._publisher.fence()
                if not error.too_large and self._is_there(marked, ends):
                    break
                learned = [self._refused.note(pages[each.page], each.record, each.reason) for each in error.too_large]
                has_learned = error.learned or any(each is not Learned.NOTHING for each in learned)
                losses = 0 if has_learned else losses + 1
                if losses == LOSSES_MAX:
                    raise WorldError(error.lost.reason) from error
                marked = self._marked(pages)
        for page in marked:
            self.changes += len(page.changes)
            self.records += len(page.records)
            self.dropped += len(page.dropped)
            self.dead_letters += sum(record.is_dead_letter for record in page.records)
            self._refused.forget(page.shard, page.last_sequence)
        if stops := [page.stop for page in marked if page.stop is not None]:
            raise WorldError(stops[0], hint="fix the cause, or set `errors: dead-letter`")

    def _marked(self, pages: list[Page]) -> tuple[Page, ...]:
        return tuple(map(self._marked_page, pages))

    def _marked_page(self, page: Page) -> Page:
        """Return a page with the replay's header on all records, and dead letters for those that are too large."""
        self._refused.note_marks(page)
        known = self._refused.apply(page, stop=self._pipeline.errors == "fail")
        records = []
        for index, each in enumerate(known.records):
            aside = known.set_aside.get(index)
            record = each if aside is None else self._letter(page.shard, each, aside)
            records.append(headers.marked(headers.REPLAYED, page.shard, record))
        return msgspec.structs.replace(known, records=records, set_aside={})

    def _letter(self, shard: ShardRef, record: Outgoing, mark: SetAside) -> Outgoing:
        return too_large(self._pipeline.dead_letters_topic, self._pipeline.name, shard, record, mark)

    def _is_there(self, pages: tuple[Page, ...], ends: Mapping[Place, int]) -> bool:
        """Return whether a transaction whose answer is lost was committed: its first record is behind the `ends`."""
        record = next(record for page in pages for record in page.records)
        names = (headers.REPLAYED, headers.STREAM, headers.SHARD, headers.SEQUENCE)
        wanted = header_texts(record.headers)
        with TopicReader(self._pipeline.kafka, record.topic, starts=ends) as reader:
            found = (header_texts(message.headers()) for message in reader.read())
            return any(all(each.get(name) == wanted[name] for name in names) for each in found)


def _ask(call: Callable[[], _Answer]) -> _Answer:
    """Ask the source, again if the failure may pass. Raises WorldError."""
    for attempt in range(_ATTEMPTS_MAX):
        try:
            return call()
        except ReadError as error:
            if error.failure not in _PASSING or attempt == _ATTEMPTS_MAX - 1:
                raise WorldError(error.message, hint=error.hint) from error
            time.sleep(_BACKOFF.pause_ms(attempt + 1, random.random()) / 1000)
    raise AssertionError


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
