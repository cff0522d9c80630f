"""Carries out the steps of a schedule, and undoes what lasts only for a while."""

from __future__ import annotations

import heapq
import itertools
import random
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import cpu_count

from confluent_kafka import KafkaException

from chaos.crew import Crew, Member
from chaos.schedule import Kind, Step
from chaos.snapshots import SnapshotOrders
from chaos.sources import TABLES
from chaos.take_overs import TakeOvers
from chaos.world import World
from support.proxy import (
    ADD_PARTITIONS_TO_TXN,
    END_TXN,
    FETCH,
    HEARTBEAT,
    INIT_PRODUCER_ID,
    JOIN_GROUP,
    PRODUCE,
    SYNC_GROUP,
    Connection,
    Dropped,
)
from tailrace.local.kafka import KafkaBroker

PURPOSES: dict[str, tuple[int, ...]] = {
    "to the group coordinator": (JOIN_GROUP, SYNC_GROUP, HEARTBEAT),
    "to a transaction coordinator": (INIT_PRODUCER_ID, ADD_PARTITIONS_TO_TXN, END_TXN),
    "to a partition leader": (PRODUCE,),
    "of a checkpoint reader": (FETCH,),
}
"""What a connection is for, by the requests that it has carried: librdkafka has one for each coordinator and leader."""

_HOGS_PER_CPU = 3
_SLOW_S = 0.3
_ANSWER_DELAYS_S = (0.02, 0.5)
_COMMIT_COMES_S = 20.0
_BROKER_S = 240.0
_REPLICAS_S = 240.0
"""Nothing is promised of how long brokers take to come back; a busy machine is slow."""


