"""The transactional producer of a lane or a shard: carries out `OpenProducer`, `Commit` and `CloseProducer`.

librdkafka has no KIP-890: a request that timed out may still be carried out, in the next transaction of the same
producer; and after a refused batch its sequence numbers may be off. So a producer is used again after one thing only,
a commit that surely succeeded and was surely sent once. Whatever else happens is `ProducerLost`: the producer is
dropped as it stands, and the next `init_transactions` of its transactional id ends what it left open.

Sent once: when the connection breaks, librdkafka sends a commit again by itself, and tells nobody. The first copy may
still reach the broker, and would commit what there is of the next transaction. It waits `retry.backoff.ms` before that:
a commit that took less time was sent once.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message

from tailrace.core.checkpoint import encode_key, encode_record
from tailrace.core.lane_messages import Committed, ProducerLost, ProducerOpened, Refusal, Transaction
from tailrace.core.page import Outgoing, Page
from tailrace.kafka import clients, topics
from tailrace.kafka.dead_letters import RECORD_TOO_LARGE, dead_letter
from tailrace.kafka.properties import PRODUCER_DEFAULTS

_FENCED = {KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED}
_TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
_REFUSED_TOPIC = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.POLICY_VIOLATION,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP,  # message.timestamp.before.max.ms of the topic
}
_BACKOFF_JITTER = 0.2
"""librdkafka shortens `retry.backoff.ms` by up to this part (rdkafka_broker.c)."""

Place = tuple[int, int]
"""A record of a transaction: index of the page, index of the record in it."""
_SOMEWHERE = -1
"""The `record` of a place in a page that is not known yet."""
_CHECKPOINTS = -1
"""The `page` of a checkpoint record's place."""


