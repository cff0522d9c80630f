"""A pipeline of thousands of shards in simulated time: the product's enumerator, client and lanes, on the simulator.

Kafka is only a delay here. Of a shard that stays open and gets no changes, only the first read and the one that meets
its end are played.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Collection
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import msgspec
from msgspec.structs import replace

from simulation.simulated_threads import SimulatedFuture, SimulatedHost
from simulation.simulated_time import Host, Process, Schedule, sleep
from tailrace.aws.errors import Subject, refused
from tailrace.aws.http import AwsClient
from tailrace.aws.service import Service
from tailrace.aws.session import AwsSession
from tailrace.core.checkpoint import Checkpoint, CheckpointKey, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.lane import Lane
from tailrace.core.lane_messages import (
    CheckpointStateChanged,
    Commit,
    Committed,
    Event,
    OpenProducer,
    PageRead,
    ProducerOpened,
    PublishLineage,
    Read,
    Tick,
)
from tailrace.core.lane_options import LaneOptions
from tailrace.core.page import empty_page
from tailrace.core.ports import TableStream
from tailrace.core.shard import ENUMERATOR_LANE, ShardRef
from tailrace.sources.dynamodb.policy import POLICY
from tailrace.sources.dynamodb.streams import DynamoDBStreams
from tailrace.worker.enumerator import EnumeratorLoop
from tailrace_simulator.actions import parse_action, parse_script
from tailrace_simulator.simulator import Simulator

_T = TypeVar("_T")

LANES = 16
BEGAN_MS = 1_700_000_000_000
CALL_MS = 15
"""How long AWS takes to answer."""
COMMIT_MS = 40
FOLLOW_MS = 15
"""How much later than the commit the follower shows it."""
POLL_MAX_MS = 1_000
"""How long a quiet shard is not read."""
INTERVAL_S = 10.0
DESCRIBE_STREAM_PER_SECOND = 5
"""The defaults of the pipeline file."""


class Scale:
    """One worker with all lanes; `read_after_ms` says of every shard how long after its making it was first read."""

    def __init__(self, sizes: Collection[int]) -> None:
        """Make a table of each of these sizes, in open shards."""
        self.schedule = Schedule(BEGAN_MS)
        self.described_ms: list[int] = []
        self.throttled = 0
        self.read_after_ms: dict[ShardRef, int] = {}
        self.checkpoint_state = CheckpointState(LANES)
        self._rng = random.Random(1)
        self._made_ms: dict[ShardRef, int] = {}
        self._unread: set[ShardRef] = set()
        self._quiet: dict[ShardRef, tuple[Lane, Read]] = {}
        self._armed: dict[int, int] = {}
        script = parse_script({"settings": {"rollover_s": 0}})
        self._simulator = Simulator(seed=1, script=script, now_ms=BEGAN_MS)
        self._tables: list[str] = []
        for size in sizes:
            self.make_table(size)
        self._lanes = [
            Lane(
                number,
                "worker",
                self.checkpoint_state,
                LaneOptions(replace(POLICY, page_bytes=1)),
                epochs=itertools.count(1),
                jitter=self._rng.random,
            )
            for number in range(LANES)
        ]
        self._host = Host("worker", self.schedule, lambda _host, _step: 0)
        self.host = SimulatedHost(self._host, self._rng)
        self._loop: EnumeratorLoop | None = None

    # What the test does

    def make_table(self, size: int) -> str:
        """Make one more table with so many shards."""
        name = f"table-{len(self._tables):04}"
        self._tables.append(name)
        self.act("settings", settings={"shards": size})
        fields = {
            "TableName": name,
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "BillingMode": "PAY_PER_REQUEST",
            "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        }
        self._simulator.handle("DynamoDB_20120810.CreateTable", msgspec.json.encode(fields), self.schedule.now_ms)
        for _, shard_id in self.open_shards(name):
            self._note_made(ShardRef(self.stream_of(name), shard_id))
        return name

    def act(self, action: str, **fields: Any) -> dict[str, Any]:
        return self._simulator.act(parse_action(action, fields), self.schedule.now_ms)

    def stream_of(self, table: str) -> str:
        stream = self._simulator.database.table(table).stream
        assert stream is not None
        return stream.arn

    def open_shards(self, table: str | None = None) -> list[tuple[str, str]]:
        """Return the tables and names of the open shards, of one table or of all."""
        return [
            (name, shard.shard_id)
            for name in ([table] if table else self._tables)
            for shard in self._simulator.database.streams[self.stream_of(name)].open_shards
        ]

    def replace(self, table: str, shard_id: str, *, split: bool = False) -> None:
        """Let a shard roll over, or split."""
        stream = self.stream_of(table)
        done = self.act("split" if split else "rollover", table=table, shard=shard_id)
        for child in done["children"]:
            self._note_made(ShardRef(stream, child))
        if reading := self._quiet.pop(ShardRef(stream, shard_id), None):
            self._later(self._rng.randint(0, POLL_MAX_MS) + CALL_MS, partial(self._answer, *reading, end=True))

    def _note_made(self, shard: ShardRef) -> None:
        self._made_ms[shard] = self.now_ms()
        self._unread.add(shard)

    def start(self) -> None:
        """Let the worker take its lanes."""
        for lane in self._lanes:
            self._handle(lane, CheckpointStateChanged())

    def pass_s(self, seconds: float) -> None:
        self.schedule.run_until(self.schedule.now_ms + int(seconds * 1000))

    def stop(self) -> None:
        self._host.die()

    @property
    def unread(self) -> set[ShardRef]:
        """The shards that nobody has read yet."""
        return self._unread

    def most_described_in_a_second(self) -> int:
        """Return the most DescribeStream calls in any second."""
        first = most = 0
        for last, at_ms in enumerate(self.described_ms):
            while self.described_ms[first] <= at_ms - 1_000:
                first += 1
            most = max(most, last - first + 1)
        return most

    # The enumerator's engine (worker.enumerator.Engine)

    def ask(self, question: Callable[[CheckpointState], _T]) -> Future[_T]:
        answer: SimulatedFuture[_T] = SimulatedFuture()
        self._later(1, lambda: answer.set_result(question(self.checkpoint_state)))
        return answer

    def publish(self, epoch: int, writes: tuple[Write, ...]) -> None:
        self._later(0, lambda: self._handle(self._lanes[ENUMERATOR_LANE], PublishLineage(epoch, writes)))

    def now_ms(self) -> int:
        return self.schedule.now_ms

    # The worker

    def _later(self, delay_ms: float, action: Callable[[], None]) -> None:
        self._host.later(delay_ms, "", action)

    def _handle(self, lane: Lane, event: Event) -> None:
        for command in lane.handle(event, self.now_ms()):
            match command:
                case OpenProducer(epoch):
                    self._later(COMMIT_MS, partial(self._handle, lane, ProducerOpened(epoch)))
                case Commit():
                    self._later(COMMIT_MS, partial(self._committed, lane, command))
                case Read():
                    self._later(CALL_MS, partial(self._read, lane, command))
                case _:
                    pass
        if lane.is_enumerator and self._loop is None:
            self._list(lane.epoch)
        wake_ms = lane.wake_at_ms
        if wake_ms is not None and wake_ms < self._armed.get(lane.number, wake_ms + 1):
            self._armed[lane.number] = wake_ms
            self._later(max(0, wake_ms - self.now_ms()), partial(self._tick, lane, wake_ms))

    def _tick(self, lane: Lane, wake_ms: int) -> None:
        if self._armed.get(lane.number) == wake_ms:
            del self._armed[lane.number]
            self._handle(lane, Tick())

    def _committed(self, lane: Lane, commit: Commit) -> None:
        self._later(FOLLOW_MS, partial(self._followed, commit.transaction.writes))
        self._handle(lane, Committed(commit.epoch))

    def _followed(self, writes: tuple[Write, ...]) -> None:
        version = self.checkpoint_state.version
        for write in writes:
            self.checkpoint_state.apply(write.partition, write.key, write.record)
            if isinstance(write.key, CheckpointKey) and isinstance(write.record, Checkpoint):
                shard = ShardRef(write.key.stream, write.key.shard_id)
                if write.record.state == "ended" and self._loop is not None:
                    self._loop.shard_ended(shard)
        if self.checkpoint_state.version != version:
            for lane in self._lanes:
                self._handle(lane, CheckpointStateChanged())

    def _read(self, lane: Lane, read: Read) -> None:
        shard = self._simulator.database.streams[read.shard.stream].shards[read.shard.shard_id]
        is_first = read.shard not in self.read_after_ms
        if is_first:
            self.read_after_ms[read.shard] = self.now_ms() - self._made_ms[read.shard]
            self._unread.discard(read.shard)
        if is_first or not shard.is_open:
            self._answer(lane, read, end=not shard.is_open)
        else:
            self._quiet[read.shard] = lane, read

    def _answer(self, lane: Lane, read: Read, *, end: bool) -> None:
        page = msgspec.structs.replace(empty_page(read.shard), next_iterator=None if end else "iterator")
        self._handle(lane, PageRead(read.epoch, read.ticket, page))

    # The enumerator

    def _list(self, epoch: int) -> None:
        source = self._source()
        loop = EnumeratorLoop(
            self,
            source,
            epoch,
            policy=POLICY,
            table_names=lambda: source.table_names(["*"]),
            wanted=lambda _table: True,
            start="TRIM_HORIZON",
            interval_s=INTERVAL_S,
            prepare_table=_prepare,
        )
        self._loop = loop
        self._host.run(partial(self._begin, loop))

    def _begin(self, loop: EnumeratorLoop) -> None:
        Process(self._host, "enumerator", loop.run)

    def _source(self) -> DynamoDBStreams:
        session = SimpleNamespace(
            endpoint=lambda _service: "http://simulated", certificates=lambda: None, region="us-east-1"
        )
        return DynamoDBStreams(
            cast(AwsSession, session),
            describe_stream_per_second=DESCRIBE_STREAM_PER_SECOND,
            clock=lambda: self.now_ms() / 1000,
            sleep=lambda seconds: sleep(seconds * 1000, "Wait"),
            make_client=lambda *made_of: cast(AwsClient, SimpleNamespace(call=partial(self._call, made_of[3]))),
        )

    def _call(self, service: Service, operation: str, payload: bytes, subject: Subject) -> bytes:
        if operation == "DescribeStream":
            self.described_ms.append(self.now_ms())
        reply = self._simulator.handle(f"{service.target}.{operation}", payload, self.now_ms())
        sleep(CALL_MS, operation)
        if reply.status != 200:
            self.throttled += b"Throttling" in reply.body
            raise refused(service, operation, subject, status=reply.status, headers={}, body=reply.body)
        return reply.body


def _prepare(_stream: TableStream) -> None:
    """Take the topic for made."""


def percentiles(times_ms: Collection[int]) -> str:
    """Return how long something took, in seconds."""
    ordered = sorted(times_ms)
    p50, p99 = (ordered[int(len(ordered) * part)] / 1000 for part in (0.5, 0.99))
    return f"p50 {p50:.1f} s, p99 {p99:.1f} s, max {ordered[-1] / 1000:.1f} s"
