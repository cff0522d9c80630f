"""Operations in simulated time, from a seed: rescales, switches and definers, beside claims that sleep and wake late.

The operations are the product's, on the models of the broker and its clients. Workers and sandboxes are played as
simply as the protocol allows: they claim with the product's machine, publish what the checkpoints do not cover, and are
fenced at any moment; the switch is between the two.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import msgspec
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import NewPartitions

from simulation.broker import Broker, Message, Partition
from simulation.clients import BlockingConsumer, ModelAdmin, ModelProducer, Network
from simulation.defects import defects_raised
from simulation.faults import Faults
from simulation.simulated_time import Host, Process, Schedule, sleep
from support.checkpoints import birth, lineage, shard
from support.lanes import NOW_MS, TABLE, page
from support.pipeline_file import write_file
from tailrace.config import LoadedPipeline, load
from tailrace.core.checkpoint import (
    ActiveMethod,
    Checkpoint,
    CheckpointKey,
    Claim,
    DefinitionRecord,
    MethodKey,
    MethodRecord,
    Write,
)
from tailrace.core.checkpoint_bytes import decode, encode_key, encode_record
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.claiming import CatchUp, ClaimCommand, drive, lane_claim
from tailrace.core.lane_messages import ProducerAnswer, Transaction
from tailrace.core.page import Page
from tailrace.core.shard import ShardRef, lane_of
from tailrace.core.shard_publisher import Failure, ShardPublisher
from tailrace.errors import WorldError
from tailrace.kafka import checkpoint_topic
from tailrace.kafka.checkpoint_topic import Follower
from tailrace.kafka.clients import Admin
from tailrace.kafka.producer_runner import ProducerRunner
from tailrace.operations import claims, definition, rescale, switch
from tailrace.operations.claims import ClaimLostError, HeldClaim
from tailrace.sources.dynamodb.policy import POLICY
from tailrace.wiring.pipeline import lane_suffix, make_producer, shard_suffix

_In = TypeVar("_In")
_Out = TypeVar("_Out")

NAME = "shop"
CHECKPOINTS = f"{NAME}.checkpoints"
CHANGES_TOPIC = "shop.orders"
OLD_LANES, NEW_LANES = 2, 3
SHARDS = [shard(number) for number in range(4)]
CHANGES = 20
"""Of each shard."""
FAULTS_END_AFTER_MS = 5 * 60_000
"""So that an operation that breaks off again and again ends."""
ENDS_AFTER_MS = 30 * 60_000
METHODS: tuple[ActiveMethod, ...] = ("worker", "lambda")

TABLES = (["orders"], ["users"], ["items"], ["orders", "users"])
"""What the files of definers name."""


class BrokenPromiseError(Exception):
    """Something was published twice, out of order or not at all, or a definition overruled another."""


class OperationHost(Host):
    """A host of an operation (`is_operator`) or of what claims beside it; it naps as long as there are faults."""

    def __init__(self, name: str, history: History, *, is_operator: bool) -> None:
        super().__init__(name, history.schedule, history.nap_ms)
        self.is_operator = is_operator
        self.history = history

    def make_producer(self, own: Mapping[str, Any]) -> ModelProducer:
        history = self.history
        beside = f" of {self.name}" if self.is_operator and not history.fences else ""
        return ModelProducer(
            history.broker,
            Network(self, history.faults, history.rng),
            own["transactional.id"] + beside,
            history.rng,
            faults=history.faults,
            checkpoint_topic=CHECKPOINTS,
            translate=lambda value: value,
            batch_bytes=int(own["batch.size"]),
        )


class History:
    """What all hosts of a history share, and what they may not do to what is published."""

    def __init__(self, seed: int, *, fences: bool = True) -> None:
        """`fences` false: the operation's producers have transactional ids of their own."""
        self.rng = random.Random(seed)
        self.fences = fences
        self.faults = Faults.drawn(self.rng)
        self.faults.stopped_follower = self.faults.buffer_full = 0
        self.schedule = Schedule(NOW_MS)
        self.broker = Broker(lambda: self.schedule.now_ms, lambda _topic, _message: False)
        self.broker.on_commit = self._check
        self.clients = Clients(self)
        self.published: dict[str, int] = defaultdict(int)
        """By shard, the last change that is published."""
        self.definitions: list[DefinitionRecord] = []
        self.partitions = OLD_LANES
        self.is_calm = False
        """The operation has ended: who loses a claim does not claim again, and there are no more faults."""
        self._hosts = 0
        self._every_second()
        self.schedule.after(FAULTS_END_AFTER_MS, self.faults.stop)

    # What runs

    def host(self, *, is_operator: bool = False) -> OperationHost:
        self._hosts += 1
        return OperationHost(f"host-{self._hosts}", self, is_operator=is_operator)

    def start(self, run: Callable[[], None], *, is_operator: bool = False) -> OperationHost:
        """Run code on a host of its own."""
        host = self.host(is_operator=is_operator)
        Process(host, "operation" if is_operator else "rival", run)
        return host

    def nap_ms(self, _host: Host, _step: str) -> int:
        return self.rng.randint(1_000, 90_000) if self.rng.random() < self.faults.nap * 2 else 0

    def write(self, writes: Iterable[Write]) -> None:
        for each in writes:
            message = Message(encode_key(each.key), encode_record(each.record), [])
            self.broker.write((CHECKPOINTS, each.partition), message)

    def operate(self, run: Callable[[], object]) -> None:
        """Run an operation; run it again when it breaks off or its host dies, until it succeeds."""

        def attempt() -> None:
            while True:
                with contextlib.suppress(WorldError):
                    run()
                    break
                sleep(self.rng.randint(100, 10_000), "Again")

        host = self.start(attempt, is_operator=True)
        if self.rng.random() < 0.3:
            self.schedule.after(self.rng.randint(10, 20_000), partial(self._replace, host, run))

    def _replace(self, host: OperationHost, run: Callable[[], object]) -> None:
        if not self.is_calm:
            host.die()
            self.operate(run)

    def calm_down(self) -> None:
        self.is_calm = True
        self.faults.stop()

    def play(self, is_over: Callable[[], bool]) -> None:
        """Let time pass until `is_over`, and for a while after. Raises BrokenPromiseError."""
        with defects_raised():
            while not is_over():
                assert self.schedule.now_ms < NOW_MS + ENDS_AFTER_MS, "the history does not end"
                self.schedule.run_until(self.schedule.now_ms + 1_000)
            self.schedule.run_until(self.schedule.now_ms + 120_000)

    def _every_second(self) -> None:
        self.broker.abort_old_transactions()
        self.schedule.after(1_000, self._every_second)

    # What is promised

    def _check(self, written: list[tuple[Partition, Message]]) -> None:
        for (topic, partition), message in written:
            if topic == CHANGES_TOPIC:
                name, _, number = (message.value or b"").decode().partition(":")
                _promise(int(number) == self.published[name] + 1, f"{name}: {number} after {self.published[name]}")
                self.published[name] += 1
            elif topic == CHECKPOINTS:
                _, record = decode(message.key, message.value, f"partition {partition}")
                if isinstance(record, DefinitionRecord):
                    self._check_definition(record)

    def _check_definition(self, record: DefinitionRecord) -> None:
        before = self.definitions[-1] if self.definitions else None
        if before is not None:
            _promise(record.generation == before.generation + 1, "two definitions of one generation")
            _promise(set(before.tables) <= set(record.tables), f"{before.tables} overruled by {record.tables}")
        self.definitions.append(record)

    @property
    def all_is_published(self) -> bool:
        return all(self.published[each.shard_id] == CHANGES for each in SHARDS)


