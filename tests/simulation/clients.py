"""Models of Kafka's clients: what the lane's producer and the follower call, over a network that loses and delays."""

from __future__ import annotations

import contextlib
import random
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

from confluent_kafka import (
    OFFSET_INVALID,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AclOperation

from simulation.broker import (
    Broker,
    BrokerError,
    FencedError,
    Headers,
    InvalidStateError,
    Message,
    NotAuthorizedError,
    Partition,
    State,
    TooLargeError,
)
from simulation.faults import Faults
from simulation.simulated_time import Host, Killed, Process, sleep
from tailrace.kafka.topic_limits import size_of

_T = TypeVar("_T")

REQUEST_TIMEOUT_MS = 4_000
PARTITIONS = 2
"""Of every topic but the checkpoints'."""
BUFFER_RECORDS = 12
RETRY_BACKOFF_MS = (800, 1_200)
"""How long a client waits before it sends again what it sends again by itself: `retry.backoff.ms` with its jitter."""

_CODES: dict[type[BrokerError], int] = {
    FencedError: KafkaError._FENCED,
    TooLargeError: KafkaError.MSG_SIZE_TOO_LARGE,
    NotAuthorizedError: KafkaError.TOPIC_AUTHORIZATION_FAILED,
    InvalidStateError: KafkaError.INVALID_TXN_STATE,
}

OnDelivery = Callable[[KafkaError | None, object], None]
Translate = Callable[[bytes], bytes]


class _Delivered:
    """What the client shows of a message in its delivery report."""

    def __init__(self, place: Partition, message: Message) -> None:
        self._place = place
        self._message = message

    def topic(self) -> str:
        return self._place[0]

    def partition(self) -> int:
        return self._place[1]

    def key(self) -> bytes | None:
        return self._message.key

    def value(self) -> bytes | None:
        return self._message.value


class UnansweredError(Exception):
    """No answer came in time: the request may have been carried out, may never be, or may be later."""


class Network:
    """Carries one host's requests to the broker."""

    def __init__(self, host: Host, faults: Faults, rng: random.Random) -> None:
        self._host = host
        self._faults = faults
        self._rng = rng

    def call(self, step: str, request: Callable[[], _T], timeout_ms: float = REQUEST_TIMEOUT_MS) -> _T:
        """Send a request and wait for its answer. Raises BrokerError and UnansweredError."""
        process, rng, faults = Process.current, self._rng, self._faults
        if self._host.is_dead:
            raise Killed
        assert process is not None
        ticket = process.ticket
        answers: list[_T | BrokerError] = []
        fate = rng.random()
        is_lost = fate < faults.request_lost
        loses_answer = not is_lost and fate < faults.request_lost + faults.answer_lost
        delay_ms = rng.randint(1, 15)
        is_late = rng.random() < faults.request_late
        if is_late:
            delay_ms = rng.randint(*self._faults.late_ms)

        def arrive() -> None:
            try:
                answer: _T | BrokerError = request()
            except BrokerError as error:
                answer = error
            if not loses_answer:
                self._host.later(rng.randint(1, 15), f"{step} answered", lambda: receive(answer))

        def receive(answer: _T | BrokerError) -> None:
            answers.append(answer)
            process.wake(ticket)

        if not is_lost:
            self._host.schedule.after(delay_ms, arrive)
        surely_answered = not (is_lost or loses_answer or is_late)
        process.wait(None if surely_answered else timeout_ms, f"{step} unanswered")
        if not answers:
            raise UnansweredError
        if isinstance(answers[0], BrokerError):
            raise answers[0]
        return answers[0]

    def strand(self, request: Callable[[], object]) -> None:
        """Send a request that nobody waits for any more, and that arrives at some time."""

        def arrive() -> None:
            with contextlib.suppress(BrokerError):
                request()

        self._host.schedule.after(self._rng.randint(500, 2_000), arrive)


class ModelProducer:
    """What `confluent_kafka.Producer` does for a lane."""

    def __init__(
        self,
        broker: Broker,
        network: Network,
        transactional_id: str,
        rng: random.Random,
        *,
        faults: Faults,
        checkpoint_topic: str,
        translate: Translate,
        batch_bytes: int,
    ) -> None:
        """`batch_bytes` is its `batch.size`.

        `translate` makes a checkpoint record's value what this worker's version would write.
        """
        self.epoch = -1
        self._broker = broker
        self._network = network
        self._id = transactional_id
        self._rng = rng
        self._faults = faults
        self._checkpoint_topic = checkpoint_topic
        self._translate = translate
        self._batch_bytes = batch_bytes
        self._queue: defaultdict[Partition, list[tuple[Message, OnDelivery]]] = defaultdict(list)
        self._partitions: set[Partition] = set()
        self._fatal: KafkaError | None = None
        self._failed: KafkaError | None = None
        self._buffer_stays_full = False

    def list_topics(self, _topic: str, *, timeout: float) -> None:
        """Learn nothing: a model has no leaders to look for."""

    def init_transactions(self, timeout_s: float) -> None:
        try:
            self.epoch = self._network.call(
                "InitProducerId", lambda: self._broker.init_producer_id(self._id), timeout_s * 1000
            )
        except UnansweredError:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None

    def begin_transaction(self) -> None:
        self._raise_fatal()
        self._partitions.clear()
        self._queue.clear()
        self._failed = None
        self._buffer_stays_full = self._rng.random() < self._faults.buffer_full

    def produce(  # noqa: PLR0917 - the client's signature
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int = -1,
        callback: OnDelivery | None = None,
        on_delivery: OnDelivery | None = None,
        timestamp: int = 0,
        headers: Headers | None = None,
    ) -> None:
        self._raise_fatal()
        if sum(map(len, self._queue.values())) >= BUFFER_RECORDS:
            raise BufferError
        if topic == self._checkpoint_topic and value is not None:
            value = self._translate(value)
        if partition < 0:
            partition = zlib.crc32(key or b"") % PARTITIONS
        report = callback or on_delivery or (lambda _error, _message: None)
        self._queue[topic, partition].append((Message(key, value, headers or []), report))

    def poll(self, timeout_s: float) -> int:
        if self._buffer_stays_full:
            sleep(timeout_s * 20_000, "Poll")  # so that a full buffer costs few steps
        elif timeout_s or self._rng.random() < 0.2:
            self._send()
            if timeout_s and self._queue:
                sleep(timeout_s * 1000, "Poll")
        return 0

    def flush(self, timeout_s: float) -> int:
        """Send what is queued; what stays behind a failed batch is waited for in vain."""
        if self._buffer_stays_full:
            sleep(max(1.0, timeout_s * 20_000), "Flush")
        else:
            self._send()
            if self._queue:
                sleep(max(1.0, timeout_s * 1000), "Flush")
        return sum(map(len, self._queue.values()))

    def commit_transaction(self, timeout_s: float) -> None:
        self.flush(timeout_s)
        self._raise_fatal()
        if self._failed is not None:
            raise KafkaException(self._failed)
        if any(self._queue.values()):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        self._end(State.COMMITTED)

    def abort_transaction(self, _timeout_s: float) -> None:
        self._queue.clear()
        self._raise_fatal()
        self._end(State.ABORTED)

    def _end(self, state: State) -> None:
        epoch = self.epoch
        if not self._partitions:
            return

        def end() -> None:
            self._broker.end_transaction(self._id, epoch, state)

        try:
            if self._rng.random() < self._faults.sent_twice:
                self._network.strand(end)
                sleep(self._rng.randint(*RETRY_BACKOFF_MS), "EndTxn again")
            self._network.call("EndTxn", end)
        except BrokerError as error:
            raise self._refused(error) from None
        except UnansweredError:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None

    def purge(self) -> None:
        self._queue.clear()

    def _send(self) -> None:
        """Send what is queued, batch by batch; after a failure what is left is never sent."""
        epoch = self.epoch
        while self._queue and self._failed is None:
            added = self._queue.keys() - self._partitions
            try:
                if added:
                    self._network.call("AddPartitions", partial(self._add, epoch, set(added)))
                    self._partitions |= added
                partition, batch = self._next_batch()
                self._network.call("Produce", partial(self._produce, epoch, partition, batch))
                self._take(len(batch))
            except NotAuthorizedError as error:
                self._failed = KafkaError(_CODES[type(error)])
            except BrokerError as error:
                self._refused(error)
                self._report(KafkaError(_CODES[type(error)]))
            except UnansweredError:
                self._report(KafkaError(KafkaError._MSG_TIMED_OUT))

    def _next_batch(self) -> tuple[Partition, list[Message]]:
        """As librdkafka does: one record, and more while they are not larger than `batch.size` together."""
        partition = next(iter(self._queue))
        batch: list[Message] = []
        size = 0
        for message, _ in self._queue[partition]:
            size += size_of(message.key, message.value, message.headers)
            if batch and size > self._batch_bytes:
                break
            batch.append(message)
        return partition, batch

    def _take(self, count: int) -> list[tuple[Message, OnDelivery]]:
        """Take so many messages of the first partition off the queue."""
        partition = next(iter(self._queue))
        claim, left = self._queue[partition][:count], self._queue[partition][count:]
        if left:
            self._queue[partition] = left
        else:
            del self._queue[partition]
        return claim

    def _add(self, epoch: int, partitions: set[Partition]) -> None:
        self._broker.add_partitions(self._id, epoch, partitions)

    def _produce(self, epoch: int, partition: Partition, batch: list[Message]) -> None:
        self._broker.produce(self._id, epoch, partition, batch)

    def _report(self, error: KafkaError) -> None:
        """Tell of a batch that failed."""
        self._failed = error
        partition, batch = self._next_batch()
        for message, on_delivery in self._take(len(batch)):
            on_delivery(error, _Delivered(partition, message))

    def _refused(self, error: BrokerError) -> KafkaException:
        refusal = KafkaError(_CODES[type(error)])
        if isinstance(error, FencedError | InvalidStateError):
            self._fatal = refusal
        return KafkaException(refusal)

    def _raise_fatal(self) -> None:
        if self._fatal is not None:
            raise KafkaException(self._fatal)


class Fetched:
    """What `confluent_kafka.Message` is for those who read."""

    def __init__(
        self, place: Partition, offset: int, message: Message | None = None, error: KafkaError | None = None
    ) -> None:
        """`message` None: an error in its place."""
        (self._topic, self._partition), self._offset = place, offset
        self._message, self._error = message, error

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._message and self._message.key

    def value(self) -> bytes | None:
        return self._message and self._message.value

    def headers(self) -> Headers | None:
        return self._message and self._message.headers


class ModelConsumer:
    """What `confluent_kafka.Consumer` does for those who choose their partitions."""

    def __init__(
        self,
        broker: Broker,
        rng: random.Random,
        faults: Faults,
        now_ms: Callable[[], int],
        translate: Callable[[str, bytes], bytes],
        *,
        own: Mapping[str, Any],
    ) -> None:
        """`translate` makes of a topic's value what this worker's version reads in it; `own` are its properties."""
        self._is_committed = own["isolation.level"] == "read_committed"
        self._now_ms = now_ms
        self._stalled_until_ms: dict[Partition, int] = {}
        self._broker = broker
        self._rng = rng
        self._faults = faults
        self._translate = translate
        self._offsets: dict[Partition, int] = {}
        self._ends_told: dict[Partition, int] = {}
        self._fetched: list[Fetched] = []
        self.has_stopped = False
        """It fetches nothing more, as librdkafka's consumer may after a broker was away."""

    def list_topics(self, _topic: str, *, timeout: float) -> None:
        """Learn nothing: a model has no leaders to look for."""

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self._offsets |= {(each.topic, each.partition): max(0, each.offset) for each in partitions}

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        removed = {(each.topic, each.partition) for each in partitions}
        self._offsets = {place: offset for place, offset in self._offsets.items() if place not in removed}
        self._fetched = [each for each in self._fetched if (each.topic(), each.partition()) not in removed]

    def poll(self, _timeout_s: float) -> Fetched | None:
        self.has_stopped = self.has_stopped or self._rng.random() < self._faults.stopped_follower
        if not self.has_stopped:
            self._fetch()
        return self._fetched.pop(0) if self._fetched else None

    def _fetch(self) -> None:
        partitions = list(self._offsets)
        self._rng.shuffle(partitions)
        for topic, number in partitions:
            is_slow = self._rng.random() < self._faults.slow_follower
            most = self._rng.randint(0, 3) if is_slow else 1_000
            if self._rng.random() < self._faults.stalled_partition:
                self._stalled_until_ms[topic, number] = self._now_ms() + self._rng.randint(500, 15_000)
            if self._now_ms() < self._stalled_until_ms.get((topic, number), 0):
                most = 0
            log = self._broker.logs[topic, number]
            read = log.committed if self._is_committed else log.uncommitted
            entries, self._offsets[topic, number] = read(self._offsets[topic, number], most)
            for entry in entries:
                value = entry.message.value
                message = entry.message._replace(value=value and self._translate(topic, value))
                self._fetched.append(Fetched((topic, number), entry.offset, message))
            self._tell_end((topic, number))

    def _tell_end(self, place: Partition) -> None:
        end = self._end_of(place)
        if self._offsets[place] == end != self._ends_told.get(place):
            self._ends_told[place] = end
            self._fetched.append(Fetched(place, end, error=KafkaError(KafkaError._PARTITION_EOF)))

    def _end_of(self, place: Partition) -> int:
        log = self._broker.logs[place]
        return log.last_stable_offset if self._is_committed else log.next_offset

    def consume(self, _most: int, _timeout_s: float) -> list[Fetched]:
        fetched, self._fetched = self._fetched, []
        return fetched

    @property
    def is_behind(self) -> bool:
        return any(self._end_of(place) > offset for place, offset in self._offsets.items())

    def close(self) -> None:
        self._offsets.clear()


class BlockingConsumer(ModelConsumer):
    """Lets its process wait when there is nothing to read."""

    def poll(self, timeout_s: float) -> Fetched | None:
        message = super().poll(timeout_s)
        if message is None and timeout_s > 0:
            sleep(min(max(timeout_s * 1000, 1), 50), "Follow")
        return message


class ModelAdmin:
    """What `AdminClient` answers of the ends of partitions, which may be lost, and of rights."""

    timeout_s = REQUEST_TIMEOUT_MS / 1000

    def __init__(self, broker: Broker, rng: random.Random, faults: Faults) -> None:
        self._broker = broker
        self._rng = rng
        self._faults = faults

    def list_offsets(
        self,
        asked: dict[TopicPartition, object],
        *,
        isolation_level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
        **_: object,
    ) -> dict[TopicPartition, Future[object]]:
        is_lost = self._rng.random() < self._faults.answer_lost
        is_committed = isolation_level == IsolationLevel.READ_COMMITTED
        return {
            each: self._end((each.topic, each.partition), is_lost=is_lost, is_committed=is_committed) for each in asked
        }

    def list_topics(self, topic: str, *, timeout: float) -> SimpleNamespace:
        """Say what partitions a topic of changes has."""
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions=range(PARTITIONS))})

    def forget_error(self) -> None:
        """It remembers none."""

    def describe_topics(self, asked: TopicCollection, **_: object) -> dict[str, Future[object]]:
        return {name: self._rights(name) for name in asked.topic_names}

    def _rights(self, topic: str) -> Future[object]:
        answer: Future[object] = Future()
        may_write = topic not in self._broker.refused_topics
        answer.set_result(SimpleNamespace(authorized_operations={AclOperation.WRITE} if may_write else set()))
        return answer

    def _end(self, place: Partition, *, is_lost: bool, is_committed: bool) -> Future[object]:
        answer: Future[object] = Future()
        log = self._broker.logs[place]
        end = log.last_stable_offset if is_committed else log.next_offset
        # librdkafka has no error for a leader that is silent
        answer.set_result(SimpleNamespace(offset=OFFSET_INVALID if is_lost else end))
        return answer
