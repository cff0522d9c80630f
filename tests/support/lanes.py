"""One lane under test: it is told what happened, and its commands are kept until a test answers them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tailrace.core.change import Origin
from tailrace.core.checkpoint import (
    AcceptKey,
    Checkpoint,
    CheckpointKey,
    ClaimKey,
    GapAccepted,
    ShardCondition,
    ShardKey,
    ShardRecord,
    Start,
    TableKey,
    TableRecord,
    TableState,
    Write,
)
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.lane import Lane, LaneState
from tailrace.core.lane_messages import (
    CheckpointStateChanged,
    CloseProducer,
    Command,
    Commit,
    Committed,
    Event,
    Notice,
    NoticeKind,
    OpenProducer,
    PageRead,
    ProducerLost,
    ProducerOpened,
    Read,
    ReadFailed,
    Refusal,
    Released,
    Tick,
)
from tailrace.core.lane_options import LaneOptions
from tailrace.core.memory_budget import MemoryBudget
from tailrace.core.page import Outgoing, Page
from tailrace.core.ports import ReadFailure
from tailrace.core.shard import ShardRef, lane_of
from tailrace.core.shard_state import Phase
from tailrace.sources.dynamodb.policy import POLICY

TABLE = "orders"
STREAM = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2024-05-01T10:00:00.000"
LANE_COUNT = 4
NOW_MS = 1_700_000_000_000
DAY_MS = 24 * 3_600_000


def shards_of_lane(lane: int, stream: str = STREAM) -> Iterator[ShardRef]:
    """Return names of shards that belong to `lane`."""
    names = (ShardRef(stream, f"shardId-{number:08d}") for number in itertools.count())
    return (shard for shard in names if lane_of(shard, LANE_COUNT) == lane)


def origin(sequence: int | str, *, table: str = TABLE, created_ms: int = NOW_MS) -> Origin:
    """Return what a change was read from."""
    return Origin(table, str(sequence), created_ms, b"raw")


def outgoing(of: Origin, *, value: bytes | None = b"{}") -> Outgoing:
    """Return a record for Kafka."""
    return Outgoing(f"shop.{of.table}", b"key", value, None, of.created_ms, of)


def page(
    shard: ShardRef,
    *sequences: int,
    end: bool = False,
    full: bool = False,
    stop: str | None = None,
    drops: bool = False,
    tables: tuple[str, ...] = (TABLE,),
) -> Page:
    """Return a page with a change for each sequence number, and a record for each change, unless a transformation
    `drops` them all. `end`: the shard is read whole. The changes are of the tables in turn."""
    changes = [origin(number, table=table) for number, table in zip(sequences, itertools.cycle(tables), strict=False)]
    return Page(
        shard=shard,
        changes=changes,
        records=[] if drops else [outgoing(change) for change in changes],
        dropped=changes if drops else [],
        tables=frozenset(change.table for change in changes),
        size_bytes=1_000 * len(sequences),
        last_sequence=str(sequences[-1]) if sequences else None,
        last_created_ms=NOW_MS if sequences else None,
        next_iterator=None if end else f"iterator-{sequences[-1] if sequences else 'empty'}",
        full=full,
        stop=stop,
    )


def lineage(
    *parents: ShardRef, start: Start = "TRIM_HORIZON", initial: bool = False, seen_ms: int = NOW_MS, table: str = TABLE
) -> ShardRecord:
    """Return what the enumerator publishes of a shard."""
    return ShardRecord(table=table, parents=parents, start=start, seen_ms=seen_ms, initial=initial)


def checkpoint(
    state: ShardCondition = "open",
    sequence: int | None = None,
    *,
    at_ms: int = NOW_MS,
    open_ms: int | None = None,
    table: str = TABLE,
) -> Checkpoint:
    """Return a checkpoint."""
    return Checkpoint(
        table=table,
        state=state,
        sequence=None if sequence is None else str(sequence),
        created_ms=None if sequence is None else NOW_MS,
        at_ms=at_ms,
        open_ms=open_ms,
    )


class LaneUnderTest:
    """A lane, its checkpoint state, a clock that stands still, and the commands that wait for an answer."""

    def __init__(
        self,
        number: int = 1,
        options: LaneOptions | None = None,
        checkpoint_state: CheckpointState | None = None,
        budget: MemoryBudget | None = None,
    ) -> None:
        self.now_ms = NOW_MS
        self.checkpoint_state = checkpoint_state or CheckpointState(LANE_COUNT)
        self.lane = Lane(
            number,
            "worker-1",
            self.checkpoint_state,
            options or LaneOptions(POLICY),
            epochs=itertools.count(1),
            jitter=lambda: 0.0,
            budget=budget,
        )
        self.reads: dict[ShardRef, Read] = {}
        self.commit: Commit | None = None
        self.notices: list[Notice] = []
        self.unseen: list[Write] = []
        """Committed records that the checkpoint state does not show yet."""

    # Telling

    def handle(self, event: Event) -> list[Command]:
        commands = self.lane.handle(event, self.now_ms)
        for command in commands:
            match command:
                case Read():
                    self.reads[command.shard] = command
                case Commit():
                    assert self.commit is None, "two transactions at a time"
                    self.commit = command
                case Notice():
                    self.notices.append(command)
                case CloseProducer():
                    self.commit = None
                case OpenProducer() | Released():
                    pass
        self.reads = {shard: read for shard, read in self.reads.items() if self._is_waited_for(read)}
        return commands

    def _is_waited_for(self, read: Read) -> bool:
        shard_state = self.lane.shard_states.get(read.shard)
        return shard_state is not None and shard_state.phase is Phase.READING and shard_state.ticket == read.ticket

    def wait(self, milliseconds: int) -> list[Command]:
        """Let time pass; the lane hears of it only if it asked to."""
        deadline_ms = self.now_ms + milliseconds
        commands: list[Command] = []
        while self.lane.wake_at_ms is not None and self.lane.wake_at_ms <= deadline_ms:
            assert self.lane.wake_at_ms > self.now_ms, "the lane would never sleep"
            self.now_ms = self.lane.wake_at_ms
            commands += self.handle(Tick())
        self.now_ms = deadline_ms
        return commands

    # The world around

    def publish(self, shard: ShardRef, record: ShardRecord | Checkpoint | None, *, lane: int | None = None) -> None:
        """Let the checkpoint state show the lineage or the checkpoint of a shard (None: its lineage's tombstone)."""
        key = CheckpointKey(*shard) if isinstance(record, Checkpoint) else ShardKey(*shard)
        self.checkpoint_state.apply(lane_of(shard, LANE_COUNT) if lane is None else lane, key, record)
        self.handle(CheckpointStateChanged())

    def accept(self, *gaps: tuple[ShardRef, Checkpoint]) -> None:
        """Let the operator accept gaps."""
        named = tuple((shard, gap.at_ms) for shard, gap in gaps)
        self.checkpoint_state.apply(0, AcceptKey(TABLE), GapAccepted(shards=named, stream_arn=None, at_ms=self.now_ms))
        self.handle(CheckpointStateChanged())

    def leave_out(self, is_left_out: bool, /) -> None:
        """Let the file leave the table out, or name it again."""
        state: TableState = "left out" if is_left_out else "streaming"
        record = TableRecord(stream_arn=STREAM, view_type="NEW_IMAGE", state=state, at_ms=self.now_ms)
        self.checkpoint_state.apply(0, TableKey(TABLE), record)
        self.handle(CheckpointStateChanged())

    def open(self) -> None:
        self.handle(ProducerOpened(self.lane.epoch))

    def committed(self, *, seen: bool = True) -> Commit:
        """Let the transaction under way succeed; with `seen` the checkpoint state shows it at once."""
        commit, self.commit = self.commit, None
        assert commit is not None, "nothing is being committed"
        self.handle(Committed(commit.epoch))
        self.unseen += commit.transaction.writes
        if seen:
            self.see()
        return commit

    def see(self) -> None:
        """Let the checkpoint state show all that is committed."""
        writes, self.unseen = self.unseen, []
        for write in writes:
            self.checkpoint_state.apply(write.partition, write.key, write.record)
        self.handle(CheckpointStateChanged())

    def lose(self, *refusals: Refusal, fenced: bool = False) -> None:
        self.handle(ProducerLost(self.lane.epoch, fenced, "test", refusals))

    def take(self) -> None:
        """Go from the present state to ACTIVE."""
        if self.lane.state is LaneState.BACKING_OFF:
            assert self.lane.wake_at_ms is not None
            self.wait(max(0, self.lane.wake_at_ms - self.now_ms))
        assert self.lane.state.name == "OPENING"
        self.open()
        self.committed()
        assert self.lane.state.name == "ACTIVE"

    def read(self, shard: ShardRef, answer: Page) -> None:
        """Answer the read of `shard` that is under way."""
        read = self.reads.pop(shard)
        self.handle(PageRead(read.epoch, read.ticket, answer))

    def fail(self, shard: ShardRef, failure: ReadFailure) -> None:
        read = self.reads.pop(shard)
        self.handle(ReadFailed(read.epoch, read.ticket, shard, failure, failure))

    def deny(self, shard: ShardRef) -> None:
        """Answer every read of a shard with GONE until that is believed."""
        self.fail(shard, ReadFailure.GONE)
        since_ms = self.now_ms
        while shard in self.reads or self.phase(shard) is Phase.READY:
            assert self.now_ms - since_ms < 2 * POLICY.gone_after_ms, "it is never believed"
            if shard in self.reads:
                self.fail(shard, ReadFailure.GONE)
            else:
                self.wait(1_000)

    # Looking

    def is_committing(self) -> bool:
        return self.commit is not None

    def phase(self, shard: ShardRef) -> Phase:
        return self.lane.shard_states[shard].phase

    def told(self, kind: NoticeKind) -> list[Notice]:
        return [notice for notice in self.notices if notice.kind is kind]


def checkpoints_in(commit: Commit) -> dict[ShardRef, Checkpoint | None]:
    """Return the checkpoints that a transaction writes; None is a tombstone."""
    found: dict[ShardRef, Checkpoint | None] = {}
    for write in commit.transaction.writes:
        if isinstance(write.key, CheckpointKey):
            assert write.record is None or isinstance(write.record, Checkpoint)
            found[ShardRef(write.key.stream, write.key.shard_id)] = write.record
    return found


def sequences_in(commit: Commit) -> list[int]:
    """Return the sequence numbers of the records that a transaction publishes, in order."""
    return [int(record.origin.sequence) for each in commit.transaction.pages for record in each.records]


def is_claim(write: Write) -> bool:
    return isinstance(write.key, ClaimKey)
