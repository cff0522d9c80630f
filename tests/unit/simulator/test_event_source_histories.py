"""Whatever a history brings: every record reaches the function in order, or the destination. From seeds."""

from __future__ import annotations

import random
from typing import Any

import pytest

from support.event_source import START_MS, Harness, numbers, record, sequence
from tailrace_simulator.event_source import Errored, Hostility, NotInvoked, Unknown

SHARDS = {
    "shardId-1": (),
    "shardId-2": (),
    "shardId-3": ("shardId-1",),
    "shardId-4": ("shardId-1",),
    "shardId-5": ("shardId-3", "shardId-2"),
}
RECORDS = 40
KEYS = "abcdef"


class History:
    """A mapping, a hostile mapper, and a function that fails now and then, all drawn from a seed."""

    def __init__(self, seed: int) -> None:
        rng = self._random = random.Random(seed)
        windowed = rng.random() < 0.5
        self.poison = set(rng.sample(range(1, 6 * 1000), 12)) if rng.random() < 0.5 else set()
        self.done: list[int] = []
        """The records of which the function answered that they are done, in the order of the answers."""
        self.harness = Harness(
            self._function,
            batch_size=rng.choice([1, 3, 10]),
            maximum_batching_window_s=rng.choice([0, 1]),
            tumbling_window_s=rng.choice([5, 60]) if windowed else 0,
            parallelization_factor=1 if windowed else rng.choice([1, 3]),
            bisect_batch_on_function_error=rng.random() < 0.5,
            maximum_retry_attempts=rng.choice([0, 2, 5]) if self.poison else -1,
            report_batch_item_failures=rng.random() < 0.5,
            on_failure="sqs",
            mapper={
                "seed": seed,
                "hostility": Hostility(
                    duplicate=0.1, lost=0.1, throttle=0.1, short=0.3, rewind=0.1, final_with_records=0.3
                ),
                "lost_after_ms": 200,
            },
        )
        self.records: dict[str, list[int]] = {}
        for place, (shard_id, parents) in enumerate(SHARDS.items()):
            self.records[shard_id] = [place * 1000 + number for number in range(1, RECORDS + 1)]
            rows = [
                record(number, START_MS + (number % 1000) * 500, key=rng.choice(KEYS))
                for number in self.records[shard_id]
            ]
            self.harness.shard(shard_id, rows, *parents, closed=True)

    def play(self) -> None:
        for _ in range(3000):
            self.harness.pass_s(1)
            if self.harness.mapper.is_done:
                return
        raise AssertionError("it does not end")

    def discarded(self) -> set[int]:
        return {int(each) - 10**20 for discard in self.harness.discards for each in discard.sequences}

    def _function(self, event: dict[str, Any]) -> Any:
        rng, held = self._random, numbers(event)
        drawn = rng.random()
        if drawn < 0.05:
            return Unknown() if drawn < 0.02 else NotInvoked()
        if drawn < 0.1 and not self.poison:
            return Errored("ValueError")
        bad = [number for number in held if number in self.poison]
        if bad and self.harness.mapping.report_batch_item_failures:
            self.done += held[: held.index(bad[0])]
            return {"state": {}, "batchItemFailures": [{"itemIdentifier": sequence(bad[0])}]}
        if bad:
            return Errored("ValueError")
        self.done += held
        return {"state": {}, "batchItemFailures": []}


@pytest.mark.parametrize("seed", range(60))
def test_every_record_is_done_in_order_or_reaches_the_destination(seed: int) -> None:
    history = History(seed)
    history.play()
    first_done = list(dict.fromkeys(history.done))
    discarded = history.discarded()
    for wanted in history.records.values():
        reached = [number for number in first_done if number in set(wanted)]
        assert set(wanted) <= set(reached) | discarded
        if history.harness.mapping.parallelization_factor == 1:
            assert reached == sorted(reached)
    assert discarded or not history.poison & {each for wanted in history.records.values() for each in wanted}


@pytest.mark.parametrize("seed", range(20))
def test_a_child_is_sent_nothing_before_its_parents_are_through(seed: int) -> None:
    history = History(seed)
    history.play()
    order = [number for batch in history.harness.delivered() for number in batch]
    discarded = history.discarded()
    for shard_id, parents in SHARDS.items():
        began = min(place for place, number in enumerate(order) if number in set(history.records[shard_id]))
        for parent in parents:
            assert set(history.records[parent]) <= set(order[:began]) | discarded


def test_a_seed_repeats_its_history() -> None:
    first, second = History(7), History(7)
    first.play()
    second.play()
    assert first.harness.events == second.harness.events


def test_histories_meet_every_hostility_and_every_end_of_a_batch() -> None:
    counts: set[str] = set()
    for seed in range(12):
        history = History(seed)
        history.play()
        counts |= history.harness.mapper.counts.keys()
    assert counts >= {"duplicate", "lost", "throttle", "rewind", "discarded", "invocations"}
