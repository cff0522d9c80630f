"""Model sources: tables whose items move from shard to shard, and what the streams say of them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from simulation.faults import Faults
from simulation.simulated_time import Schedule, sleep
from tailrace.core.change import Change, Origin
from tailrace.core.ports import (
    ReadError,
    ReadFailure,
    SourcePage,
    SourceRecord,
    StreamListing,
    TableStream,
)
from tailrace.core.shard import ListedShard, Position, ShardRef
from tailrace.core.source_policy import SourcePolicy
from tailrace.errors import RecordError
from tailrace.sources.dynamodb.policy import POLICY

ITERATOR_LIFE_MS = 15 * 60_000
PAGE_RECORDS = 5
DELETED = 0.3
"""Part of the changes of an item that delete it."""
DELETED_WORD = b"deleted"
"""Ends the text of a delete."""
GONE = "the shard is gone"
TRIMMED = "the position was trimmed"


class SourceKind(msgspec.Struct, frozen=True):
    """What tells one model source from another. All of them split and merge shards."""

    name: str
    policy: SourcePolicy
    first_sequence: int
    """So that the numbers soon grow in digits."""
    stream: str | None = None
    """Name of the one stream that carries all tables; None: each table has its own."""
    pushes: bool = False
    repeats: bool = False
    """Changes come out of order and are repeated, with other sequence numbers, maybe in other shards."""
    has_snapshots: bool = False
    """Items are deleted and made again, tables are older than their streams, and snapshots are taken of them."""
    switches: bool = False
    """The pipeline goes over from `streams` to `repeating`, or back."""

    def streams_of(self, items: dict[str, list[str]]) -> dict[str, list[str]]:
        """Return the items of each stream, by the name that brings it in; given those of each table."""
        return {self.stream: [item for each in items.values() for item in each]} if self.stream else items


STREAMS = SourceKind("streams", msgspec.structs.replace(POLICY, page_bytes=1_000), 96)
"""As DynamoDB Streams: asked page by page."""
LOG = SourceKind(
    "log",
    msgspec.structs.replace(
        STREAMS.policy, retention_ms=8 * 3_600_000, gone_after_ms=20_000, caught_up_reads=5, children_pause_ms=300
    ),
    10**55 - 4,
    stream="events",
    pushes=True,
)
"""As Kinesis with enhanced fan-out: pushes, several tables in a stream, positions of 56 digits, another retention."""
SNAPSHOTS = SourceKind("snapshots", STREAMS.policy, 96, has_snapshots=True)
"""As DynamoDB Streams, with tables that can be read."""
REPEATING = SourceKind(
    "repeating",
    msgspec.structs.replace(LOG.policy, window_ms=60_000, read_interval_ms=200),
    LOG.first_sequence,
    stream="events",
    repeats=True,
)
"""As Kinesis with DynamoDB's change records: asked page by page; repeats changes and gives them out of order."""
SWITCHING = SourceKind("switching", STREAMS.policy, 96, switches=True)
"""Both `streams` and `repeating`, one after the other."""
KINDS = {kind.name: kind for kind in (STREAMS, LOG, SNAPSHOTS, REPEATING, SWITCHING)}


@dataclass(frozen=True)
class Written:
    """One change: the `number`-th of its item."""

    shard: ShardRef
    sequence: int
    item: str
    number: int
    written_ms: int
    kind: str
    """`huge`, `colossal`, `poison`, `deleted`, or nothing special."""
    record: SourceRecord

    @property
    def text(self) -> bytes:
        """What it left behind: the item's state, or that it was deleted."""
        return self.record.origin.raw


@dataclass
class ModelShard:
    """A shard as it truly is."""

    parents: tuple[ShardRef, ...]
    items: set[str]
    shown_ms: int
    """When listings begin to show it."""
    changes: list[Written] = field(default_factory=list)
    trimmed: int = 0
    """How many of its changes the stream has forgotten."""
    closed_ms: int | None = None
    removed: bool = False
    denied_ms: tuple[int, int] | None = None
    """From when until when it was said to be gone, and was not; None: never yet."""


