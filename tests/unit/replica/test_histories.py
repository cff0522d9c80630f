"""Copies of tables in simulated time: writers interleaved, frozen inside any request, killed and replaced."""

from __future__ import annotations

import json
from random import Random
from typing import Any, Literal
from unittest.mock import patch

import pytest
from confluent_kafka import Message

from support.replica_target import Inline, Target
from support.sink_histories import PLACES, KilledError, World
from tailrace.core.write_rate import WriteRate
from tailrace.errors import RecordError, WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.replica.control import Control, Progress
from tailrace.replica.records import Copy, ItemWrite, Reading
from tailrace.replica.requests import Request, Versioned, transaction
from tailrace.replica.sink import PATIENCE_MS, ReplicaSink, _Claimed
from tailrace.replica.writer import Writer
from tailrace.sinks.contract import LaterError

SEEDS = 40
ITEMS = 100
Mode = Literal["version", "transaction"]
COPY = Copy("orders", "orders-dr", {"id": "S"}, "expires")


class Letters:
    def set_aside(self, record: Message, error: RecordError) -> None:
        raise AssertionError(error)

    def flush(self) -> None:
        pass


class Records(Reading):
    """What a record asks for follows from where it is."""

    def __init__(self, base: int) -> None:
        self._base = base

    def write_of(self, message: Message, copy: Copy) -> ItemWrite:
        place, offset = Place(message.topic() or "", message.partition() or 0), message.offset() or 0
        name, is_delete = state_of(place, offset)
        keys = json.dumps({"id": {"S": name}})
        item = json.dumps({"id": {"S": name}, "at": {"N": str(self._base + offset)}})
        return ItemWrite(copy, name, keys.encode(), None if is_delete else item.encode(), offset, message)


def state_of(place: Place, offset: int) -> tuple[str, bool]:
    random = Random(f"{place.partition} {offset}")
    return f"{place.partition}-{random.randrange(ITEMS)}", random.random() < 0.3


class History:
    """Worlds with one target: each after the first has a topic that was made again."""

    def __init__(self, seed: int, mode: Mode, topics: int = 1) -> None:
        self.target = Target(Random(seed))
        self.wanted: dict[str, int] = {}
        self.fenced = 0
        for number in range(topics):
            self._play(seed * 10 + number, mode, number * 1_000)
            self.target.deliver("control")
            self.target.tables["control"].pop("topic t", None)  # what who begins again with a topic does

    def _play(self, seed: int, mode: Mode, base: int) -> None:
        def make_sink() -> ReplicaSink:
            def sleep(duration_s: float) -> None:
                world.now_ms += max(1, round(duration_s * 1000))

            return ReplicaSink(
                Control(self.target, "control", lambda: 0),
                Writer(
                    self.target.carry_out,
                    Inline(),
                    4,
                    WriteRate(None, 0),
                    now_ms=lambda: world.now_ms,
                    sleep=sleep,
                    random=Random(seed),
                ),
                Records(base),
                identity="replica",
                copy_of=lambda _: COPY,
                partitions_of=lambda _: len(PLACES),
                set_aside=Letters(),
                versioned=Versioned("v", 1 << 40) if mode == "version" else None,
                now_ms=lambda: world.now_ms,
            )

        world = World(seed, make_sink)
        world.log.compact = lambda *_: None  # type: ignore[method-assign]  # it would take what is newest of an item
        self.target.is_calm = False
        self.target.interrupt = lambda: self._interrupt(world)
        world.run()
        self.fenced += world.fenced
        for place, records in world.log.records.items():
            for offset in sorted(records):
                name, is_delete = state_of(place, offset)
                self.wanted.pop(name, None)
                if not is_delete:
                    self.wanted[name] = base + offset

    def _interrupt(self, world: World) -> None:
        self.target.is_calm = world.is_calm
        if not world.is_calm and world.random.random() < 0.02:
            raise KilledError
        world.others_go_on()

    def faults(self) -> list[str]:
        self.target.deliver()
        items = self.target.tables.get("orders-dr", {})
        found = {name: int(item["at"]["N"]) for name, item in items.items() if "at" in item}
        said = list(self.target.went_back)
        if found != self.wanted:
            said.append(f"{found} instead of {self.wanted}")
        return said


