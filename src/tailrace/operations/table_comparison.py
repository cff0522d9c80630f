"""Compares what a table's scan found with what its topics show, and looks again at the keys that differ."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Final

import msgspec

from tailrace.core.comparison import ABSENT, DIFFERENCES, STATE_BYTES, Compared, compare
from tailrace.core.ports import SourceRecord
from tailrace.core.shard import ShardRef
from tailrace.operations.pending_changes import Ends, PendingChanges
from tailrace.operations.progress import OnProgress, Progress
from tailrace.operations.published_items import PublishedItem, PublishedItems
from tailrace.operations.record_view import as_text
from tailrace.operations.spill import BUCKETS, Row, RowId, Spill
from tailrace.operations.table_scan import KEYS_AT_ONCE, TableScan
from tailrace.operations.topic_states import TopicState, TopicStates

DOUBTED_KEYS_MAX: Final = 10_000
"""So many differing keys are looked at again, and held in memory."""
SAMPLES: Final = 5
CREATED_MARGIN_MS: Final = 120_000
"""Timestamps are the source's, rounded down to a second or a minute, and its clock may be another."""
_UNPUBLISHED: Final = 255
"""The tag of a row that says that there is an item of the key, of which nothing is published."""
_LEFT_OUT: Final = 254
"""The tag of a row that says that the filter of snapshots leaves the item of the key out."""
_DROPPED: Final = b"d" * STATE_BYTES
_REFUSED: Final = b"r" * STATE_BYTES
_LOOKS: Final = 2
"""A difference stands if so many looks in a row find it: a stream may show a change a moment late."""
_SHOWN: Final = {*DIFFERENCES, "unsettled"}
"""The outcomes that samples are kept of."""
_PAUSE_S: Final = 0.5
_TIME_BYTES: Final = 8


class Sample(msgspec.Struct, frozen=True):
    """One key that differs."""

    topic: str
    key: str
    """The Kafka key."""


class Found(msgspec.Struct, frozen=True):
    """Keys that differ in one way, and some of them."""

    count: int = 0
    samples: tuple[Sample, ...] = ()


class _Doubted(msgspec.Struct):
    """A key that differs so far."""

    key: bytes
    table_key: bytes | None
    seen: dict[int, list[bytes]]
    """The states that each topic went through since its item was last read."""
    newest_ms: int
    """The timestamp of its last record; 0 when there is none."""
    looks: int = 0
    """How many looks in a row it has differed, with nothing of it in flight."""
    compared: list[Compared] = []
    """How it was counted."""


