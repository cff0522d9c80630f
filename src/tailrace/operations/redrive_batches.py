"""Publishes what is missing of the batches that AWS Lambda discarded: `tailrace redrive --from-sqs`, `-s3`, `-file`.

What is published already is found by reading the topics: there is no other memory. What fails becomes a dead letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import msgspec
from confluent_kafka import Message

from tailrace.config import LoadedPipeline
from tailrace.core.change import Skip
from tailrace.core.page import Page
from tailrace.core.ports import ReadError, SourcePage
from tailrace.core.redrive import DeadLetter, Published, Selection
from tailrace.core.refusals import Learned, RefusedRecords
from tailrace.core.shard import ShardRef
from tailrace.errors import FileError, WorldError
from tailrace.formats import FORMATS
from tailrace.kafka import clients, dead_letters
from tailrace.kafka.dead_letters import RECORD_TOO_LARGE
from tailrace.kafka.headers import EXCEPTION, REASON, STAGE
from tailrace.operations import preconditions
from tailrace.operations.progress import OnProgress, Progress, unheard
from tailrace.operations.publisher import LOSSES_MAX, NotPublishedError, in_batches
from tailrace.operations.record_view import header_texts
from tailrace.operations.republisher import (
    AGAIN,
    Outcome,
    Redriven,
    Report,
    Republisher,
    TopicsOfChanges,
    compare,
    position_of,
)
from tailrace.sources.aws_lambda.discarded import DiscardedBatches
from tailrace.sources.aws_lambda.failure_message import DiscardedBatch, read_message
from tailrace.sources.aws_lambda.failure_messages import FailureMessage, FailureMessages
from tailrace.wiring.pipeline import record_reader
from tailrace.wiring.sources import make_discarded

TRANSACTION_RECORDS_MAX: Final = 1000
TRANSACTION_BYTES_MAX: Final = 8 << 20
_WHY_SKIPPED: Final[dict[Skip, str]] = {
    "repeat": "it repeats a change before it",
    "late": "it is late, and the file drops late changes",
    "misplaced": "its producer has sent it to another shard again",
}


def redrive_batches(
    loaded: LoadedPipeline,
    messages: FailureMessages,
    selection: Selection,
    *,
    dry_run: bool = False,
    skip_superseded: bool = True,
    progress: OnProgress = unheard,
) -> Report:
    """Publish what the topics lack of the batches that messages name; with `dry_run` only say what would be.

    A message is taken away once all of its changes are published, set aside or dropped. Of `selection` only the
    tables count. `progress` hears of messages. Raises WorldError when it breaks off; run again, it goes on.
    """
    pipeline = loaded.pipeline
    preconditions.require_pipeline(pipeline, selection.tables)
    report = Report(pipeline.name, dry_run)
    source = make_discarded(pipeline)
    done = 0
    try:
        with Republisher(pipeline) as republisher:
            run = _Run(republisher, source, selection, skip_superseded, report)
            for group in messages.groups():
                run.redrive(group)
                done += len(group)
                progress(Progress("messages", done))
    finally:
        source.close()
    return report


_Identity = tuple[ShardRef, int]
"""A change: its shard and sequence number."""


class _Batch(msgspec.Struct):
    """One discarded batch, what is left of its records, and what is made of them."""

    message: FailureMessage
    batch: DiscardedBatch
    whole: bool
    """False when the stream no longer has its beginning."""
    kept: str
    """How long the stream keeps what it holds, in words."""
    pages: list[Page]
    letters: list[bool]
    """Which of the pages is a dead letter."""
    found: set[int]
    """Sequence numbers of its records, those that the topics hold among them."""
    is_chosen: bool = True
    """No table of it was left out of the selection."""
    is_done: bool = True


class _Run:
    def __init__(
        self,
        republisher: Republisher,
        source: DiscardedBatches,
        selection: Selection,
        skip_superseded: bool,
        report: Report,
    ) -> None:
        self._republisher = republisher
        self._pipeline = republisher.pipeline
        self._source = source
        self._selection = selection
        self._skip_superseded = skip_superseded
        self._report = report
        self._is_fenced = False
        self._tried = set[_Identity]()
        self._sent = set[_Identity]()
        """What of the present messages is being tried, and was tried before a producer was lost."""

    def redrive(self, group: Sequence[FailureMessage]) -> None:
        """Deal with some messages, and take away those that are done with."""
        batches = [batch for batch in map(self._read, group) if batch is not None]
        if not batches:
            return
        if not self._report.dry_run:
            if not self._is_fenced:
                self._republisher.fence()
                self._is_fenced = True
            self._republisher.fence_shards({batch.batch.shard for batch in batches})
        batches.sort(key=lambda each: (each.batch.created_ms, int(each.batch.first)))  # a queue keeps no order
        told = len(self._report.changes)
        refused, losses = RefusedRecords(), 0
        self._sent, self._tried = set(), set()
        while True:
            del self._report.changes[told:]
            commits = self._republisher.commits
            try:
                self._publish(batches, refused)
                break
            except NotPublishedError as error:
                self._sent |= self._tried
                self._republisher.fence()
                is_further = self._learned(error, refused) or self._republisher.commits > commits
                losses = 0 if is_further else losses + 1
                if losses == LOSSES_MAX:
                    raise WorldError(
                        f"the redrive of {self._pipeline.name} broke off: {error.lost.reason}", remedy=AGAIN
                    ) from error
        for batch in batches:
            self._tell_lost(batch)
            if batch.is_done and not self._report.dry_run:
                batch.message.take_away()

    def _read(self, message: FailureMessage) -> _Batch | None:
        """Read the records that a message names, and convert them; None for a message that is to be left alone."""
        try:
            batch = read_message(message.content, message.name)
            carries_tables = self._pipeline.source.carries_tables
            if not (carries_tables or self._selection.wants(batch.table)):
                return None
            if not self._pipeline.source.reads(batch.table):
                self._report.refused.append(f"{message.name} is of {batch.place}, which the file leaves out")
                return None
            found = self._source.read(batch)
        except (FileError, ReadError) as error:
            self._report.refused.append(str(error))
            return None
        ours = [each for each in found.records if each.skipped != "unwanted"]
        chosen = [each for each in ours if not carries_tables or self._selection.wants(each.origin.table)]
        if ours and not chosen:
            return None
        if not self._report.dry_run:
            for table in dict.fromkeys(each.origin.table for each in chosen):
                self._republisher.ensure_topics(table)
        made = [
            self._republisher.convert(found.shard, SourcePage([each], None, len(each.origin.raw), full=False))
            for each in chosen
        ]
        return _Batch(
            message,
            msgspec.structs.replace(batch, shard=found.shard),
            found.whole,
            found.kept,
            pages=[each.page for each in made],
            letters=[each.letter is not None for each in made],
            found={int(record.origin.sequence) for record in found.records},
            is_chosen=len(chosen) == len(ours),
        )

    def _publish(self, batches: list[_Batch], refused: RefusedRecords) -> None:
        """Compare with what the topics hold now, and publish what is missing."""
        published, set_aside = Published(), set[_Identity]()
        for batch in batches:
            for page in batch.pages:
                published.want(batch.batch.shard, page.records)
        take_in, reader = compare(published, self._pipeline), record_reader(self._pipeline)

        def visit(topic: str, message: Message) -> None:
            if topic == self._pipeline.dead_letters_topic:
                letter = dead_letters.read(message, self._pipeline.name)
                if isinstance(letter, DeadLetter):
                    set_aside.add((letter.shard, int(letter.sequence)))
                return
            take_in(topic, message)
            value = clients.as_bytes(message.value())
            _find(batches, message, None if value is None else reader.value(value))

        topics = {self._pipeline.dead_letters_topic, *published.topics}
        for batch in batches:
            for table in () if batch.whole else self._pipeline.source.tables_of(batch.batch.table):
                topics.update(self._pipeline.topics_of(table))
        created_ms = [record.timestamp_ms for batch in batches for page in batch.pages for record in page.records]
        since_ms = min([batch.batch.created_ms for batch in batches] + created_ms)
        with TopicsOfChanges(self._republisher, sorted(topics), since_ms) as reading:
            for batch in batches:
                # What the batch before has published counts: a queue may give a message twice.
                reading.read(visit)
                batch.is_done = batch.is_chosen
                for shard, sequence in set_aside:
                    if shard == batch.batch.shard and int(batch.batch.first) <= sequence <= int(batch.batch.last):
                        batch.found.add(sequence)
                self._publish_batch(batch, published, set_aside, refused)

    def _publish_batch(
        self, batch: _Batch, published: Published, set_aside: set[_Identity], refused: RefusedRecords
    ) -> None:
        missing = []
        for page, is_letter in zip(batch.pages, batch.letters, strict=True):
            if _identity(page) in set_aside:
                outcome: Outcome = "failed" if _identity(page) in self._sent else "present"
                self._note(page, outcome, reason="it is a dead letter: redrive it from there")
            elif (records := self._missing(batch, page, is_letter, published, refused)) is not None:
                missing.append(records)
        if self._report.dry_run:
            return
        # What shares a sequence number, as the parts of an aggregate do, is found by it: it is published as a whole.
        wholes = [list(parts) for _, parts in groupby(missing, key=_identity)]
        sizes = enumerate(sum(page.size_bytes for page in parts) for parts in wholes)
        for indices in in_batches(sizes, TRANSACTION_RECORDS_MAX, TRANSACTION_BYTES_MAX):
            pages = tuple(page for index in indices for page in wholes[index])
            self._tried.update(map(_identity, pages))
            self._republisher.commit(pages)

    def _missing(
        self, batch: _Batch, page: Page, is_letter: bool, published: Published, refused: RefusedRecords
    ) -> Page | None:
        """Note what becomes of a change; return what to publish of it."""
        shard = batch.batch.shard
        records = [each for each in page.records if not (published.holds(shard, each) or published.take_same(each))]
        if page.skipped:
            self._note(page, "skipped", reason=_WHY_SKIPPED[page.skipped[0][1]])
            return None
        if not records:
            was_sent = _identity(page) in self._sent
            self._note(page, "dropped" if not page.records else "published" if was_sent else "present")
            return None
        if is_letter:
            told = header_texts(records[0].headers)
            self._note(page, "failed", stage=told[STAGE], exception=told[EXCEPTION], reason=told[REASON])
            return page
        if self._skip_superseded and any(published.has_newer(shard, each) for each in records):
            self._note(page, "superseded")
            batch.is_done = False
            return None
        marked = refused.apply(msgspec.structs.replace(page, records=records), stop=False)
        if marked.set_aside:
            reason = next(iter(marked.set_aside.values())).reason
            self._note(page, "failed", stage="PRODUCE", exception=RECORD_TOO_LARGE, reason=reason)
        else:
            self._note(page, "published")
        return marked

    def _learned(self, error: NotPublishedError, refused: RefusedRecords) -> bool:
        learned = [refused.note(error.pages[each.page], each.record, each.reason) for each in error.too_large]
        return error.learned or any(one is not Learned.NOTHING for one in learned)

    def _note(self, page: Page, outcome: Outcome, *, stage: str = "", exception: str = "", reason: str = "") -> None:
        (origin,) = page.changes
        self._report.changes.append(
            Redriven(origin.table, page.shard.shard_id, origin.sequence, outcome, stage, exception, reason)
        )

    def _tell_lost(self, each: _Batch) -> None:
        batch = each.batch
        count = max(0, batch.count - len(each.found))
        if each.whole or count == 0:
            return
        each.is_done = False
        kept = [int(page.last_sequence or 0) for page in each.pages]
        end = f"up to, not with, {min(kept)}" if kept else f"to {batch.last}"
        name = self._pipeline.format.type
        unsure = "" if FORMATS[name].tells_position else f", unless the topic has them: the format {name} does not tell"
        counted = f"{count} {'change' if count == 1 else 'changes'}"
        self._report.lost.append(
            f"{batch.place}, shard {batch.shard.shard_id}: {counted} from sequence number {batch.first} "
            f"{end} cannot be read any more{unsure}; {each.kept} ({each.message.name})"
        )


def _identity(page: Page) -> _Identity:
    return page.shard, int(page.last_sequence or 0)


def _find(batches: list[_Batch], message: Message, value: bytes | None) -> None:
    """Count a record of a topic, its value as JSON, to the batch that it is of, where the stream no longer tells."""
    for each in batches:
        position = None if each.whole else position_of(message, value)
        if position is None or position.stream != each.batch.shard.stream:
            continue
        of_shard = position.shard_id in {None, each.batch.shard.shard_id}
        if of_shard and int(each.batch.first) <= position.sequence <= int(each.batch.last):
            each.found.add(position.sequence)
