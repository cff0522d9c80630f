"""One lane of a snapshot worker: its claim, and the producer that publishes the chunks of its segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tailrace.core.checkpoint import Claim, SnapshotClaimKey, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.claiming import Claiming
from tailrace.core.lane_messages import Commit, Committed, OpenProducer, ProducerLost, ProducerOpened, Transaction
from tailrace.core.pacing import Backoff
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.kafka.producer_runner import ProducerRunner
from tailrace.snapshot.chunk import Chunk
from tailrace.snapshot.observer import SnapshotNotice, SnapshotNoticeKind, SnapshotObserver
from tailrace.snapshot.publisher import NotPublished, Published, Publisher
from tailrace.snapshot.window import Window

OPEN_TIMEOUT_S = 10.0
CATCH_UP_TIMEOUT_MS = 30_000
FENCED_PAUSE_MS = 5_000
"""Pause before a lane is claimed again that another worker fenced: the group will say whose it is."""
_BACKOFF = Backoff(base_ms=200, max_ms=20_000)


class SnapshotLane:
    """Claims the lane as a stream's lane is claimed (`core.claiming`), under a transactional id of its own.

    So a chunk that is aborted never costs the stream's lane its producer. For one thread.
    """

    def __init__(
        self,
        number: int,
        owner: str,
        make_producer: Callable[[int, int], LaneProducer],
        observer: SnapshotObserver,
        *,
        epochs: Iterator[int],
        jitter: Callable[[], float],
    ) -> None:
        """`make_producer(lane, epoch)` makes a producer that is not open yet."""
        self.number = number
        self.is_held = False
        """Whether nobody else publishes what this lane does, and all that was is read."""
        self.held_since_ms = 0
        self._owner = owner
        self._observer = observer
        self._producer = ProducerRunner(lambda epoch: make_producer(number, epoch))
        self._publisher = Publisher(number, self._producer)
        self._epochs = epochs
        self._jitter = jitter
        self._claiming: Claiming | None = None
        self._epoch = 0
        self._deadline_ms = 0
        self._losses = 0

    def claim(self, checkpoint_state: CheckpointState, now_ms: int) -> bool:
        """Take the next step to claim the lane, if it is time; return whether it is held."""
        if self.is_held:
            return True
        if self._claiming is None:
            if now_ms >= self._deadline_ms:
                self._begin(checkpoint_state, now_ms)
        elif self._claiming.look():
            self._claiming, self.is_held, self._losses = None, True, 0
            self.held_since_ms = now_ms
            self._tell(SnapshotNoticeKind.TAKEN, f"epoch {self._epoch}")
        elif now_ms >= self._deadline_ms:
            reason = f"the claim did not show within {CATCH_UP_TIMEOUT_MS} ms"
            self._lose(ProducerLost(self._epoch, fenced=True, reason=reason), now_ms)
        return self.is_held

    def publish(self, chunk: Chunk, window: Window, now_ms: int) -> Published | NotPublished:
        """Publish a chunk; the lane is lost unless it was surely committed."""
        answer = self._publisher.publish(self._epoch, chunk, window)
        if isinstance(answer, NotPublished):
            self._lose(answer.lost, now_ms)
        return answer

    def write(self, writes: tuple[Write, ...], now_ms: int) -> bool:
        """Commit records for the checkpoint topic; return whether they surely were. Otherwise the lane is lost."""
        answer = self._producer.carry_out(Commit(self._epoch, Transaction((), writes)), open_timeout_s=OPEN_TIMEOUT_S)
        if isinstance(answer, ProducerLost):
            self._lose(answer, now_ms)
        return isinstance(answer, Committed)

    def close(self) -> None:
        """Give the lane up; it may be claimed again."""
        self._producer.close()
        self._claiming, self.is_held = None, False

    def _begin(self, checkpoint_state: CheckpointState, now_ms: int) -> None:
        self._epoch = next(self._epochs)
        nonce = f"{self._owner}/{self.number}/{self._epoch}"
        claim = Claim(owner=self._owner, nonce=nonce, at_ms=now_ms)
        claiming = Claiming(self._epoch, (Write(self.number, SnapshotClaimKey(), claim),), checkpoint_state.shows)
        command: OpenProducer | Commit | None = claiming.open()
        while command is not None:
            answer = self._producer.carry_out(command, open_timeout_s=OPEN_TIMEOUT_S)
            if not isinstance(answer, ProducerOpened | Committed):
                assert isinstance(answer, ProducerLost)
                self._lose(answer, now_ms)
                return
            command = claiming.handle(answer)
        self._claiming = claiming
        self._deadline_ms = now_ms + CATCH_UP_TIMEOUT_MS

    def _lose(self, lost: ProducerLost, now_ms: int) -> None:
        self.close()
        self._losses += 1
        pause_ms = FENCED_PAUSE_MS if lost.fenced else _BACKOFF.pause_ms(self._losses, self._jitter())
        self._deadline_ms = now_ms + (0 if lost.refusals or lost.learned else pause_ms)
        self._tell(SnapshotNoticeKind.LOST, lost.reason)

    def _tell(self, kind: SnapshotNoticeKind, detail: str) -> None:
        self._observer.notice(SnapshotNotice(kind, detail, lane=self.number))