class TableComparison:
    """One comparison of a table. For one thread."""

    def __init__(
        self,
        published: PublishedItems,
        *,
        scan: TableScan,
        pending: PendingChanges,
        topics: TopicStates,
        folder: Path,
        progress: OnProgress,
    ) -> None:
        """Use `folder` for what does not fit in memory."""
        self.counts: Counter[str] = Counter()
        """Keys by outcome, and `unsettled`, `unchecked` and `refused` ones."""
        self.pending_changes = 0
        self._samples: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
        self._lock = Lock()
        self._published = published
        self._scan = scan
        self._pending = pending
        self._topics = topics
        self._items = Spill(folder / "items")
        self._shown = Spill(folder / "topics")
        self._in_flight = Spill(folder / "stream")
        self._progress = progress
        self._patience_s = 0.0
        """How long it may wait for changes in flight, all in all."""
        self._doubted: dict[bytes, _Doubted] = {}
        self._standing: dict[bytes, _Doubted] = {}
        """The keys that were looked at again, and differ for good."""

    def run(self, timeout_s: float) -> None:
        """Compare; changes in flight have `timeout_s` once the table is read."""
        since_ms = time.time_ns() // 1_000_000 - CREATED_MARGIN_MS
        total = self._published.facts.item_count
        self._scan.scan(self._take_items, lambda items: self._progress(Progress("items", items, max(items, total))))
        self._pending.await_delivery()
        ends = self._pending.read(self._take_changes)
        self._patience_s = timeout_s if self._pending.is_served() else 0.0
        is_published = self._wait_published(ends)
        self._shown.add(map(_row_of, self._read_topics()))
        for bucket in range(BUCKETS):
            self._compare_bucket(bucket, since_ms, is_published=is_published)
        self._settle(since_ms)

    @property
    def differences(self) -> int:
        """How many keys differ for good."""
        return sum(self.counts[outcome] for outcome in DIFFERENCES)

    @property
    def repairable(self) -> list[bytes]:
        """The table's keys of the differences, as far as they were looked at again and their items are known."""
        return [each.table_key for each in self._standing.values() if each.table_key is not None]

    @property
    def unrepairable(self) -> int:
        """How many differences are of other keys."""
        repairable = (each for each in self._standing.values() if each.table_key is not None)
        return self.differences - sum(_differs([one]) for each in repairable for one in each.compared)

    def look_again(self, timeout_s: float) -> None:
        """Look again at the keys that differed, after a repair."""
        since_ms = time.time_ns() // 1_000_000 - CREATED_MARGIN_MS
        for doubted in self._standing.values():
            self.counts.subtract(each.outcome for each in doubted.compared)
            doubted.looks = 0
        for outcome, samples in self._samples.items():
            self._samples[outcome] = [(topic, key) for topic, key in samples if key not in self._standing]
        self._doubted, self._standing = self._standing, {}
        self._patience_s = timeout_s if self._pending.is_served() else 0.0
        self._settle(since_ms)

    def found(self, outcome: str) -> Found:
        """Return the keys of one outcome."""
        samples = (Sample(self._published.topics[topic], as_text(key)) for topic, key in self._samples[outcome])
        return Found(self.counts[outcome], tuple(samples))

    # The first look: everything

    def _take_items(self, rows: Sequence[SourceRecord]) -> None:
        """Note what is published of rows; called in several threads."""
        items = list(self._published.of(rows))
        self._items.add(row for item in items for row in _rows_of(item))
        refused = sum(item.is_refused for item in items)
        with self._lock:
            self.counts["refused"] += refused

    def _take_changes(self, shard: ShardRef, changes: Sequence[SourceRecord]) -> None:
        """Note the keys of changes in flight; called in several threads."""
        self._in_flight.add(Row(RowId(key, 0), b"") for key in self._published.keys_of(shard, changes))
        with self._lock:
            self.pending_changes += len(changes)

    def _read_topics(self) -> Iterator[TopicState]:
        return self._topics.read(self._published.states, lambda records: self._progress(Progress("records", records)))

    def _compare_bucket(self, bucket: int, since_ms: int, *, is_published: bool) -> None:
        items, shown = self._items.rows(bucket), self._shown.rows(bucket)
        matches, suspects = [], set()
        for row, payload in items.items():
            if payload[:STATE_BYTES] == shown.get(row, b"")[:STATE_BYTES]:
                matches.append(row.key)
            else:
                suspects.add(row.key)
        suspects |= {row.key for row, payload in shown.items() if payload[:STATE_BYTES] != ABSENT and row not in items}
        self.counts["equal"] += sum(key not in suspects for key in matches)
        if not suspects:
            return
        items_by_key, shown_by_key = _by_key(items, suspects), _by_key(shown, suspects)
        in_flight = set() if is_published else {row.key for row in self._in_flight.rows(bucket)}
        for key in suspects:
            settled_ms = 0 if key in in_flight else since_ms
            self._suspect(key, items_by_key.get(key), shown_by_key.get(key, {}), settled_ms)

    def _suspect(
        self, key: bytes, item: Mapping[int, bytes] | None, shown: Mapping[int, bytes], settled_ms: int
    ) -> None:
        """Compare one key; doubt it when it differs.

        When too many are doubted, those whose last record is older than `settled_ms` differ for good.
        """
        if item is not None and item.get(_UNPUBLISHED, b"").startswith(_REFUSED):
            return
        states = None
        if item is not None:
            states = {topic: payload[:STATE_BYTES] for topic, payload in item.items() if topic < _LEFT_OUT}
        compared = list(compare(states, {topic: [payload[:STATE_BYTES]] for topic, payload in shown.items()}))
        if item is not None and _LEFT_OUT in item:
            compared = _left_out(compared)
        if not _differs(compared):
            self._tally(key, compared)
            return
        newest_ms = max((int.from_bytes(payload[STATE_BYTES:]) for payload in shown.values()), default=0)
        stored_key = next(iter(item.values()))[STATE_BYTES:] if item else b""
        table_key = stored_key or self._published.table_key(key)
        if len(self._doubted) < DOUBTED_KEYS_MAX:
            seen = {topic: [payload[:STATE_BYTES]] for topic, payload in shown.items()}
            self._doubted[key] = _Doubted(key, table_key, seen, newest_ms)
        elif newest_ms < settled_ms:
            self._tally(key, compared)
        else:
            self._tally(key, [each._replace(outcome="unsettled") if _differs([each]) else each for each in compared])

    # The second look: the keys that differ

    def _settle(self, since_ms: int) -> None:
        """Look at the doubted keys until each is equal, differs for good, or patience is over."""
        total, looks = len(self._doubted), 0
        while self._doubted:
            looks += 1
            self._look_again(since_ms)
            self._progress(Progress("keys", total - len(self._doubted), total))
            if looks >= _LOOKS and self._patience_s <= 0:
                break
            if self._doubted:
                time.sleep(_PAUSE_S)
        for doubted in self._doubted.values():
            topics = sorted({*doubted.seen, *({0} if not doubted.seen else ())})
            self._tally(doubted.key, [Compared(topic, "unsettled") for topic in topics])
        self._doubted.clear()

    def _look_again(self, since_ms: int) -> None:
        items = self._items_of_doubted()
        in_flight: set[bytes] = set()

        def take(shard: ShardRef, changes: Sequence[SourceRecord]) -> None:
            in_flight.update(self._published.keys_of(shard, changes) & self._doubted.keys())

        self._pending.await_delivery()
        ends = self._pending.read(take)
        is_published = self._wait_published(ends)
        for shown in self._read_topics():
            if doubted := self._doubted.get(shown.key):
                doubted.seen.setdefault(shown.topic, [ABSENT]).append(shown.state)
                doubted.newest_ms = max(doubted.newest_ms, shown.created_ms)
        for key, doubted in list(self._doubted.items()):
            compared = self._compared(doubted, items.get(key), since_ms)
            if not _differs(compared):
                doubted.looks = 0
            elif is_published or key not in in_flight:
                doubted.looks += 1
            if not _differs(compared) or doubted.looks == _LOOKS:
                del self._doubted[key]
                self._tally(key, compared)
                if _differs(compared):
                    doubted.compared = compared
                    self._standing[key] = doubted
            doubted.seen = {topic: states[-1:] for topic, states in doubted.seen.items()}

    def _wait_published(self, ends: Ends) -> bool:
        """Return whether everything up to `ends` is published, as long as patience lasts."""
        begun_s = time.monotonic()
        is_published = self._pending.wait_published(ends, max(0.0, self._patience_s))
        self._patience_s -= time.monotonic() - begun_s
        return is_published

    def _compared(self, doubted: _Doubted, item: PublishedItem | None, since_ms: int) -> list[Compared]:
        if item is not None and item.is_refused:
            return []
        states = None
        if item is not None:
            states = {row.tag: state for row, state in item.states.items() if row.key == doubted.key}
        compared = list(compare(states, doubted.seen))
        if item is not None and item.is_left_out:
            compared = _left_out(compared)
        if doubted.table_key is None and doubted.newest_ms >= since_ms:
            # It may have been made behind the scan, and nothing tells which item to read.
            return [each._replace(outcome="unchecked") if _differs([each]) else each for each in compared]
        return compared

    def _items_of_doubted(self) -> dict[bytes, PublishedItem]:
        """Read the items of the doubted keys again; return them by Kafka key."""
        wanted: dict[bytes, bytes] = {}
        names: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for doubted in self._doubted.values():
            plain_key = None if doubted.table_key is None else self._published.plain_key(doubted.table_key)
            if plain_key is not None and doubted.table_key is not None:
                wanted[plain_key] = doubted.table_key
                names[plain_key].append(doubted.key)
        found: dict[bytes, PublishedItem] = {}
        for row_keys in _chunks(list(wanted.values()), KEYS_AT_ONCE):
            for item in self._published.of(self._scan.get(row_keys)):
                if item.plain_key is not None:
                    found.update(dict.fromkeys(names[item.plain_key], item))
        return found

    def _tally(self, key: bytes, compared: Iterable[Compared]) -> None:
        for topic, outcome in compared:
            self.counts[outcome] += 1
            samples = self._samples[outcome]
            if outcome in _SHOWN and len(samples) < SAMPLES:
                samples.append((topic, key))


