"""A mapper, the shards that it reads and a function, without sockets, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from support.stream_records import stream_record
from tailrace_simulator.event_source import (
    Answered,
    Discard,
    Errored,
    EventSourceMapping,
    Invoke,
    Mapper,
    Outcome,
    Probe,
    Read,
)
from tailrace_simulator.event_source.shard import ListedShard

START_MS = 1_700_000_000_000
STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:orders"
PAGE = 3

Function = Callable[[dict[str, Any]], Any]
"""What a test lets the function do: give an answer, or an `Outcome`."""


def sequence(number: int) -> str:
    return str(10**20 + number)


def record(number: int, created_ms: int = START_MS, key: str = "a", **more: Any) -> dict[str, Any]:
    """One record of GetRecords; its sequence number counts."""
    made = stream_record(number, sequence=sequence(number), created_s=created_ms / 1000, keys={"id": {"S": key}})
    return made | more


def numbers(event: dict[str, Any]) -> list[int]:
    """The records of an event, by their number."""
    return [int(each["dynamodb"]["SequenceNumber"]) - 10**20 for each in event["Records"]]


def failing_at(*bad: int) -> Function:
    """A function that raises when its batch holds one of these records."""

    def function(event: dict[str, Any]) -> Any:
        failed = set(bad) & set(numbers(event))
        return Errored("ValueError", request_id="r-1") if failed else {"state": {}}

    return function


def reporting(*bad: int) -> Function:
    """A function that reports these records when its batch holds them."""

    def function(event: dict[str, Any]) -> Any:
        held = [each["dynamodb"]["SequenceNumber"] for each in event["Records"]]
        failures = [{"itemIdentifier": sequence(each)} for each in bad if sequence(each) in held]
        return {"batchItemFailures": failures, "state": {"seen": len(held)}}

    return function


def records(count: int, **more: Any) -> list[dict[str, Any]]:
    return [record(number, **more) for number in range(1, count + 1)]


class Harness:
    """Carries out what the mapper says. `function` sees every event; `events` keeps them."""

    def __init__(
        self, function: Function | None = None, *, mapper: dict[str, Any] | None = None, **mapping: Any
    ) -> None:
        self.now_ms = START_MS
        self.function = function or (lambda event: {"state": event.get("state", {}), "batchItemFailures": []})
        self.mapping = EventSourceMapping(**mapping)
        self.options = {"stream_arn": STREAM, "function_arn": FUNCTION} | (mapper or {})
        self.mapper = Mapper(self.mapping, **self.options)
        self.shards: dict[str, list[dict[str, Any]]] = {}
        self.listing: dict[str, ListedShard] = {}
        self.events: list[dict[str, Any]] = []
        self.discards: list[Discard] = []
        self.probes: list[str] = []
        self.gone: set[str] = set()
        self.under_way: list[Invoke] = []
        self._latest: dict[str, str] = {}
        """Where LATEST was when it was asked for."""
        self.is_holding = False
        """Whether invocations stay under way until the test answers them."""

    def shard(self, shard_id: str, records: list[dict[str, Any]], *parents: str, closed: bool = False) -> None:
        self.shards[shard_id] = records
        self.listing[shard_id] = ListedShard(shard_id, parents, closed)

    def close(self, shard_id: str) -> None:
        self.listing[shard_id] = msgspec.structs.replace(self.listing[shard_id], closed=True)

    def pass_s(self, seconds: float) -> None:
        """Let time pass, a step at a time, doing what is due."""
        end_ms = self.now_ms + round(seconds * 1000)
        self.run()
        while self.now_ms < end_ms:
            self.now_ms = min(end_ms, self.now_ms + 50)
            self.run()

    def run(self) -> None:
        """Do what is due now, until nothing is."""
        self.mapper.listed(self.listing.values())
        while commands := self.mapper.due(self.now_ms):
            for command in commands:
                self._carry_out(command)

    def answer(self, invoke: Invoke, outcome: Outcome | None = None) -> None:
        """Let an invocation that is under way end."""
        self.under_way.remove(invoke)
        self.mapper.answered(invoke.number, outcome or self._outcome(self.events[invoke.number - 1]), self.now_ms)

    def delivered(self) -> list[list[int]]:
        """The records of each event, in the order of the invocations."""
        return [numbers(event) for event in self.events]

    def _carry_out(self, command: Read | Probe | Invoke | Discard) -> None:
        match command:
            case Read():
                records = self.shards[command.shard_id]
                after = {
                    "TRIM_HORIZON": "0",
                    "LATEST": self._latest.setdefault(command.shard_id, _last(records)),
                    "AFTER_SEQUENCE_NUMBER": command.position.sequence or "0",
                }[command.position.kind]
                rest = [each for each in records if int(each["dynamodb"]["SequenceNumber"]) > int(after)]
                is_end = self.listing[command.shard_id].closed and len(rest) <= PAGE
                self.mapper.page_read(command.shard_id, rest[:PAGE], self.now_ms, is_end=is_end)
            case Probe():
                self.probes.append(command.shard_id)
                self.mapper.probed(command.shard_id, exists=command.shard_id not in self.gone)
            case Invoke():
                self.events.append(msgspec.json.decode(command.event))
                self.under_way.append(command)
                if not self.is_holding:
                    self.answer(command)
            case Discard():
                self.discards.append(command)

    def _outcome(self, event: dict[str, Any]) -> Outcome:
        answer = self.function(event)
        return answer if isinstance(answer, Outcome) else Answered(msgspec.json.encode(answer))


def _last(records: list[dict[str, Any]]) -> str:
    return str(records[-1]["dynamodb"]["SequenceNumber"]) if records else "0"