class LaneProducer:
    """One producer, for one taking of what its transactional id stands for. Not safe for several threads."""

    def __init__(
        self,
        transactional_id: str,
        incarnation: int,
        *,
        pipeline: str,
        checkpoint_topic: str,
        dead_letters_topic: str,
        properties: Mapping[str, str],
    ) -> None:
        self._incarnation = incarnation
        self._pipeline = pipeline
        self._checkpoint_topic = checkpoint_topic
        self._dead_letters_topic = dead_letters_topic
        self._properties = properties
        self._failures: dict[Place, KafkaError] = {}
        self._transactional_id = transactional_id
        self._unplaced: list[tuple[int, str | bytes | None, str | bytes | None, KafkaError]] = []
        """Page, key, value and error of the messages behind the failures that are somewhere in a page."""
        tuned = {**PRODUCER_DEFAULTS, **properties}
        self._transaction_timeout_s = int(tuned["transaction.timeout.ms"]) / 1000
        backoff_ms = min(int(tuned["retry.backoff.ms"]), int(tuned["retry.backoff.max.ms"]))
        self._sent_once_s = backoff_ms / 1000 * (1 - _BACKOFF_JITTER)
        """A commit that took less time was sent once."""
        self._last_commit_s = 0.0
        self._producer = clients.producer(
            tuned,
            {
                "transactional.id": transactional_id,
                "partitioner": "murmur2_random",
                "delivery.report.only.error": True,
            },
        )

    def open(self, timeout_s: float) -> ProducerOpened | ProducerLost:
        """Fence whoever had the lane and end what it left open (`init_transactions`)."""
        clients.learn_leaders(self._producer, self._checkpoint_topic)
        try:
            self._producer.init_transactions(timeout_s)
        except KafkaException as error:
            return self._lost(f"init_transactions of {self._transactional_id}", error)
        return ProducerOpened(self._incarnation)

    def commit(self, transaction: Transaction, timeout_s: float = math.inf) -> Committed | ProducerLost:
        """Publish a transaction whole. Any other end gives the producer up; `refusals` name refused records."""
        if self._last_commit_s >= self._sent_once_s:
            reason = f"the last commit took {self._last_commit_s:.1f} s: it may have been sent twice"
            return ProducerLost(self._incarnation, fenced=False, reason=reason)
        deadline_s = time.monotonic() + min(timeout_s, self._transaction_timeout_s)
        try:
            with self._fatal_errors():
                self._producer.begin_transaction()
                self._produce_all(transaction, deadline_s)
                if not self._failures:
                    self._flush(deadline_s)
                    asked_s = time.monotonic()
                    self._producer.commit_transaction(max(0.1, deadline_s - asked_s))
                    self._last_commit_s = time.monotonic() - asked_s
                    return Committed(self._incarnation)
        except (KafkaException, _BufferFullError) as error:
            self._take_reports()
            refused = self._topics_without_right(error, transaction)
            if self._checkpoint_topic in refused:
                return self._lost(f"writing {self._checkpoint_topic}", error)
            return self._lost(
                "the transaction", error, (*self._refusals(transaction), *self._refusals_of(refused, transaction))
            )
        first = KafkaException(next(iter(self._failures.values())))
        return self._lost("the transaction", first, self._refusals(transaction))

    def close(self) -> None:
        """Drop the producer as it stands, with what is queued. It must not be used after."""
        with contextlib.suppress(KafkaException):
            self._producer.purge()
        self._take_reports()
        del self._producer

    def _take_reports(self) -> None:
        """Take in the delivery reports that are there. Once an error is fatal, the client raises it here as well."""
        with contextlib.suppress(KafkaException), self._fatal_errors():
            self._producer.poll(0)

    @contextlib.contextmanager
    def _fatal_errors(self) -> Iterator[None]:
        """Raise a fatal error as itself.

        The client raises it while it serves callbacks; when delivery reports follow in the same call, it goes on with
        the exception set, or loses it, and Python makes a SystemError of that. A lost one is asked for again: no
        transaction begins after it.
        """
        try:
            yield
        except SystemError as error:
            if isinstance(error.__cause__, KafkaException):
                raise error.__cause__ from None
            with contextlib.suppress(SystemError):
                self._producer.begin_transaction()
            raise KafkaException(KafkaError(KafkaError._FATAL, f"the client lost its error: {error}")) from error

    def _produce_all(self, transaction: Transaction, deadline_s: float) -> None:
        """Hand every record to librdkafka; stops early once one has failed."""
        for page_index, page in enumerate(transaction.pages):
            if page.alone or page.set_aside:
                self._produce_marked(page, page_index, deadline_s)
            else:
                self._produce_page(page, page_index, deadline_s)
            if self._failures:
                return
            self._producer.poll(0)
        for index, write in enumerate(transaction.writes):
            self._send(
                partial(
                    self._producer.produce,
                    self._checkpoint_topic,
                    encode_record(write.record),
                    encode_key(write.key),
                    write.partition,
                    partial(self._note, (_CHECKPOINTS, index)),
                ),
                (_CHECKPOINTS, index),
                deadline_s,
            )

    def _produce_page(self, page: Page, page_index: int, deadline_s: float) -> None:
        """Produce a page's records: the loop in which the time goes, so it does nothing twice and nothing early."""
        produce = self._producer.produce
        note = partial(self._note_in_page, page_index)  # one for each record would cost a fifth of producing it
        for index, record in enumerate(page.records):
            try:
                produce(
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    note,
                    timestamp=record.timestamp_ms,
                    headers=record.headers,  # type: ignore[arg-type]  # list is invariant in the client's stub
                )
            except (BufferError, KafkaException):
                self._produce(record, (page_index, index), deadline_s)

    def _produce_marked(self, page: Page, page_index: int, deadline_s: float) -> None:
        """Produce a page that has refused records: a dead letter for what is set aside, suspects each alone."""
        for index, record in enumerate(page.records):
            outgoing = self._letter_of(page, index, record) if page.set_aside else record
            if index in page.alone:
                self._flush(deadline_s)
            self._produce(outgoing, (page_index, index), deadline_s)
            if index in page.alone:
                self._flush(deadline_s)
            if self._failures:
                return

    def _flush(self, deadline_s: float) -> None:
        """Wait until all that was sent is answered, so that the next record begins a batch."""
        if self._producer.flush(max(0.1, deadline_s - time.monotonic())):
            raise _BufferFullError

    def _produce(self, record: Outgoing, place: Place, deadline_s: float) -> None:
        self._send(
            partial(
                self._producer.produce,
                record.topic,
                value=record.value,
                key=record.key,
                partition=record.partition,
                on_delivery=partial(self._note, place),
                timestamp=record.timestamp_ms,
                headers=record.headers,  # type: ignore[arg-type]  # list is invariant in the client's stub
            ),
            place,
            deadline_s,
        )

    def _send(self, produce: partial[None], place: Place, deadline_s: float) -> None:
        """Call produce, waiting while the client's buffer is full."""
        while True:
            try:
                produce()
            except BufferError:
                if time.monotonic() > deadline_s:
                    raise _BufferFullError from None
                self._producer.poll(0.05)
            except KafkaException as error:
                if error.args[0].code() not in _TOO_LARGE:
                    raise
                self._failures.setdefault(place, error.args[0])
                return
            else:
                return

    def _note(self, place: Place, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failures.setdefault(place, error)

    def _note_in_page(self, page_index: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failures.setdefault((page_index, _SOMEWHERE), error)
            self._unplaced.append((page_index, message.key(), message.value(), error))

    def _places(self, transaction: Transaction) -> dict[Place, KafkaError]:
        """Find the failed records: in a page, those with the failed message's key and value.

        Records that are alike in both are all suspects then; what is sent alone is known by its place.
        """
        places = {place: error for place, error in self._failures.items() if place[1] != _SOMEWHERE}
        pages: dict[int, defaultdict[object, list[int]]] = {}
        for page_index, key, value, error in self._unplaced:
            if page_index not in pages:
                pages[page_index] = defaultdict(list)
                for index, record in enumerate(transaction.pages[page_index].records):
                    pages[page_index][record.key, record.value].append(index)
            places.update(dict.fromkeys(((page_index, index) for index in pages[page_index][key, value]), error))
        return places

    def _refusals(self, transaction: Transaction) -> tuple[Refusal, ...]:
        """Name the records that the broker, or the client for it, refused."""
        refused = {
            place: error
            for place, error in self._places(transaction).items()
            if error.code() in _TOO_LARGE | _REFUSED_TOPIC and place[0] != _CHECKPOINTS
        }
        lone = len(refused) == 1
        return tuple(
            Refusal(
                page=page,
                record=record,
                too_large=error.code() in _TOO_LARGE,
                alone=lone or record in transaction.pages[page].alone,
                reason=f"{transaction.pages[page].records[record].topic}: {error.str()}",
            )
            for (page, record), error in sorted(refused.items())
        )

    def _topics_without_right(self, error: KafkaException | _BufferFullError, transaction: Transaction) -> set[str]:
        """Find out which topics a transaction may not write: the broker's answer does not tell (AddPartitionsToTxn)."""
        if isinstance(error, _BufferFullError) or error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return set()
        used = {record.topic for page in transaction.pages for record in page.records}
        return topics.without_right_to_write(self._properties, used | {self._checkpoint_topic})

    def _refusals_of(self, refused: set[str], transaction: Transaction) -> tuple[Refusal, ...]:
        return tuple(
            Refusal(page_index, index, too_large=False, alone=False, reason=f"{record.topic}: no right to write")
            for page_index, page in enumerate(transaction.pages)
            for index, record in enumerate(page.records)
            if record.topic in refused
        )

    def _letter_of(self, page: Page, index: int, record: Outgoing) -> Outgoing:
        mark = page.set_aside.get(index)
        if mark is None:
            return record
        return dead_letter(
            self._dead_letters_topic,
            pipeline=self._pipeline,
            table=page.table,
            shard=page.shard,
            sequence=record.sequence,
            created_ms=record.timestamp_ms,
            key=record.key,
            raw=None if mark.bare else bytes(record.raw),
            intended_topic=record.topic,
            stage="PRODUCE",
            exception=RECORD_TOO_LARGE,
            message=mark.reason,
        )

    def _lost(
        self, what: str, error: KafkaException | _BufferFullError, refusals: tuple[Refusal, ...] = ()
    ) -> ProducerLost:
        if isinstance(error, _BufferFullError):
            return ProducerLost(self._incarnation, fenced=False, reason=f"{what}: the client's buffer stayed full")
        cause = error.args[0]
        if clients.is_denial(cause) and not refusals:
            reason = str(clients.world_error(error, what, self._properties))
            return ProducerLost(self._incarnation, fenced=False, reason=reason, denied=True)
        reason = f"{what}: {cause.str()} ({cause.name()})"
        return ProducerLost(self._incarnation, cause.code() in _FENCED, reason, refusals)


class _BufferFullError(Exception):
    """librdkafka's queue did not drain before the transaction's time ran out."""