class Source:
    """All tables and their streams."""

    def __init__(
        self,
        kind: SourceKind,
        schedule: Schedule,
        rng: random.Random,
        faults: Faults,
        *,
        fates: random.Random | None = None,
    ) -> None:
        """`fates` decides which items are deleted; None: no item is ever."""
        self.policy = kind.policy
        self.present: dict[str, Written] = {}
        """What the tables hold: the last change of each item that exists."""
        self.last: dict[str, Written] = {}
        """The last change of each item."""
        self.dropped_ms: dict[str, int] = {}
        """When the items were lost that their table held when it was deleted; without those that came again."""
        self.deleted: set[str] = set()
        """The tables that do not exist now."""
        self.shards: dict[ShardRef, ModelShard] = {}
        self.streams: dict[str, str] = {}
        """The ARN of each stream, by the name that brings it in: its table's, if it carries one."""
        self.on_trimmed: Callable[[list[Written]], None] = lambda _: None
        self.is_fixed = False
        """What could not be converted can be now."""
        self.reader = (PushingReader if kind.pushes else ModelReader)(self, schedule, rng, faults)
        self.enumerator = ModelEnumerator(self, schedule, rng, faults)
        self._schedule = schedule
        self._rng = rng
        self._faults = faults
        self._written: dict[str, int] = {}
        self._owner_of: dict[str, ShardRef] = {}
        self._stream_of: dict[str, str] = {}
        """By the id of a shard: none comes in two streams."""
        self._sequence = kind.first_sequence
        self._fates = fates

    def add_stream(self, name: str, items: list[str], shard_count: int) -> None:
        incarnation = incarnation_of(self.streams[name]) + 1 if name in self.streams else 1
        self.deleted.discard(name)
        self.streams[name] = f"arn:aws:dynamodb:eu-west-1:123456789012:table/{name}/stream/{incarnation}"
        for number in range(shard_count):
            self._open(self.streams[name], (), set(items[number::shard_count]))

    def stream_of(self, shard_id: str) -> str:
        return self._stream_of[shard_id]

    def shard_of(self, item: str) -> ShardRef:
        return self._owner_of[item]

    def was_denied_for_ms(self, shard: ShardRef) -> int:
        """How long a shard has been said to be gone, wrongly, up to now."""
        denied_ms = self.shards[shard].denied_ms
        return 0 if denied_ms is None else min(self.now_ms, denied_ms[1]) - denied_ms[0]

    @property
    def now_ms(self) -> int:
        return self._schedule.now_ms

    @property
    def items(self) -> list[str]:
        return list(self._owner_of)

    # What happens to it

    def load(self, item: str) -> None:
        """Let an item be there since before the stream was."""
        self._written[item] = 1
        shard = ShardRef(self._owner_of[item].stream, "-")
        text = f"{item} 0 0 - ".encode()
        record = SourceRecord(Origin(table_of(item), "0", self.now_ms, text), None)
        self.present[item] = self.last[item] = Written(shard, 0, item, 0, self.now_ms, "", record)

    def write(self, item: str) -> None:
        if table_of(item) in self.deleted:
            return
        self._sequence += self._rng.randint(1, 3)
        self._append(item, *self._next(item))

    def settle(self) -> None:
        """Let all changes that are under way arrive."""

    def _next(self, item: str) -> tuple[int, str]:
        """Return the number and the kind of an item's next change."""
        number = self._written.get(item, 0)
        self._written[item] = number + 1
        fate = self._rng.random()
        kind = ""
        for name in ("huge", "colossal", "poison"):
            if 0 <= fate < getattr(self._faults, name):
                kind = name
            fate -= getattr(self._faults, name)
        return number, kind

    def _append(self, item: str, number: int, kind: str) -> None:
        """Let a change arrive in the stream."""
        shard = self._owner_of[item]
        now_ms = self._schedule.now_ms
        before = self.present.get(item)
        deletes = self._fates is not None and before is not None and self._fates.random() < DELETED
        kind = DELETED_WORD.decode() if deletes else kind
        created_ms = now_ms // 1000 * 1000
        text = f"{item} {number} {self._sequence} {shard.shard_id} {kind}".encode()
        change = Change(
            op="d" if deletes else "u" if before else "c",
            table=table_of(item),
            keys=item.encode(),
            before=before.text if deletes and before else None,
            after=None if deletes else text,
            created_ms=created_ms,
            event_id=text.decode() if deletes else "",
            sequence=str(self._sequence),
            shard_id=shard.shard_id,
            stream_arn=shard.stream,
            region="eu-west-1",
            view_type="NEW_AND_OLD_IMAGES",
        )
        record = SourceRecord(Origin(change.table, change.sequence, created_ms, text), change)
        written = Written(shard, self._sequence, item, number, now_ms, kind, record)
        self.shards[shard].changes.append(written)
        self.last[item] = written
        if deletes:
            del self.present[item]
        else:
            self.present[item] = written
        self.dropped_ms.pop(item, None)
        self.reader.written(shard)

    def split(self, shard: ShardRef | None = None) -> None:
        """Close a shard, any if none is named; one or two others go on with its items."""
        parent = shard or self._any_open()
        if parent is None:
            return
        items = sorted(self._close(parent))
        left = {item for item in items if self._rng.random() < 0.5}
        if self._rng.random() < 0.3:
            self._open(parent.stream, (parent,), set(items))
        else:
            self._open(parent.stream, (parent,), left)
            self._open(parent.stream, (parent,), set(items) - left)

    def show_last(self, item: str) -> None:
        """Let the shard of an item show as late as can be, and those that were made with it at once."""
        shown_last = self.shards[self._owner_of[item]]
        for shard in self.shards.values():
            if shard.parents == shown_last.parents:
                shard.shown_ms = self.now_ms
        shown_last.shown_ms = self.now_ms + self.policy.second_child_ms

    def merge(self) -> None:
        first, second = self._any_open(), self._any_open()
        if first and second and first != second and first.stream == second.stream:
            items = self._close(first) | self._close(second)
            self._open(first.stream, (first, second), items)

    def trim(self) -> None:
        """Forget what is older than the retention, shards too."""
        horizon_ms = self._schedule.now_ms - self.policy.retention_ms
        trimmed: list[Written] = []
        for shard in self.shards.values():
            while shard.trimmed < len(shard.changes) and shard.changes[shard.trimmed].written_ms < horizon_ms:
                trimmed.append(shard.changes[shard.trimmed])
                shard.trimmed += 1
            if shard.closed_ms is not None and shard.closed_ms < horizon_ms and shard.trimmed == len(shard.changes):
                shard.removed = True
        self.on_trimmed(trimmed)

    def delete_table(self, table: str) -> None:
        """Delete a table with all of its items. Its stream can be read on; no change tells of the items' end."""
        self.deleted.add(table)
        for shard, true in self.shards.items():
            if shard.stream == self.streams[table] and true.closed_ms is None:
                self._close(shard)
        for item in [each for each in self.present if table_of(each) == table]:
            del self.present[item]
            self.dropped_ms[item] = self.now_ms

    def make_table_again(self, table: str) -> None:
        """Make a table of the same name as one that was deleted; its stream is another one."""
        items = [item for item in self.items if table_of(item) == table]
        self.add_stream(table, items, self._rng.randint(1, 3))

    # Shards

    def _any_open(self) -> ShardRef | None:
        shards = [shard for shard, true in self.shards.items() if true.closed_ms is None]
        return self._rng.choice(shards) if shards else None

    def _close(self, shard: ShardRef) -> set[str]:
        self.shards[shard].closed_ms = self._schedule.now_ms
        return self.shards[shard].items

    def _open(self, stream: str, parents: tuple[ShardRef, ...], items: set[str]) -> None:
        shard = ShardRef(stream, f"shardId-{len(self.shards):08d}")
        most_ms = self.policy.second_child_ms  # what was made together shows within this time
        late_ms = self._rng.randint(0, most_ms) if self._rng.random() < self._faults.shown_late else 0
        self.shards[shard] = ModelShard(parents, items, self._schedule.now_ms + late_ms)
        self._stream_of[shard.shard_id] = stream
        for item in sorted(items):
            self._owner_of[item] = shard


