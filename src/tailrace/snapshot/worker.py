"""The snapshot worker: reads and publishes the segments of its lanes.

It is a member of a consumer group of its own, `<name>.snapshot`, over the partitions of the checkpoint topic. So it
runs beside any method: beside the lanes of a worker, or (`tailrace run --snapshot-only`) beside the Lambda function.

    follower, group ──> worker's thread ──> reader pool (Scan, conversion)
                          │      ^──────────── chunks ──┘
                          └──> window, producers (commit)

One thread does all but the reads. A chunk waits in memory until its barrier has passed (`core.barrier`), and is then
published with its segment's cursor in one transaction (`snapshot.publisher`).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue

import msgspec
from confluent_kafka import KafkaException

from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.ports import ReadError, ReadFailure
from tailrace.errors import TailraceError
from tailrace.kafka import checkpoint_topic, clients
from tailrace.kafka.checkpoint_topic import Follower
from tailrace.process.host import Host
from tailrace.snapshot.chunk import Chunk
from tailrace.snapshot.coordinator import Coordinator, has_work
from tailrace.snapshot.lane import SnapshotLane
from tailrace.snapshot.observer import SnapshotObserver
from tailrace.snapshot.parts import SnapshotParts
from tailrace.snapshot.publisher import NotPublished
from tailrace.snapshot.segments import Failed, Read, Segments

logger = logging.getLogger("tailrace.snapshot")

COORDINATE_MS = 1_000
"""Time between two looks at what is to be started or ended."""
IDLE_WAIT_S = 0.2
BUSY_WAIT_S = 0.02


class SnapshotWorker:
    """One snapshot worker. `run` blocks until `stop`."""

    def __init__(
        self,
        parts: SnapshotParts,
        observer: SnapshotObserver,
        *,
        owner: str,
        host: Host,
        on_replaced: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_replaced` hears of each Kafka client that had stopped and was replaced."""
        self._parts = parts
        self._observer = observer
        self._owner = owner
        self._host = host
        self._on_replaced = on_replaced
        self._stopped = host.event()
        self.has_joined = False
        """Whether it is a member of the group; some other member may have all the lanes."""
        self.stepped_s: float | None = None
        """When it last went round, by the host's monotonic time; None before and after `run`."""
        self._answers: SimpleQueue[Chunk | Failed] = host.queue()
        self.checkpoint_state = CheckpointState(parts.lane_count)
        """What the checkpoint topic shows; only for the thread of `run`."""
        self._lanes: dict[int, SnapshotLane] = {}
        self._segments = Segments(parts, observer, host, partial(on_replaced, "window"))
        self._coordinator = Coordinator(parts, observer, host.random)
        self._coordinate_ms = 0
        self._epochs = itertools.count(1)
        self._readers = host.pool("snapshot-reader", parts.reader_count)

    def stop(self) -> None:
        """End `run` soon; does not wait."""
        self._stopped.set()

    def run(self, is_over: Callable[[CheckpointState], bool] = lambda _: False) -> None:
        """Work until stopped, or until `is_over`. Raises what was fatal: a rescaled pipeline, no right to join."""
        follower = self._parts.follower(partial(self._on_replaced, "follower of snapshots"))
        membership = self._parts.membership(
            self._owner,
            self._assigned,
            self._revoked,
            self._revoked,
            partial(self._on_replaced, "member of snapshots"),
        )
        try:
            membership.join()
            while not (self._stopped.is_set() or is_over(self.checkpoint_state)):
                self.stepped_s = self._host.monotonic_s()
                for followed in follower.poll(0):
                    self.checkpoint_state.apply(*followed)
                    self._segments.note(followed.key)
                checkpoint_topic.check_rescaled(self._parts.name, self.checkpoint_state)
                membership.poll(0)
                try:
                    self._step(follower)
                except KafkaException as error:
                    clients.tell(error.args[0])
                self._await_answers()
        except _StoppedError:
            pass
        finally:
            self.stepped_s = None
            for lane in self._lanes.values():
                lane.close()
            self._segments.close()
            self._readers.stop()
            membership.leave()
            follower.close()

    # The group

    def _assigned(self, lanes: list[int]) -> None:
        self.has_joined = True
        for number in lanes:
            self._lanes[number] = SnapshotLane(
                number,
                self._owner,
                self._parts.producer,
                self._observer,
                epochs=self._epochs,
                jitter=self._host.random,
            )

    def _revoked(self, lanes: list[int]) -> None:
        """Give lanes up: no transaction is under way, as this is the thread that commits."""
        for number in lanes:
            if lane := self._lanes.pop(number, None):
                self._give_up(lane)

    # Steps

    def _step(self, follower: Follower) -> None:
        """Do what is due. What waits for Kafka or AWS may take seconds: none of it begins once this is to stop."""
        self._segments.follow(self.checkpoint_state, self._lanes.keys())
        for lane in self._lanes.values():
            self._check_stopped()
            self._hold_or_close(lane)
        self._check_stopped()
        whole_ms = self._whole_ms(follower)
        self._coordinate(whole_ms)
        self._cancel()
        held = {number for number, lane in self._lanes.items() if lane.is_held}
        for read in self._segments.reads_due(self.checkpoint_state, held):
            self._readers.submit(partial(self._read, read))
        self._segments.read_windows()
        for chunk in self._segments.publishable(self.checkpoint_state, held, whole_ms):
            self._check_stopped()
            self._publish(chunk)

    def _check_stopped(self) -> None:
        if self._stopped.is_set():
            raise _StoppedError

    def _whole_ms(self, follower: Follower) -> int:
        """Return up to when the checkpoint state surely shows all that was committed; 0: not yet known."""
        if follower.whole_s is None:
            return 0
        return self._host.now_ms() - round((self._host.monotonic_s() - follower.whole_s) * 1000)

    def _hold_or_close(self, lane: SnapshotLane) -> None:
        """Claim a lane that has work; what was read before is then read again behind what is committed."""
        now_ms = self._host.now_ms()
        coordinates = lane.number == 0 and has_work(self._parts, self.checkpoint_state, now_ms)
        if not (coordinates or self._segments.are_in(lane.number)):
            if lane.is_held:
                self._give_up(lane)
        elif not lane.is_held and lane.claim(self.checkpoint_state, now_ms):
            self._segments.restart(lane.number)

    def _give_up(self, lane: SnapshotLane) -> None:
        lane.close()
        self._segments.restart(lane.number)
        if lane.number == 0:
            self._coordinator.forget()

    def _coordinate(self, whole_ms: int) -> None:
        """Start and end snapshots, now and then; what the coordinator before wrote in any lane is read by then."""
        lane, now_ms = self._lanes.get(0), self._host.now_ms()
        if lane is None or not lane.is_held or whole_ms <= lane.held_since_ms or now_ms < self._coordinate_ms:
            return
        self._coordinate_ms = now_ms + COORDINATE_MS
        writes = self._coordinator.next_writes(self.checkpoint_state, now_ms, whole_ms)
        if writes and not lane.write(writes, now_ms):
            self._coordinator.forget()

    def _cancel(self) -> None:
        """End the segments of cancelled snapshots: only then the coordinator writes how a snapshot ended."""
        for number, lane in self._lanes.items():
            self._check_stopped()
            writes = self._segments.cancellations(number) if lane.is_held else ()
            if writes and lane.write(writes, self._host.now_ms()):
                self._segments.cancelled(number, writes)

    def _publish(self, chunk: Chunk) -> None:
        lane = self._lanes[chunk.segment.lane(self._parts.lane_count)]
        if not lane.is_held:
            return  # lost with the chunk before
        answer = lane.publish(chunk, self._segments.window_of(chunk), self._host.now_ms())
        if isinstance(answer, NotPublished):
            self._segments.refused(chunk, answer)
        else:
            self._segments.published(chunk, answer, self._host.monotonic_s() - chunk.asked_s)

    # Reading

    def _read(self, read: Read) -> None:
        """Read a chunk, in a reader's thread; answer whatever happens."""
        began_s = self._host.monotonic_s()
        answer: Chunk | Failed
        try:
            chunk = read.reader.read(read.segment, read.record, read.mark)
            answer = msgspec.structs.replace(chunk, asked_s=began_s)
        except ReadError as error:
            answer = Failed(read.segment, read.mark, error.failure, str(error))
        except TailraceError as error:
            answer = Failed(read.segment, read.mark, ReadFailure.UNAVAILABLE, str(error))
        except Exception as error:
            logger.exception("reading rows of table %s failed; this is a defect of Tailrace", read.segment.table)
            answer = Failed(read.segment, read.mark, ReadFailure.UNAVAILABLE, f"{type(error).__name__}: {error}")
        if isinstance(answer, Failed):
            self._observer.read_failed(read.segment.table, answer.failure, self._host.monotonic_s() - began_s)
        self._answers.put(answer)

    def _await_answers(self) -> None:
        """Take in what was read, waiting a little for the first."""
        with contextlib.suppress(Empty):
            self._segments.take_in(self._answers.get(timeout=BUSY_WAIT_S if self._segments.any else IDLE_WAIT_S))
            while True:
                self._segments.take_in(self._answers.get_nowait())


class _StoppedError(Exception):
    """The worker was stopped in the midst of a step."""
