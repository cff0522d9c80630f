"""A model of Kafka's broker: transactional ids with epochs, partitions that read_committed shows, compaction."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

Headers = list[tuple[str, bytes]]
Partition = tuple[str, int]

TRANSACTION_TIMEOUT_MS = 15_000
DELETE_RETENTION_MS = 24 * 3_600_000


class BrokerError(Exception):
    """The broker refuses a request."""


class FencedError(BrokerError):
    """Another producer has the transactional id now."""


class TooLargeError(BrokerError):
    """A record of the batch is too large: the whole batch is refused."""


class NotAuthorizedError(BrokerError):
    """The topic may not be written."""


class InvalidStateError(BrokerError):
    """The request does not fit the transaction's state."""


class Message(NamedTuple):
    """What a producer sends."""

    key: bytes | None
    value: bytes | None
    headers: Headers


class State(Enum):
    """How a transaction stands."""

    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"


class Transaction:
    """One transaction: what it wrote, in the order of writing."""

    def __init__(self, transactional_id: str, began_ms: int) -> None:
        self.transactional_id = transactional_id
        self.began_ms = began_ms
        self.state = State.OPEN
        self.partitions: set[Partition] = set()
        self.written: list[tuple[Partition, Message]] = []


class Entry(NamedTuple):
    """One record of a partition."""

    offset: int
    transaction: Transaction | None
    message: Message
    at_ms: int


class Log:
    """One partition."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.next_offset = 0
        self._open_since: dict[Transaction, int] = {}

    def append(self, transaction: Transaction | None, batch: list[Message], now_ms: int) -> None:
        if transaction is not None:
            self._open_since.setdefault(transaction, self.next_offset)
        for message in batch:
            self.entries.append(Entry(self.next_offset, transaction, message, now_ms))
            self.next_offset += 1

    def end(self, transaction: Transaction) -> None:
        """Write the transaction's marker."""
        self._open_since.pop(transaction, None)
        self.next_offset += 1

    @property
    def last_stable_offset(self) -> int:
        return min(self._open_since.values(), default=self.next_offset)

    def committed(self, offset: int, most: int) -> tuple[list[Entry], int]:
        """Read as read_committed does: gives the entries, and the offset to go on at."""
        end = self.last_stable_offset
        found: list[Entry] = []
        start = bisect.bisect_left(self.entries, offset, key=lambda entry: entry.offset)
        for entry in self.entries[start:]:
            if entry.offset >= end:
                break
            if len(found) == most:
                return found, entry.offset
            if entry.transaction is None or entry.transaction.state is State.COMMITTED:
                found.append(entry)
        return found, max(offset, end)

    def uncommitted(self, offset: int, most: int) -> tuple[list[Entry], int]:
        """Read as read_uncommitted does: what is still open and what was aborted, too."""
        start = bisect.bisect_left(self.entries, offset, key=lambda entry: entry.offset)
        found = self.entries[start : start + most]
        reaches_end = start + len(found) == len(self.entries)
        return found, self.next_offset if reaches_end else self.entries[start + len(found)].offset

    def compact(self, up_to: int, now_ms: int) -> None:
        """Keep the last record of each key before `up_to`; drop what was aborted, and old tombstones."""
        end = min(up_to, self.last_stable_offset)
        cleaned: dict[bytes | None, Entry] = {}
        for entry in self.entries:
            if entry.offset < end and not (entry.transaction and entry.transaction.state is State.ABORTED):
                cleaned[entry.message.key] = entry
        kept = [e for e in cleaned.values() if e.message.value is not None or now_ms - e.at_ms < DELETE_RETENTION_MS]
        kept.sort(key=lambda entry: entry.offset)
        self.entries = kept + [entry for entry in self.entries if entry.offset >= end]


class Producer:
    """What the transaction coordinator knows of a transactional id."""

    def __init__(self) -> None:
        self.epoch = -1
        self.transaction: Transaction | None = None
        self.last: Transaction | None = None


class Broker:
    """All partitions of all topics. Methods are requests: they raise BrokerError."""

    def __init__(self, now_ms: Callable[[], int], refuses: Callable[[str, Message], bool]) -> None:
        """`refuses(topic, message)`: the message is too large."""
        self.logs: dict[Partition, Log] = defaultdict(Log)
        self.producers: dict[str, Producer] = defaultdict(Producer)
        self.refused_topics: set[str] = set()
        self.transactions: list[Transaction] = []
        self.on_commit: Callable[[list[tuple[Partition, Message]]], None] = lambda _: None
        self.on_stable: Callable[[set[Partition]], None] = lambda _: None
        """Called when read_committed shows more of these partitions."""
        self.tell: Callable[[str], None] = lambda _: None
        self._now_ms = now_ms
        self._refuses = refuses

    # Requests

    def init_producer_id(self, transactional_id: str) -> int:
        """Fence whoever has the id, end what it left open, and give the new epoch."""
        producer = self.producers[transactional_id]
        producer.epoch += 1
        self._end(producer, State.ABORTED)
        self.tell(f"{transactional_id} has epoch {producer.epoch}")
        return producer.epoch

    def add_partitions(self, transactional_id: str, epoch: int, partitions: set[Partition]) -> None:
        producer = self._producer(transactional_id, epoch)
        if any(topic in self.refused_topics for topic, _ in partitions):
            raise NotAuthorizedError
        if producer.transaction is None:
            producer.transaction = Transaction(transactional_id, self._now_ms())
            self.transactions.append(producer.transaction)
        producer.transaction.partitions |= partitions

    def produce(self, transactional_id: str, epoch: int, partition: Partition, batch: list[Message]) -> None:
        transaction = self._producer(transactional_id, epoch).transaction
        if transaction is None or partition not in transaction.partitions:
            raise InvalidStateError  # transaction.partition.verification.enable
        if any(self._refuses(partition[0], message) for message in batch):
            raise TooLargeError
        self.logs[partition].append(transaction, batch, self._now_ms())
        transaction.written += [(partition, message) for message in batch]

    def end_transaction(self, transactional_id: str, epoch: int, state: State) -> None:
        """Commit or abort. Asked again for what it has done already it says yes."""
        producer = self._producer(transactional_id, epoch)
        if producer.transaction is None:
            if producer.last is None or producer.last.state is not state:
                raise InvalidStateError
            return
        self._end(producer, state)

    def write(self, partition: Partition, message: Message) -> None:
        """Write without a transaction."""
        self.logs[partition].append(None, [message], self._now_ms())
        self.on_commit([(partition, message)])
        self.on_stable({partition})

    # By itself

    def abort_old_transactions(self) -> None:
        """End the transactions whose producers were silent too long, and fence those."""
        for producer in self.producers.values():
            transaction = producer.transaction
            if transaction is not None and self._now_ms() - transaction.began_ms > TRANSACTION_TIMEOUT_MS:
                producer.epoch += 1
                self._end(producer, State.ABORTED)

    def _producer(self, transactional_id: str, epoch: int) -> Producer:
        producer = self.producers[transactional_id]
        if producer.epoch != epoch:
            raise FencedError
        return producer

    def _end(self, producer: Producer, state: State) -> None:
        transaction, producer.transaction = producer.transaction, None
        if transaction is None:
            return
        transaction.state = state
        producer.last = transaction
        for partition in transaction.partitions:
            self.logs[partition].end(transaction)
        self.tell(f"{transaction.transactional_id}: {len(transaction.written)} records {state.value}")
        if state is State.COMMITTED:
            self.on_commit(transaction.written)
        self.on_stable(transaction.partitions)