class ModelReader:
    """The streams as GetRecords shows them (core.ports.ShardReader)."""

    def __init__(self, source: Source, schedule: Schedule, rng: random.Random, faults: Faults) -> None:
        self.waited = 0
        """How often the source had to wait with what it pushes, as nobody read it."""
        self._source = source
        self._schedule = schedule
        self._rng = rng
        self._faults = faults

    def written(self, shard: ShardRef) -> None:
        """A change was written: nobody who is asked for it need know."""

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> SourcePage:
        true = self._found(shard, position)
        start = self._start(true, position, iterator)
        if start < true.trimmed:
            raise ReadError(TRIMMED, ReadFailure.TRIMMED)
        end = start + len(true.changes[start : start + self._count()])
        return self._page(true, start, end, position, f"{end}:{self._schedule.now_ms}")

    def _found(self, shard: ShardRef, position: Position) -> ModelShard:
        """Return the shard as it truly is. Raises `ReadError` when the call fails or the shard is denied."""
        if self._rng.random() < self._faults.read_failed:
            kinds = [ReadFailure.EXPIRED, ReadFailure.THROTTLED, ReadFailure.UNAVAILABLE, ReadFailure.DENIED]
            raise ReadError("GetRecords failed", self._rng.choice(kinds))
        true = self._source.shards[shard]
        now_ms = self._schedule.now_ms
        if true.denied_ms is None and not true.trimmed and self._rng.random() < self._faults.wrongly_gone:
            true.denied_ms = now_ms, now_ms + self._denied_for_ms(position)
        is_denied = bool(self._faults.wrongly_gone and true.denied_ms and now_ms <= true.denied_ms[1])
        if true.removed or is_denied:
            raise ReadError(GONE, ReadFailure.GONE)
        return true

    def _count(self) -> int:
        """Return how many records a page has at most."""
        return self._rng.randint(0, 2) if self._rng.random() < self._faults.empty_page else PAGE_RECORDS

    def _page(self, true: ModelShard, start: int, end: int, position: Position, iterator: str) -> SourcePage:
        changes = true.changes[start:end]
        at_end = true.closed_ms is not None and end == len(true.changes)
        since_ms = position.since_ms or 0
        records = [self._record(change) for change in changes if change.record.origin.created_ms >= since_ms]
        return SourcePage(
            records=records,
            next_iterator=None if at_end else iterator,
            size_bytes=100 * len(changes),
            full=len(changes) == PAGE_RECORDS or len(records) < len(changes),
        )

    def _denied_for_ms(self, position: Position) -> int:
        """Mostly too short to be believed; never long enough for a second gap behind the first."""
        gone_after_ms = self._source.policy.gone_after_ms
        if position.sequence is None or self._rng.random() < 0.6:
            return self._rng.randint(0, gone_after_ms - 1)
        return self._rng.randint(gone_after_ms + 5_000, 2 * gone_after_ms - 1)

    def _start(self, true: ModelShard, position: Position, iterator: str | None) -> int:
        if iterator is not None:
            index, issued_ms = map(int, iterator.split(":"))
            if self._schedule.now_ms - issued_ms > ITERATOR_LIFE_MS:
                raise ReadError("the iterator has expired", ReadFailure.EXPIRED)
            return index
        if position.kind == "LATEST":
            return len(true.changes)
        if position.sequence is None:
            return true.trimmed
        if position.kind == "AT_SEQUENCE_NUMBER":
            return sum(change.sequence < int(position.sequence) for change in true.changes)
        start = sum(change.sequence <= int(position.sequence) for change in true.changes)
        if 0 < start <= true.trimmed:
            return -1  # the change that it names is trimmed
        if self._rng.random() < self._faults.repeats:
            start = max(true.trimmed, start - self._rng.randint(0, 2))
        return start

    def _record(self, change: Written) -> SourceRecord:
        if change.kind != "poison" or self._source.is_fixed:
            return change.record
        return SourceRecord(change.record.origin, None, RecordError("it makes no sense"))