def _promise(is_kept: bool, words: str) -> None:
    if not is_kept:
        raise BrokenPromiseError(words)


# Who claims beside


def work(history: History, lane: int, lanes: int) -> None:
    """Be a worker that has one lane, claims it again when it loses it, and publishes what is missing of its shards.

    One that was there before the operation ended leaves the lane to those that come after it.
    """
    is_early = not history.is_calm
    while True:
        try:
            with _hold_lane(lane, lanes, history) as (held, checkpoint_state):
                _publish_lane(history, held, checkpoint_state, lane)
                return
        except ClaimLostError:
            sleep(history.rng.randint(10, 5_000), "Wait")
            if history.is_calm and is_early:
                return
        except WorldError:
            return  # the pipeline was rescaled, or is another method's


@contextlib.contextmanager
def _hold_lane(lane: int, lanes: int, history: History) -> Iterator[tuple[HeldClaim, CheckpointState]]:
    checkpoint_state = CheckpointState(lanes)
    nonce = f"worker/{history.rng.random()}"
    writes = lane_claim(lane, lanes, Claim(owner="worker", nonce=nonce, at_ms=NOW_MS))
    with (
        closing(Follower({}, NAME, range(lanes), factory=history.clients)) as follower,
        claims.claim(
            loaded(lanes).pipeline,
            lane_suffix(lane),
            writes,
            shows=checkpoint_state.shows,
            follow=lambda is_over: follower.read_until(is_over, checkpoint_state.apply, 30),
            factory=history.clients,
        ) as held,
    ):
        checkpoint_topic.check_rescaled(NAME, checkpoint_state)
        checkpoint_topic.check_method(NAME, checkpoint_state.method_of(lane), "worker")
        yield held, checkpoint_state


