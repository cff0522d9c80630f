"""The transactional producer of a lane or a shard: carries out `OpenProducer`, `Commit` and `CloseProducer`.

librdkafka has no KIP-890: a request that timed out may still be carried out, in the next transaction of the same
producer; and after a refused batch its sequence numbers may be off. So a producer is used again after one thing only,
a commit that surely succeeded and was surely sent once. Whatever else happens is `ProducerLost`: the producer is
dropped as it is, and the next `init_transactions` of its transactional id ends what it left open.

Sent once: when the connection breaks, librdkafka sends a commit again by itself, and tells nobody. The first copy may
still reach the broker, and would commit what there is of the next transaction. It waits `retry.backoff.ms` before that:
a commit that took less time was sent once.

Once a batch has failed, librdkafka sends nothing that is queued behind it, and `flush` waits in vain: so no wait goes
past the first failure. A batch of several records is no larger than its topic takes (`topic_limits`), so that a refusal
for size is about one record; where it is not, the next producer's batches are smaller.
"""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message

from tailrace.core.checkpoint_bytes import encode_key, encode_record
from tailrace.core.lane_messages import Committed, ProducerLost, ProducerOpened, Refusal, Transaction
from tailrace.core.page import Outgoing, Page
from tailrace.errors import UnreachableError
from tailrace.kafka import clients, topics
from tailrace.kafka.client_factory import ClientFactory
from tailrace.kafka.dead_letters import too_large
from tailrace.kafka.properties import PRODUCER_DEFAULTS
from tailrace.kafka.topic_limits import TopicLimits, size_of

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

_FLUSH_S = 0.05
"""How long a flush goes on after a failure at most."""

Place = tuple[int, int]
"""A record of a transaction: index of the page, index of the record in it."""
_SOMEWHERE = -1
"""The `record` of a place in a page that is not known yet."""
_CHECKPOINTS = -1
"""The `page` of a checkpoint record's place."""


class _Failure(NamedTuple):
    """A record that was not delivered; `message` is None when the client itself did not take it."""

    place: Place
    error: KafkaError
    message: Message | None

    @property
    def size_bytes(self) -> int:
        return 0 if self.message is None else size_of(self.message.key(), self.message.value(), None)


class Aborted(NamedTuple):
    """The last transaction was aborted, surely and once."""

    epoch: int