@dataclass
class Subscription:
    """A shard's changes, pushed to one reader."""

    name: str
    shard: ShardRef
    begun_ms: int
    place: int
    """Index of the change that the next read begins with."""
    arrived: int
    """Index behind the last change that the connection has taken: at most `WINDOW` ahead of `place`."""


class PushingReader(ModelReader):
    """The streams as they are pushed to a reader (core.ports.ShardReader): see there what it owes."""

    WINDOW = 3
    """Changes that a connection holds which nobody reads; the source waits then."""
    LIFE_MS = 5 * 60_000
    WAY_MS = 1_500
    """How long a change is under way at most."""

    def __init__(self, source: Source, schedule: Schedule, rng: random.Random, faults: Faults) -> None:
        super().__init__(source, schedule, rng, faults)
        self._numbers = itertools.count(1)
        self._subscriptions: dict[ShardRef, Subscription] = {}

    def written(self, shard: ShardRef) -> None:
        self._schedule.after(self._rng.randint(0, self.WAY_MS), lambda: self._push(shard))

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> SourcePage:
        true = self._found(shard, position)
        subscription = self._subscribe(true, shard, position) if iterator is None else self._named(shard, iterator)
        if subscription.place < true.trimmed:
            raise ReadError(TRIMMED, ReadFailure.TRIMMED)
        start, last = subscription.place, subscription.place + self._count()
        while subscription.place < min(last, subscription.arrived):
            subscription.place = min(last, subscription.arrived)
            self._push(shard)  # the connection is read, so the source goes on
        if self._rng.random() < self._faults.read_failed / 3:
            raise ReadError("the connection broke while a page was read", ReadFailure.UNAVAILABLE)
        return self._page(true, start, subscription.place, position, self._iterator(subscription))

    def _subscribe(self, true: ModelShard, shard: ShardRef, position: Position) -> Subscription:
        """Begin to push; a subscription of the shard that there was before ends."""
        start = self._start(true, position, None)
        if start < true.trimmed:
            raise ReadError(TRIMMED, ReadFailure.TRIMMED)
        subscription = Subscription(str(next(self._numbers)), shard, self._schedule.now_ms, start, start)
        self._subscriptions[shard] = subscription
        self._push(shard)
        return subscription

    def _named(self, shard: ShardRef, iterator: str) -> Subscription:
        subscription = self._subscriptions[shard]
        has_ended = self._schedule.now_ms - subscription.begun_ms > self.LIFE_MS
        if has_ended or self._has_moved(subscription, iterator):
            raise ReadError("the subscription has ended, or is not where it was", ReadFailure.EXPIRED)
        return subscription

    def _has_moved(self, subscription: Subscription, iterator: str) -> bool:
        return iterator != self._iterator(subscription)

    def _iterator(self, subscription: Subscription) -> str:
        return f"{subscription.name}:{subscription.place}"

    def _push(self, shard: ShardRef) -> None:
        """Push what the connection takes."""
        subscription = self._subscriptions.get(shard)
        if subscription is not None:
            written, taken = len(self._source.shards[shard].changes), subscription.place + self.WINDOW
            self.waited += taken < written
            subscription.arrived = max(subscription.arrived, min(written, taken))