def _publish_lane(history: History, held: HeldClaim, checkpoint_state: CheckpointState, lane: int) -> None:
    shards = [each for each in SHARDS if lane_of(each, checkpoint_state.lane_count) == lane]
    sequences = {each: _sequence(checkpoint_state, each) for each in shards}
    while left := [each for each, sequence in sequences.items() if sequence < CHANGES]:
        each = history.rng.choice(left)
        changes = _next_changes(history, each, sequences[each])
        sequences[each] = int(changes.last_sequence or 0)
        checkpoint = Checkpoint(
            table="orders", state="open", sequence=changes.last_sequence, created_ms=NOW_MS, at_ms=NOW_MS
        )
        held.commit(Transaction((changes,), (Write(lane, CheckpointKey(*each), checkpoint),)))
        sleep(history.rng.randint(100, 3_000), "Read")


def serve(history: History, each: ShardRef, lanes: int) -> None:
    """Be a sandbox of the Lambda function that is brought one shard's changes, from the first one on."""
    checkpoint_state = CheckpointState(lanes)
    owner = f"sandbox-{history.rng.random()}"
    publisher = ShardPublisher(each, owner, checkpoint_state, table=TABLE, source=POLICY, errors_fail=False)
    make = partial(make_producer, loaded(lanes).pipeline, shard_suffix(each), factory=history.clients)
    with (
        closing(Follower({}, NAME, [], factory=history.clients)) as follower,
        closing(ProducerRunner(make)) as producer,
    ):
        answered = 0
        while answered < CHANGES:
            batch = _next_changes(history, each, answered)
            failure = _publish_batch(publisher.publish([batch], NOW_MS), producer, follower, checkpoint_state)
            if failure is None:
                answered = int(batch.last_sequence or 0)
            elif failure.inactive:
                return
            sleep(history.rng.randint(50, 3_000), "Batch")


def _publish_batch(
    steps: Generator[ClaimCommand, ProducerAnswer | None, Failure | None],
    producer: ProducerRunner,
    follower: Follower,
    checkpoint_state: CheckpointState,
) -> Failure | None:
    def carry_out(command: ClaimCommand) -> ProducerAnswer | None:
        if not isinstance(command, CatchUp):
            return producer.carry_out(command, open_timeout_s=10, commit_timeout_s=20)
        follower.follow(command.partitions)
        follower.read_until(command.is_over, checkpoint_state.apply, 10)
        return None

    return drive(steps, carry_out)


def _sequence(checkpoint_state: CheckpointState, each: ShardRef) -> int:
    checkpoint = checkpoint_state.checkpoints.get(each)
    return int(checkpoint.sequence or 0) if checkpoint is not None else 0


def _next_changes(history: History, each: ShardRef, after: int) -> Page:
    last = min(CHANGES, after + history.rng.randint(1, 3))
    made = page(each, *range(after + 1, last + 1))
    records = [
        msgspec.structs.replace(record, value=f"{each.shard_id}:{record.origin.sequence}".encode(), partition=0)
        for record in made.records
    ]
    return msgspec.structs.replace(made, records=records)


# The histories


def play_rescale(seed: int, *, fences: bool = True) -> None:
    """Rescale while workers that nobody stopped still publish. Raises BrokenPromiseError."""
    history = History(seed, fences=fences)
    history.write([birth(OLD_LANES), *(lineage(each, OLD_LANES) for each in SHARDS)])

    def rescale_and_start() -> None:
        rescale.rescale(loaded(NEW_LANES), around=SimulatedProcess(history))
        history.calm_down()
        for lane in range(NEW_LANES):
            history.start(partial(work, history, lane, NEW_LANES))

    for _ in range(2):
        for lane in range(OLD_LANES):
            _start_later(history, partial(work, history, lane, OLD_LANES), 20_000)
    history.schedule.after(history.rng.randint(0, 15_000), lambda: history.operate(rescale_and_start))
    history.play(lambda: history.is_calm and history.all_is_published)


def play_switch(seed: int, *, fences: bool = True) -> None:
    """Switch from the workers to the function, or back, while both still publish. Raises BrokenPromiseError."""
    history = History(seed, fences=fences)
    before, after = history.rng.sample(METHODS, 2)
    mark = MethodRecord(method=before, nonce="first", at_ms=NOW_MS)
    history.write([birth(OLD_LANES), *(lineage(each, OLD_LANES) for each in SHARDS)])
    history.write(Write(lane, MethodKey(), mark) for lane in range(OLD_LANES))

    def start(method: ActiveMethod, within_ms: int) -> None:
        if method == "worker":
            for lane in range(OLD_LANES):
                _start_later(history, partial(work, history, lane, OLD_LANES), within_ms)
        else:
            for each in SHARDS:
                _start_later(history, partial(serve, history, each, OLD_LANES), within_ms)

    def switch_and_start() -> None:
        switch.switch(loaded(OLD_LANES), after, around=SimulatedProcess(history))
        history.calm_down()
        start(after, 1)

    start(before, 5_000)
    start(after, 20_000)
    history.schedule.after(history.rng.randint(0, 5_000), lambda: history.operate(switch_and_start))
    history.play(lambda: history.is_calm and history.all_is_published)


