"""Publishes dead letters again: `tailrace redrive`.

The dead-letter topic is its own memory: each dead letter that is dealt with gets a mark, in the transaction that
publishes it (`kafka/dead_letters.py`). A dead letter that fails again stays as it is.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack
from typing import Final

import msgspec

from tailrace.config import LoadedPipeline, Pipeline
from tailrace.core.page import Page
from tailrace.core.ports import ReadError, Source, SourcePage
from tailrace.core.redrive import DeadLetter, Pending, Published, Selection
from tailrace.errors import WorldError
from tailrace.kafka import dead_letters
from tailrace.kafka.dead_letters import RECORD_TOO_LARGE, redriven_mark
from tailrace.kafka.headers import EXCEPTION, REASON, STAGE
from tailrace.kafka.topic_reader import TopicReader, fetch
from tailrace.operations import preconditions
from tailrace.operations.progress import OnProgress, Progress, unheard
from tailrace.operations.publisher import LOSSES_MAX, NotPublishedError, in_batches
from tailrace.operations.republisher import (
    AGAIN,
    Outcome,
    Redriven,
    Report,
    Republisher,
    TopicsOfChanges,
    compare,
)
from tailrace.sources.shard_range import read_range
from tailrace.wiring.sources import make_source

BATCH_LETTERS_MAX: Final = 500
BATCH_BYTES_MAX: Final = 4 << 20


def redrive(
    loaded: LoadedPipeline,
    selection: Selection,
    *,
    dry_run: bool = False,
    skip_superseded: bool = True,
    progress: OnProgress = unheard,
) -> Report:
    """Publish the chosen dead letters again, converted as the file says now; with `dry_run` only say what would be.

    `progress` hears of each dead letter. Raises WorldError when it breaks off: what was published by then is
    remembered.
    """
    pipeline = loaded.pipeline
    preconditions.require_pipeline(pipeline, selection.tables)
    report = Report(pipeline.name, dry_run)
    with ExitStack() as opened:
        republisher = opened.enter_context(Republisher(pipeline))
        topic = pipeline.dead_letters_topic
        if not republisher.existing([topic]):
            return report
        if not dry_run:
            republisher.fence()  # before the first look: ends what a redrive that was killed left open
        letters = opened.enter_context(_Letters(pipeline, selection))
        letters.read()
        run = _Redrive(republisher, letters, skip_superseded, report, progress)
        opened.callback(run.close)
        run.run(dry_run=dry_run)
    return report


class _Letters:
    """The dead-letter topic as it is read, and its records again."""

    def __init__(self, pipeline: Pipeline, selection: Selection) -> None:
        self.pending = Pending(selection)
        self._pipeline = pipeline
        self._reader = TopicReader(pipeline.kafka, pipeline.dead_letters_topic)

    def __enter__(self) -> _Letters:
        return self

    def __exit__(self, *_failure: object) -> None:
        self._reader.close()

    def read(self) -> None:
        """Take in what was committed since the last call."""
        for message in self._reader.read():
            found = dead_letters.read(message, self._pipeline.name)
            if found is not None:
                self.pending.add(found)

    def raws(self, letters: list[DeadLetter]) -> list[bytes | None]:
        """Return the source's records; None for those that were too large to be kept, or are deleted meanwhile."""
        kept = [letter.place for letter in letters if letter.size_bytes]
        found = fetch(self._pipeline.kafka, self._pipeline.dead_letters_topic, kept) if kept else {}
        return [found[letter.place].value() if letter.place in found else None for letter in letters]


class _Verdict(msgspec.Struct, frozen=True):
    """What becomes of a dead letter and why, as `Redriven` tells it."""

    outcome: Outcome
    reason: str
    stage: str = ""
    exception: str = ""