class Saboteur:
    """For one thread; what takes long goes on in others. `done` counts what was done, in words."""

    def __init__(
        self,
        world: World,
        crew: Crew,
        orders: SnapshotOrders,
        take_overs: TakeOvers,
        published: Callable[[], int],
    ) -> None:
        self.done: Counter[str] = Counter()
        self.errors: list[str] = []
        """What could not be done, though it must be."""
        self.kills = 0
        self.kills_of_publishers = 0
        """Kills of workers that had committed changes themselves."""
        self.published_between_kills: list[int] = []
        self.broker_kills = 0
        self.late_commits: Counter[str] = Counter()
        """What the broker said to first copies of commits that came late."""
        self._world = world
        self._crew = crew
        self._orders = orders
        self._take_overs = take_overs
        self._published = published
        self._published_before = 0
        self._undo: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._lifting = threading.Event()
        self._brokers = ThreadPoolExecutor(1, "brokers")
        self._beside = ThreadPoolExecutor(4, "late commits")
        self._operator = ThreadPoolExecutor(1, "operator")
        self._under_way: list[Future[None]] = []

    def carry_out(self, step: Step) -> None:
        """Do what a step says, if there is something that it can be done to."""
        rng = random.Random(step.which)
        match step.kind:
            case Kind.KILL | Kind.STOP | Kind.FREEZE | Kind.DOZE | Kind.JOIN | Kind.CLOCK:
                self._meet_worker(step, rng)
            case Kind.BROKER_KILL | Kind.BROKER_RESTART | Kind.BROKER_HUNGER | Kind.BROKER_FREEZE:
                broker = rng.choice(self._world.cluster.brokers)
                self._in_thread(self._brokers, lambda: self._meet_broker(step, broker))
            case Kind.LEADERS:
                self._in_thread(self._brokers, self._elect_leaders)
            case Kind.CUT | Kind.DELAY | Kind.HOLE | Kind.SLOW_BROKERS:
                self._meet_connection(step, rng)
            case Kind.COMMIT_UNHEARD | Kind.COMMIT_LATE:
                self._meet_commit(step, rng)
            case Kind.SPLIT | Kind.ROLLOVER | Kind.MERGE | Kind.TRIM:
                self.done[step.kind] += self._world.source.alter(self._world.simulator, step.kind, rng)
            case Kind.SNAPSHOT | Kind.SNAPSHOT_PAUSE | Kind.SNAPSHOT_CANCEL:
                tables = rng.sample(TABLES, len(TABLES))
                self._in_thread(self._operator, lambda: self._order(step, tables))

    def undo_what_is_over(self) -> None:
        """Undo what has lasted long enough."""
        while self._undo and self._undo[0][0] <= time.monotonic():
            heapq.heappop(self._undo)[2]()

    def lift_all(self) -> None:
        """Undo everything, and return when no fault is left and every broker works."""
        self._lifting.set()
        while self._undo:
            heapq.heappop(self._undo)[2]()
        for future in self._under_way:
            future.result()
        for proxy in self._world.proxies:
            proxy.forget_losses()

    def close(self) -> None:
        """Begin nothing more."""
        self._lifting.set()
        for pool in (self._brokers, self._beside, self._operator):
            pool.shutdown(cancel_futures=True)

    # Workers

    def _meet_worker(self, step: Step, rng: random.Random) -> None:
        crew = self._crew
        if step.kind is Kind.JOIN:
            extra = crew.start_extra()
            self._later(step.seconds, lambda: self._stop_if_there(extra))
            self.done[step.kind] += 1
            return
        settled = [member for member in crew.members if member.is_settled]
        if step.kind is Kind.KILL:
            candidates = crew.victims()
        elif step.kind is Kind.STOP:
            candidates = [member for member in settled if not member.is_veteran]
        else:
            candidates = settled
        if not candidates:
            return
        member = rng.choice(candidates)
        self.done[step.kind] += 1
        match step.kind:
            case Kind.KILL:
                self._kill(member)
                self._later(step.seconds, crew.fill)
            case Kind.STOP:
                crew.stop(member)
                self._later(step.seconds, crew.fill)
            case Kind.FREEZE | Kind.DOZE:
                crew.freeze(member)
                self._later(step.seconds, lambda: crew.thaw(member))
            case Kind.CLOCK:
                crew.set_clock(member, step.seconds)

    def _kill(self, member: Member) -> None:
        published = self._published()
        self.published_between_kills.append(published - self._published_before)
        self._published_before = published
        self.kills += 1
        self.kills_of_publishers += self._crew.published(member) > 0
        self._take_overs.killed(member.process.pid, time.monotonic())
        self._crew.kill(member)

    def _stop_if_there(self, member: Member) -> None:
        if member in self._crew.members:
            self._crew.thaw(member)
            self._crew.stop(member)

    # Brokers

    def _meet_broker(self, step: Step, broker: KafkaBroker) -> None:
        """Two replicas of three are enough: a broker is met only while all are in sync."""
        if not self._wait_for_replicas():
            return
        self.done[step.kind] += 1
        match step.kind:
            case Kind.BROKER_KILL:
                self.broker_kills += 1
                broker.kill()
                self._lifting.wait(step.seconds)
                broker.spawn()
            case Kind.BROKER_RESTART:
                broker.stop()
                broker.spawn()
            case Kind.BROKER_HUNGER:
                with _hunger():
                    broker.stop()
                    broker.spawn()
                    broker.wait_until_ready(_BROKER_S)
                    self._lifting.wait(step.seconds)
            case Kind.BROKER_FREEZE:
                broker.freeze()
                self._lifting.wait(step.seconds)
                broker.resume()
        broker.wait_until_ready(_BROKER_S)
        self._wait_for_replicas()

    def _wait_for_replicas(self) -> bool:
        """Wait until every replica is in sync; False when the faults are to end first."""
        deadline_s = time.monotonic() + _REPLICAS_S
        while time.monotonic() < deadline_s:
            try:
                if self._world.full_replicas():
                    return not self._lifting.is_set()
            except KafkaException:
                pass  # no broker answered in time
            if self._lifting.wait(1.0):
                return False
        raise TimeoutError(f"not every replica was in sync within {_REPLICAS_S:.0f} s")

    def _elect_leaders(self) -> None:
        if not self._wait_for_replicas():
            return
        try:
            self._world.elect_leaders()
        except KafkaException:
            return  # every leader is the preferred one already
        self.done[Kind.LEADERS] += 1

    # Connections

    def _meet_connection(self, step: Step, rng: random.Random) -> None:
        if step.kind is Kind.SLOW_BROKERS:
            slowed = self._connections((PRODUCE,))
            for each in slowed:
                each.delay_s = _SLOW_S
            self._later(step.seconds, lambda: _quicken(slowed))
            self.done[step.kind] += 1
            return
        purpose = rng.choice(list(PURPOSES))
        candidates = self._connections(PURPOSES[purpose])
        if not candidates:
            return
        connection = rng.choice(candidates)
        self.done[f"{step.kind} {purpose}"] += 1
        match step.kind:
            case Kind.CUT:
                connection.cut()
            case Kind.DELAY:
                connection.delay_s = rng.uniform(*_ANSWER_DELAYS_S)
                self._later(step.seconds, lambda: _quicken([connection]))
            case Kind.HOLE:
                connection.black_hole()
                self._later(step.seconds, connection.pass_again)

    def _connections(self, api_keys: tuple[int, ...]) -> list[Connection]:
        return [each for proxy in self._world.proxies for each in proxy.connections(*api_keys)]

    def _meet_commit(self, step: Step, rng: random.Random) -> None:
        candidates = [proxy for proxy in self._world.proxies if proxy.connections(END_TXN)]
        if not candidates:
            return
        proxy = rng.choice(candidates)
        if step.kind is Kind.COMMIT_UNHEARD:
            proxy.lose_answer(END_TXN)
            self.done[step.kind] += 1
            return
        dropped = proxy.drop_request(END_TXN, cut=True)
        self._in_thread(self._beside, lambda: self._deliver_late(dropped, step.seconds))

    def _deliver_late(self, dropped: Dropped, after_s: float) -> None:
        if not dropped.happened.wait(_COMMIT_COMES_S):
            return
        self.done[Kind.COMMIT_LATE] += 1
        time.sleep(after_s)
        try:
            answer = dropped.deliver_late()
        except OSError:
            return  # the broker is down: it never comes
        if len(answer) >= 6:
            (error,) = struct.unpack_from(">h", answer, 4)
            self.late_commits["refused" if error else "accepted"] += 1

    # Snapshots

    def _order(self, step: Step, tables: list[str]) -> None:
        match step.kind:
            case Kind.SNAPSHOT:
                self.done[step.kind] += self._orders.start(tables)
            case Kind.SNAPSHOT_CANCEL:
                self.done[step.kind] += self._orders.cancel(tables)
            case Kind.SNAPSHOT_PAUSE if (table := self._orders.pause(tables)) is not None:
                self.done[step.kind] += 1
                self._lifting.wait(step.seconds)
                self._orders.resume(table)

    # Time

    def _later(self, seconds: float, undo: Callable[[], object]) -> None:
        heapq.heappush(self._undo, (time.monotonic() + seconds, next(self._numbers), undo))

    def _in_thread(self, pool: ThreadPoolExecutor, work: Callable[[], None]) -> None:
        def tried() -> None:
            try:
                work()
            except Exception as error:  # told in the verdict
                self.errors.append(f"{type(error).__name__}: {error}")

        self._under_way = [each for each in self._under_way if not each.done()]
        self._under_way.append(pool.submit(tried))


@contextmanager
def _hunger() -> Iterator[None]:
    """Let other programs burn CPU: clients and brokers then meet each other at moments at which they seldom do."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(_HOGS_PER_CPU * cpu_count())]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def _quicken(connections: list[Connection]) -> None:
    for each in connections:
        each.delay_s = 0.0
