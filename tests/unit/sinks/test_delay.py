"""A runner that carries records only once they are old enough, and one whose target takes no more for a while."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import Message

from support.sink_histories import PLACES, Process, World
from tailrace.kafka.watched_consumer import Place
from tailrace.sinks.contract import LaterError
from tailrace.sinks.progress import Limits, Position
from tailrace.sinks.runner import Runner

PLACE = PLACES[0]
DELAY_MS = 10_000


class Kept:
    """A target in memory."""

    identity = "kept"

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.is_away = False
        self._next: dict[Place, int] = {}
        self._open: list[int] = []

    def claim(self, place: Place, topic_id: str) -> Position | None:
        return Position(self._next[place], topic_id) if place in self._next else None

    def position(self, place: Place) -> Position | None:
        return self.claim(place, "id")

    def write(self, _place: Place, records: Sequence[Message]) -> None:
        self._open += [each.offset() or 0 for each in records]

    def is_full(self, _place: Place) -> bool:
        return False

    def commit(self, ends: Mapping[Place, int]) -> set[Place]:
        if self.is_away:
            raise LaterError("away")
        self._next.update(ends)
        self.offsets += self._open
        self._open = []
        return set()

    def release(self, _places: Iterable[Place]) -> None:
        self._open = []


class Play:
    """A runner with one partition; records have the time 0."""

    def __init__(self, delay_ms: int) -> None:
        self.target = Kept()
        self.world = World(0, lambda: self.target)
        self.world.others_go_on = lambda: None  # type: ignore[method-assign]
        self.now_ms = 0
        self.process = Process(self.world)
        self.runner = Runner(
            {},
            self.target,
            lambda _: True,
            Limits(1, 100),
            until_end=False,
            cluster=self.process,
            reader=self.process,
            make_member=self.process._member,
            delay_ms=delay_ms,
            now_ms=lambda: self.now_ms,
            epoch_ms=lambda: self.now_ms,
        )
        self.process.news = [(True, PLACE)]
        self.world.log.produce(PLACE, 5, commit=True)

    def until(self, now_ms: int) -> None:
        while self.now_ms < now_ms:
            self.runner.step()
            self.now_ms += 100


def test_a_record_is_carried_once_it_is_old_enough() -> None:
    play = Play(DELAY_MS)
    play.until(DELAY_MS)
    assert play.target.offsets == []
    play.until(DELAY_MS + 5_000)
    assert play.target.offsets == [0, 1, 2, 3, 4]


def test_what_the_target_does_not_take_is_read_again() -> None:
    play = Play(0)
    play.target.is_away = True
    play.until(10_000)
    assert play.target.offsets == []
    play.target.is_away = False
    play.until(20_000)
    assert play.target.offsets == [0, 1, 2, 3, 4]