class LaneProducer:
    """One producer, for one claim of what its transactional id stands for. Not safe for several threads."""

    def __init__(
        self,
        transactional_id: str,
        epoch: int,
        *,
        pipeline: str,
        checkpoint_topic: str,
        dead_letters_topic: str,
        properties: Mapping[str, str],
        limits: TopicLimits | None = None,
        factory: ClientFactory = clients,
    ) -> None:
        """`limits` is what is shared with the producers before and after it; without, it is learned from refusals."""
        self._epoch = epoch
        self._pipeline = pipeline
        self._checkpoint_topic = checkpoint_topic
        self._dead_letters_topic = dead_letters_topic
        self._properties = properties
        self._factory = factory
        self._transactional_id = transactional_id
        self._failures: list[_Failure] = []
        self._limits = limits or TopicLimits(properties)
        self._batch_bytes = self._limits.batch_bytes
        tuned = {**PRODUCER_DEFAULTS, **properties}
        self._transaction_timeout_s = int(tuned["transaction.timeout.ms"]) / 1000
        backoff_ms = min(int(tuned["retry.backoff.ms"]), int(tuned["retry.backoff.max.ms"]))
        self._sent_once_s = backoff_ms / 1000 * (1 - _BACKOFF_JITTER)
        """A commit that took less time was sent once."""
        self._last_commit_s = 0.0
        self._producer = factory.producer(
            tuned,
            {
                "transactional.id": transactional_id,
                "partitioner": "murmur2_random",
                "delivery.report.only.error": True,
                "batch.size": str(self._batch_bytes),
            },
        )

    def open(self, timeout_s: float) -> ProducerOpened | ProducerLost:
        """Fence whoever had the lane and end what it left open (`init_transactions`)."""
        clients.learn_leaders(self._producer, self._checkpoint_topic)
        try:
            self._producer.init_transactions(timeout_s)
        except KafkaException as error:
            return self._lost(f"init_transactions of {self._transactional_id}", error)
        return ProducerOpened(self._epoch)

    def commit(self, transaction: Transaction, timeout_s: float = math.inf) -> Committed | ProducerLost:
        """Publish a transaction whole. Any other end gives the producer up; `refusals` name refused records."""
        answer = self.commit_if(transaction, lambda: True, timeout_s)
        assert not isinstance(answer, Aborted)
        return answer

    def commit_if(
        self, transaction: Transaction, holds: Callable[[], bool], timeout_s: float = math.inf
    ) -> Committed | Aborted | ProducerLost:
        """Publish a transaction if `holds()`, which is called once all of its records lie in the topics, uncommitted.

        If it does not, the transaction is aborted, and the producer can be used again. `holds` may raise
        KafkaException: then the producer is lost.
        """
        if self._last_commit_s >= self._sent_once_s:
            reason = f"the last transaction took {self._last_commit_s:.1f} s to end: that may have been sent twice"
            return ProducerLost(self._epoch, fenced=False, reason=reason)
        takes_bytes = self._limits.least_of(table for page in transaction.pages for table in page.tables)
        if takes_bytes < self._batch_bytes:
            reason = f"a topic takes {takes_bytes} bytes at a time: batches of up to {self._batch_bytes} are too large"
            return ProducerLost(self._epoch, fenced=False, reason=reason, learned=True)
        deadline_s = self._factory.monotonic_s() + min(timeout_s, self._transaction_timeout_s)
        try:
            with self._fatal_errors():
                self._producer.begin_transaction()
                self._produce_all(transaction, deadline_s)
                self._flush(deadline_s)
                commits = holds()
                end = self._producer.commit_transaction if commits else self._producer.abort_transaction
                asked_s = self._factory.monotonic_s()
                end(max(0.1, deadline_s - asked_s))
                self._last_commit_s = self._factory.monotonic_s() - asked_s
                return Committed(self._epoch) if commits else Aborted(self._epoch)
        except _NotDeliveredError:
            error = KafkaException(self._failures[0].error)
        except KafkaException as raised:
            error = raised
        self._take_reports()
        denied = self._topics_without_right(error, transaction)
        if self._checkpoint_topic in denied:
            return self._lost(f"writing {self._checkpoint_topic}", error)
        refusals, learned = self._refusals(transaction)
        return self._lost("the transaction", error, (*refusals, *self._refusals_of(denied, transaction)), learned)

    def close(self) -> None:
        """Drop the producer as it is, with what is queued. It must not be used after."""
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
        """Hand every record to librdkafka; raises _NotDeliveredError once one has failed."""
        for page_index, page in enumerate(transaction.pages):
            if page.set_aside:
                for index, record in enumerate(page.records):
                    self._produce(self._letter_of(page, index, record), (page_index, index), deadline_s)
            else:
                self._produce_page(page, page_index, deadline_s)
            self._producer.poll(0)
            self._check_delivery()
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
        note = partial(self._note, (page_index, _SOMEWHERE))  # one for each record would cost a fifth of producing it
        for index, record in enumerate(page.records):
            try:
                produce(  # a keyword would cost as much as the record's callback
                    record.topic,
                    record.value,
                    record.key,
                    record.partition,
                    note,
                    None,  # the callback under its other name
                    record.timestamp_ms,
                    record.headers,  # type: ignore[arg-type]  # list is invariant in the client's stub
                )
            except (BufferError, KafkaException):
                self._produce(record, (page_index, index), deadline_s)

    def _check_delivery(self) -> None:
        if self._failures:
            raise _NotDeliveredError

    def _flush(self, deadline_s: float) -> None:
        """Wait until all that was sent is answered, or something has failed: nothing behind it is sent."""
        while True:
            left = self._producer.flush(min(_FLUSH_S, max(0.0, deadline_s - self._factory.monotonic_s())))
            self._check_delivery()
            if not left:
                return
            if self._factory.monotonic_s() >= deadline_s:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{left} records were not delivered in time"))

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

    def _send(self, produce: Callable[[], None], place: Place, deadline_s: float) -> None:
        """Call produce, waiting while the client's buffer is full. Raises _NotDeliveredError once a record failed."""
        while True:
            try:
                produce()
            except BufferError:
                if self._factory.monotonic_s() > deadline_s:
                    full = KafkaError(KafkaError._QUEUE_FULL, "the client's buffer stayed full")
                    raise KafkaException(full) from None
                self._producer.poll(_FLUSH_S)
                self._check_delivery()
            except KafkaException as error:
                if error.args[0].code() not in _TOO_LARGE:
                    raise
                self._failures.append(_Failure(place, error.args[0], None))
                raise _NotDeliveredError from None
            else:
                return

    def _note(self, place: Place, error: KafkaError | None, message: Message) -> None:
        """Take in a delivery report. What is purged has no fault: why the transaction failed is told by its commit."""
        if error is not None and error.code() != KafkaError._PURGE_QUEUE:
            self._failures.append(_Failure(place, error, message))

    def _refusals(self, transaction: Transaction) -> tuple[tuple[Refusal, ...], bool]:
        """Name the records that the broker, or the client for it, refused; tell whether batches are to be smaller.

        A refusal for size is about one record, unless several of one batch came back together.
        """
        failures = [each for each in self._failures if each.place[0] != _CHECKPOINTS]
        batches: defaultdict[tuple[str, int], list[_Failure]] = defaultdict(list)
        sure = []
        for each in failures:
            if each.message is not None and each.error.code() in _TOO_LARGE and each.size_bytes < self._batch_bytes:
                batches[str(each.message.topic()), each.message.partition() or 0].append(each)
            elif each.error.code() in _TOO_LARGE | _REFUSED_TOPIC:
                sure.append(each)
        sure += [batch[0] for batch in batches.values() if len(batch) == 1]
        several = [(topic, batch) for (topic, _), batch in batches.items() if len(batch) > 1]
        for topic, batch in several:
            self._limits.refused(topic, min(sum(each.size_bytes for each in batch), self._batch_bytes))
        places = _Places(transaction)
        refused = {place: each.error for each in sure for place in places.of(each)}
        refusals = tuple(
            Refusal(
                page=page,
                record=record,
                too_large=error.code() in _TOO_LARGE,
                reason=f"{transaction.pages[page].records[record].topic}: {error.str()}",
            )
            for (page, record), error in sorted(refused.items())
        )
        return refusals, bool(several)

    def _topics_without_right(self, error: KafkaException, transaction: Transaction) -> set[str]:
        """Find out which topics a transaction may not write: the broker's answer does not tell (AddPartitionsToTxn).

        None when Kafka does not tell now: the transaction fails again.
        """
        if error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return set()
        used = {record.topic for page in transaction.pages for record in page.records}
        try:
            admin = self._factory.admin(self._properties)
            return topics.without_right_to_write(admin, self._properties, used | {self._checkpoint_topic})
        except UnreachableError:
            return set()

    def _refusals_of(self, refused: set[str], transaction: Transaction) -> tuple[Refusal, ...]:
        return tuple(
            Refusal(page_index, index, too_large=False, reason=f"{record.topic}: no right to write")
            for page_index, page in enumerate(transaction.pages)
            for index, record in enumerate(page.records)
            if record.topic in refused
        )

    def _letter_of(self, page: Page, index: int, record: Outgoing) -> Outgoing:
        mark = page.set_aside.get(index)
        if mark is None:
            return record
        return too_large(self._dead_letters_topic, self._pipeline, page.shard, record, mark)

    def _lost(
        self, what: str, error: KafkaException, refusals: tuple[Refusal, ...] = (), learned: bool = False
    ) -> ProducerLost:
        cause = error.args[0]
        if clients.is_denial(cause) and not refusals:
            reason = str(clients.world_error(error, what, self._properties))
            return ProducerLost(self._epoch, fenced=False, reason=reason, denied=True)
        reason = f"{what}: {cause.str()} ({cause.name()})"
        return ProducerLost(self._epoch, cause.code() in _FENCED, reason, refusals, learned=learned)


class _Places:
    """Finds failed records in a transaction: in a page, by topic, key and value; those that are alike are all found."""

    def __init__(self, transaction: Transaction) -> None:
        self._pages = transaction.pages
        self._found: dict[int, defaultdict[object, list[Place]]] = {}

    def of(self, failure: _Failure) -> list[Place]:
        page, record = failure.place
        if record != _SOMEWHERE or failure.message is None:
            return [failure.place]
        if page not in self._found:
            found = self._found[page] = defaultdict(list)
            for index, each in enumerate(self._pages[page].records):
                found[each.topic, each.key, each.value].append((page, index))
        return self._found[page][failure.message.topic(), failure.message.key(), failure.message.value()]


class _NotDeliveredError(Exception):
    """A record of the transaction failed: its delivery report is among the failures."""