class ModelEnumerator:
    """The tables and streams as listings show them: late, with holes, now and then not at all."""

    def __init__(self, source: Source, schedule: Schedule, rng: random.Random, faults: Faults) -> None:
        self._source = source
        self._schedule = schedule
        self._rng = rng
        self._faults = faults

    def table_names(self, patterns: list[str]) -> list[str]:
        return patterns

    def table_stream(self, table: str) -> TableStream:
        self._call("DescribeTable")
        if table in self._source.deleted:
            raise ReadError(f"there is no table {table}", ReadFailure.GONE)
        return TableStream(table, self._source.streams[table], "NEW_AND_OLD_IMAGES")

    def shards(self, stream: str) -> StreamListing:
        self._call("DescribeStream")
        shown = [shard for shard in self._source.shards if shard.stream == stream and self._shows(shard)]
        return StreamListing(stream, 0, tuple(map(self._listed, shown)))

    def children(self, shard: ShardRef) -> tuple[ListedShard, ...]:
        self._call("DescribeStream of children")
        children = [
            other for other, true in self._source.shards.items() if shard in true.parents and self._shows(other)
        ]
        return tuple(self._listed(child) for child in children)

    def exists(self, shard: ShardRef) -> bool:
        self._call("GetShardIterator")
        return shard in self._source.shards and not self._source.shards[shard].removed

    def _shows(self, shard: ShardRef) -> bool:
        true = self._source.shards[shard]
        is_late = bool(self._faults.shown_late) and true.shown_ms > self._schedule.now_ms
        return not true.removed and not is_late and self._rng.random() >= self._faults.hole

    def _listed(self, shard: ShardRef) -> ListedShard:
        true = self._source.shards[shard]
        is_stale = self._rng.random() < self._faults.hole
        return ListedShard(
            shard.shard_id,
            tuple(parent.shard_id for parent in true.parents),
            closed=true.closed_ms is not None and not is_stale,
        )

    def _call(self, step: str) -> None:
        sleep(self._rng.randint(5, 60), step)
        if self._rng.random() < self._faults.listing_failed:
            raise ReadError(f"{step} failed", self._rng.choice([ReadFailure.THROTTLED, ReadFailure.UNAVAILABLE]))


def incarnation_of(stream: str) -> int:
    """Return the how-manieth stream of its name this is."""
    return int(stream.rsplit("/", maxsplit=1)[1])


def table_of(item: str) -> str:
    return item.split("/", maxsplit=1)[0]