@pytest.mark.parametrize("mode", ["version", "transaction"])
def test_copies_are_equal_in_the_end_and_no_item_ever_goes_back(mode: Mode) -> None:
    fenced = 0
    for seed in range(SEEDS):
        history = History(seed, mode)
        assert history.faults() == [], f"seed {seed}"
        fenced += history.fenced
    assert fenced > SEEDS / 10


def test_a_topic_that_was_made_again_counts_from_zero_and_is_newer_all_the_same() -> None:
    for seed in range(SEEDS // 3):
        assert History(seed, "version", topics=2).faults() == [], f"seed {seed}"


# Planted faults


def _write_whatever_is_there(self: Versioned, write: ItemWrite, epoch: int, now_ms: int) -> Request:
    made = _request(self, write, epoch, now_ms)
    payload = json.loads(made.payload)
    del payload["ConditionExpression"]
    return made._replace(payload=json.dumps(payload).encode())


def _forget_deleted_items(self: Versioned, write: ItemWrite, epoch: int, now_ms: int) -> Request:
    made = _request(self, write, epoch, now_ms)
    if write.item is not None:
        return made
    payload = json.loads(made.payload)
    payload["Key"] = {"id": payload.pop("Item")["id"]}
    return made._replace(operation="DeleteItem", payload=json.dumps(payload).encode())


def _version_of_the_clock(self: Versioned, write: ItemWrite, epoch: int, now_ms: int) -> Request:
    made = _request(self, write, epoch, now_ms)
    payload = json.loads(made.payload)
    clock = {"S": f"{now_ms:020}"}
    payload["Item"][self.attribute] = payload["ExpressionAttributeValues"][":v"] = clock
    return made._replace(payload=json.dumps(payload).encode())


def _move_first(self: ReplicaSink, place: Place, claimed: _Claimed, chunk: Any, versioned: Versioned) -> None:
    self._move(place, claimed, chunk.writes, chunk.next_offset)
    asked = [versioned.request(write, claimed.topic.epoch, self._now_ms()) for write in chunk.writes]
    if None in self._writer.carry_out(asked, PATIENCE_MS):
        raise LaterError


def _move_without_owner(self: Control, *place: Any, before: int | None) -> dict[str, Any]:
    update = _move(self, *place, before=before)
    del update["ConditionExpression"]
    return update


def _move_apart(self: ReplicaSink, place: Place, claimed: _Claimed, writes: Any, next_offset: int) -> None:
    """Write the items in a transaction of their own, then the position."""
    nothing = {"TableName": "control", "Key": {"id": {"S": "x"}}, "UpdateExpression": "SET a = :a"}
    nothing["ExpressionAttributeValues"] = {":a": {"S": ""}}
    self._writer.carry_out([transaction(writes, nothing)], PATIENCE_MS)
    self._move(place, claimed, writes, next_offset)


_request, _move = Versioned.request, Control.move
FAULTS: dict[str, tuple[Mode, int, type, str, object]] = {
    "an unconditional write": ("version", 1, Versioned, "request", _write_whatever_is_there),
    "a version from time alone": ("version", 1, Versioned, "request", _version_of_the_clock),
    "a delete that leaves no marker": ("version", 1, Versioned, "request", _forget_deleted_items),
    "a position before the items": ("version", 1, ReplicaSink, "_write_versions", _move_first),
    "offsets without an epoch": ("version", 2, Control, "_new_epoch", lambda _: 1),
    "a position that anyone moves": ("transaction", 1, Control, "move", _move_without_owner),
    "items apart from the position": ("transaction", 1, ReplicaSink, "_write_together", _move_apart),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    mode, topics, owner, name, planted = FAULTS[fault]
    with patch.object(owner, name, planted):
        assert any(_breaks(seed, mode, topics) for seed in range(SEEDS))


def _breaks(seed: int, mode: Mode, topics: int) -> bool:
    try:
        return bool(History(seed, mode, topics).faults())
    except (AssertionError, WorldError):  # it does not come to an end
        return True


def test_a_position_says_how_far_the_copy_is() -> None:
    target = Target(Random(0))
    target.is_calm = True
    control = Control(target, "control", lambda: 0)
    topic = control.topic("t", "id", 2)
    assert control.claim(PLACES[0], topic.epoch, "one") is None
    first = Progress(5, 1, 2)
    target.ask("UpdateItem", control.move(PLACES[0], topic.epoch, "one", first, before=None), dict[str, Any])
    assert control.claim(PLACES[0], topic.epoch, "two") == first
    assert control.owned(PLACES[0], topic.epoch, "one") is False