class _Redrive:
    """One run over the dead letters that are pending."""

    def __init__(
        self, republisher: Republisher, letters: _Letters, skip_superseded: bool, report: Report, progress: OnProgress
    ) -> None:
        self._republisher = republisher
        self._letters = letters
        self._skip_superseded = skip_superseded
        self._report = report
        self._progress = progress
        self._published = Published()
        self._source: Source | None = None

    def close(self) -> None:
        if self._source is not None:
            self._source.close()

    def run(self, *, dry_run: bool) -> None:
        letters = self._letters.pending.in_order()
        batches = [
            [letters[index] for index in batch]
            for batch in in_batches(
                ((index, letter.size_bytes) for index, letter in enumerate(letters)), BATCH_LETTERS_MAX, BATCH_BYTES_MAX
            )
        ]
        self._count = len(letters)
        if not letters:
            return
        since_ms = min(letter.created_ms for letter in letters)
        for batch in batches:
            for letter, made in zip(batch, self._convert(batch), strict=True):
                if isinstance(made, Page):
                    self._published.want(letter.shard, made.records)
                    since_ms = min([since_ms, *(record.timestamp_ms for record in made.records)])
                    if not dry_run:
                        self._republisher.ensure_topics(letter.table)
        with TopicsOfChanges(self._republisher, self._published.topics, since_ms) as topics:
            if dry_run:
                topics.read(compare(self._published, self._republisher.pipeline))
                for batch in batches:
                    self._decide(batch)
            else:
                self._publish_all(deque(batches), topics)

    def _publish_all(self, batches: deque[list[DeadLetter]], topics: TopicsOfChanges) -> None:
        losses = 0
        while batches:
            topics.read(compare(self._published, self._republisher.pipeline))
            batch = batches.popleft()
            told = len(self._report.changes)
            pages = self._decide(batch)
            try:
                if pages:
                    self._republisher.commit(pages)
                losses = 0
            except NotPublishedError as error:
                del self._report.changes[told:]
                self._republisher.fence()
                self._letters.read()
                if error.too_large and len(batch) == 1:
                    self._note(batch[0], _Verdict("failed", error.too_large[0].reason, "PRODUCE", RECORD_TOO_LARGE))
                    continue
                left = [letter for letter in batch if letter in self._letters.pending]
                for letter in batch:
                    if letter not in self._letters.pending:
                        self._note(letter, _as_it_was(letter, "published"))
                if error.too_large:
                    batches.extendleft([letter] for letter in reversed(left))
                    continue
                losses += not error.learned
                if losses == LOSSES_MAX:
                    raise WorldError(
                        f"the redrive of {self._report.pipeline} broke off: {error.lost.reason}", remedy=AGAIN
                    ) from error
                if left:
                    batches.appendleft(left)

    def _decide(self, batch: list[DeadLetter]) -> tuple[Page, ...]:
        """Note what becomes of each dead letter of a batch; return what to publish for it, marks included."""
        pages: list[Page] = []
        for letter, made in zip(batch, self._convert(batch), strict=True):
            if isinstance(made, _Verdict):
                self._note(letter, made)
                continue
            missing = [each for each in made.records if not self._published.holds(letter.shard, each)]
            outcome: Outcome = "published" if missing else "present" if made.records else "dropped"
            if self._skip_superseded and any(self._published.has_newer(letter.shard, each) for each in missing):
                self._note(letter, _as_it_was(letter, "superseded"))
                continue
            mark = redriven_mark(
                self._republisher.pipeline.dead_letters_topic,
                letter,
                pipeline=self._report.pipeline,
                outcome=outcome,
                now_ms=time.time_ns() // 1_000_000,
            )
            pages.append(msgspec.structs.replace(made, records=[*missing, mark]))
            self._note(letter, _as_it_was(letter, outcome))
        return tuple(pages)

    def _convert(self, batch: list[DeadLetter]) -> list[Page | _Verdict]:
        return [self._made(*one) for one in zip(batch, self._letters.raws(batch), strict=True)]

    def _made(self, letter: DeadLetter, raw: bytes | None) -> Page | _Verdict:
        try:
            source = self._read_again(letter) if raw is None else self._decoded(letter, raw)
            if source is None:
                return _Verdict("lost", "the record itself is not kept here, and the stream no longer has it")
            converted = self._republisher.convert(letter.shard, source)
        except (ReadError, WorldError) as error:
            return _Verdict("failed", str(error))
        if converted.letter is None:
            return converted.page
        told = converted.letter
        return _Verdict("failed", told[REASON], told[STAGE], told[EXCEPTION])

    def _decoded(self, letter: DeadLetter, raw: bytes) -> SourcePage:
        return self._republisher.decode(letter.shard, b'{"Records":[%b]}' % raw)

    def _read_again(self, letter: DeadLetter) -> SourcePage | None:
        if self._source is None:
            self._source = make_source(self._republisher.pipeline)
        found = read_range(self._source, letter.shard, letter.sequence, letter.sequence)
        if not found.records:
            return None
        return SourcePage(found.records, next_iterator=None, size_bytes=len(found.records[0].origin.raw), full=False)

    def _note(self, letter: DeadLetter, verdict: _Verdict) -> None:
        self._report.changes.append(
            Redriven(
                table=letter.table,
                shard=letter.shard.shard_id,
                sequence=letter.sequence,
                outcome=verdict.outcome,
                stage=verdict.stage,
                exception=verdict.exception,
                reason=verdict.reason,
                partition=letter.place.partition,
                offset=letter.place.offset,
            )
        )
        self._progress(Progress("dead-letters", len(self._report.changes), self._count))


def _as_it_was(letter: DeadLetter, outcome: Outcome) -> _Verdict:
    """Report why a dead letter had failed that did not fail again."""
    return _Verdict(outcome, letter.message, letter.stage, letter.exception)