def _rows_of(item: PublishedItem) -> Iterator[Row]:
    stored_key = item.table_key or b""
    for row, state in item.states.items():
        yield Row(row, state + stored_key)
        if item.is_left_out:
            yield Row(RowId(row.key, _LEFT_OUT), _DROPPED + stored_key)
    if not item.states and item.plain_key is not None:
        yield Row(RowId(item.plain_key, _UNPUBLISHED), (_REFUSED if item.is_refused else _DROPPED) + stored_key)


def _row_of(shown: TopicState) -> Row:
    return Row(RowId(shown.key, shown.topic), shown.state + shown.created_ms.to_bytes(_TIME_BYTES))


def _by_key(rows: Mapping[RowId, bytes], keys: set[bytes]) -> dict[bytes, dict[int, bytes]]:
    found: dict[bytes, dict[int, bytes]] = {}
    for (key, tag), payload in rows.items():
        if key in keys:
            found.setdefault(key, {})[tag] = payload
    return found


def _left_out(compared: list[Compared]) -> list[Compared]:
    """Compare an item that snapshots leave out: its topic shows it only if it has changed."""
    return [each._replace(outcome="left out") if each.outcome == "missing" else each for each in compared]


def _differs(compared: Iterable[Compared]) -> bool:
    return any(each.outcome in DIFFERENCES for each in compared)


def _chunks(keys: list[bytes], size: int) -> Iterator[list[bytes]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))