def play_definers(seed: int, *, fences: bool = True) -> None:
    """Start pipelines of one name and different files at about the same moment. Raises BrokenPromiseError."""
    history = History(seed, fences=fences)
    started = 4
    ended: list[DefinitionRecord | WorldError] = []

    def define(tables: list[str]) -> None:
        try:
            mine, around = loaded(OLD_LANES, tuple(tables)), SimulatedProcess(history)
            ended.append(definition.define(mine, "starter", accept_changes=False, around=around))
        except WorldError as error:
            ended.append(error)

    for _ in range(started):
        _start_later(history, partial(define, history.rng.choice(TABLES)), 300, is_operator=True)
    history.schedule.after(60_000, history.calm_down)
    history.play(lambda: len(ended) == started)
    for each in ended:
        _promise(isinstance(each, WorldError) or each in history.definitions, f"{each} was not recorded")


def _start_later(history: History, run: Callable[[], None], within_ms: int, *, is_operator: bool = False) -> None:
    def start() -> None:
        history.start(run, is_operator=is_operator)

    history.schedule.after(history.rng.randint(0, within_ms), start)


# The product's clients and clocks


@cache
def loaded(lanes: int, tables: tuple[str, ...] = ("orders",)) -> LoadedPipeline:
    """Return a pipeline as its file says."""
    with tempfile.TemporaryDirectory() as folder:
        file = write_file(Path(folder), {"bootstrap.servers": "simulated:9092"}, NAME, tables=tables, lanes=lanes)
        return load(file)


class OperationAdmin(ModelAdmin):
    """What `AdminClient` answers of the checkpoint topic and of the group, which has no members."""

    def __init__(self, history: History) -> None:
        super().__init__(history.broker, history.rng, history.faults)
        self._history = history

    def list_topics(self, _topic: str | None, timeout: float) -> SimpleNamespace:
        partitions = dict.fromkeys(range(self._history.partitions), SimpleNamespace(replicas=[1]))
        topic = SimpleNamespace(partitions=partitions)
        return SimpleNamespace(cluster_id="simulated", brokers={1: "simulated"}, topics={CHECKPOINTS: topic})

    def describe_consumer_groups(self, groups: list[str], **_: object) -> dict[str, Future[object]]:
        return {group: _answered(SimpleNamespace(members=[])) for group in groups}

    def create_partitions(self, asked: list[NewPartitions], **_: object) -> dict[str, Future[object]]:
        self._history.partitions = NEW_LANES
        return {each.topic: _answered(None) for each in asked}


def _answered(value: object) -> Future[object]:
    answer: Future[object] = Future()
    answer.set_result(value)
    return answer


class Clients:
    """Kafka's clients of all hosts of a history (`ClientFactory`): models of what they are declared to be."""

    def __init__(self, history: History) -> None:
        self._history = history

    def producer(self, _user: object, own: Mapping[str, Any]) -> Producer:
        assert isinstance(Host.current, OperationHost)
        return cast(Producer, Host.current.make_producer(own))

    def consumer(self, _user: object, own: Mapping[str, Any]) -> Consumer:
        history = self._history
        model = BlockingConsumer(
            history.broker,
            history.rng,
            history.faults,
            lambda: history.schedule.now_ms,
            lambda _topic, value: value,
            own=own,
        )
        return cast(Consumer, model)

    def admin(self, _user: object, _timeout_s: float = 0) -> Admin:
        return cast(Admin, OperationAdmin(self._history))

    def drop(self, client: Consumer) -> None:
        client.close()

    def monotonic_s(self) -> float:
        return self._history.schedule.now_ms / 1000


class SimulatedProcess:
    """What operations need of their process (`operations.surroundings.Surroundings`)."""

    def __init__(self, history: History) -> None:
        self.clients = history.clients
        self._schedule = history.schedule

    def now_ms(self) -> int:
        return self._schedule.now_ms

    def sleep(self, seconds: float) -> None:
        sleep(seconds * 1000, "Wait")

    def new_owner(self) -> str:
        assert Host.current is not None
        return f"{Host.current.name}:{self._schedule.now_ms}"

    def map(self, call: Callable[[_In], _Out], items: Iterable[_In], at_once: int) -> Iterator[_Out]:
        return map(call, items)
