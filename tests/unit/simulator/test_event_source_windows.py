"""Tumbling windows are as AWS documents them; what AWS leaves open is done the hostile way."""

from __future__ import annotations

import pytest

from support.event_source import START_MS, STREAM, Harness, record, records, reporting, sequence
from tailrace_simulator.event_source import Errored, Hostility
from tailrace_simulator.event_source.strand import STATE_BYTES_MAX


def test_windows_end_with_an_invocation_without_records() -> None:
    harness = Harness(lambda event: {"state": {"n": event["state"].get("n", 0) + 1}}, tumbling_window_s=300)
    harness.shard("shardId-1", [record(1), record(2), record(3, START_MS + 300_000)], closed=True)
    harness.run()
    seen = [
        (event["window"]["start"][11:], event["state"], event["isFinalInvokeForWindow"]) for event in harness.events
    ]
    assert harness.delivered() == [[1, 2], [], [3], []]
    assert seen == [
        ("22:10:00Z", {}, False),
        ("22:10:00Z", {"n": 1}, True),
        ("22:15:00Z", {}, False),
        ("22:15:00Z", {"n": 1}, True),
    ]
    assert {event["shardId"] for event in harness.events} == {"shardId-1"}
    assert {event["eventSourceARN"] for event in harness.events} == {STREAM}
    assert harness.events[0]["window"] == {"start": "2023-11-14T22:10:00Z", "end": "2023-11-14T22:15:00Z"}


def test_a_batch_lies_in_one_window_and_a_late_record_opens_an_old_one_anew() -> None:
    harness = Harness(tumbling_window_s=60)
    harness.shard("shardId-1", [record(1), record(2, START_MS + 60_000), record(3)], closed=True)
    harness.run()
    assert harness.delivered() == [[1], [], [2], [], [3], []]
    assert harness.events[4]["window"] == harness.events[0]["window"]
    assert harness.events[4]["state"] == {}


def test_a_window_without_new_records_is_over_two_minutes_later() -> None:
    harness = Harness(tumbling_window_s=60)
    harness.shard("shardId-1", [record(1)])
    harness.pass_s(119.9)
    assert harness.delivered() == [[1]]
    harness.pass_s(0.1)
    assert harness.delivered() == [[1], []]
    harness.pass_s(300)
    assert harness.delivered() == [[1], []]


def test_the_end_of_a_shard_ends_its_window_and_children_begin_a_fresh_one() -> None:
    harness = Harness(lambda _: {"state": {"n": 1}}, tumbling_window_s=300)
    harness.shard("shardId-1", [record(1)], closed=True)
    harness.shard("shardId-2", [record(11)], "shardId-1")
    harness.run()
    assert harness.delivered() == [[1], [], [11]]
    assert [event["state"] for event in harness.events] == [{}, {"n": 1}, {}]


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": []}, {"state": None}, {"state": "x"}])
def test_an_answer_without_state_is_a_failure_in_a_window(answer: object) -> None:
    harness = Harness(lambda _: answer, tumbling_window_s=60)
    harness.shard("shardId-1", [record(1)])
    harness.pass_s(0.1)
    assert harness.delivered() == [[1], [1]]


def test_a_partial_answer_keeps_the_state_that_came_with_it() -> None:
    harness = Harness(reporting(2), tumbling_window_s=60, report_batch_item_failures=True)
    harness.shard("shardId-1", records(2))
    harness.pass_s(0.1)
    assert [event["state"] for event in harness.events] == [{}, {"seen": 2}]


def test_a_state_above_1_mb_terminates_the_window_early_and_it_goes_on_afresh() -> None:
    harness = Harness(tumbling_window_s=300, batch_size=1)
    large = {"x": "y" * STATE_BYTES_MAX}
    harness.function = lambda event: {"state": large if event["Records"] else {}}
    harness.shard("shardId-1", records(2))
    harness.run()
    flags = [(event["isWindowTerminatedEarly"], event["isFinalInvokeForWindow"]) for event in harness.events]
    assert harness.delivered() == [[1], [], [2], []]
    assert flags == [(False, False), (True, False)] * 2
    assert harness.events[1]["state"] == large
    assert harness.events[2]["state"] == {}
    assert len({event["window"]["start"] for event in harness.events}) == 1


def test_nothing_goes_on_until_the_end_of_a_window_succeeds() -> None:
    harness = Harness(tumbling_window_s=60, maximum_retry_attempts=1, bisect_batch_on_function_error=True)
    harness.shard("shardId-1", [record(1), record(2, START_MS + 60_000)])
    harness.function = lambda event: Errored("ValueError") if event["isFinalInvokeForWindow"] else {"state": {}}
    harness.pass_s(5)
    assert harness.delivered()[:5] == [[1], [], [], [], []]
    assert [2] not in harness.delivered()
    harness.function = lambda _: {"state": {}}
    harness.pass_s(10)
    assert harness.delivered()[-1] == [2]


def test_the_checkpoint_passes_a_window_only_with_its_end() -> None:
    harness = Harness(tumbling_window_s=60)
    harness.shard("shardId-1", [record(1), record(2)])
    harness.run()
    assert harness.mapper.checkpoint().sequences == {"shardId-1": None}
    harness.pass_s(120)
    assert harness.mapper.checkpoint().sequences == {"shardId-1": sequence(2)}


def test_a_final_invocation_may_hold_records() -> None:
    harness = Harness(mapper={"hostility": Hostility(final_with_records=1)}, tumbling_window_s=60)
    harness.shard("shardId-1", records(2), closed=True)
    harness.run()
    assert harness.delivered() == [[1, 2]]
    assert harness.events[0]["isFinalInvokeForWindow"]
