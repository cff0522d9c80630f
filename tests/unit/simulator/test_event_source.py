"""The event source mapper does what AWS documents, rule by rule; what AWS leaves open is done the hostile way."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from support.event_source import FUNCTION, START_MS, STREAM, Harness, failing_at, record, records, reporting, sequence
from tailrace_simulator.event_source import Answered, Errored, EventSourceMapping, Hostility, NotInvoked, Unknown
from tailrace_simulator.event_source.records import parse_record
from tailrace_simulator.event_source.strand import BACK_OFF_MS

DAY_S = 24 * 3600


# Batches


def test_a_batch_is_sent_as_soon_as_there_are_records() -> None:
    harness = Harness(batch_size=100)
    harness.shard("shardId-1", records(2))
    harness.run()
    assert harness.delivered() == [[1, 2]]


def test_a_batch_has_at_most_so_many_records_and_a_page_may_make_several() -> None:
    harness = Harness(batch_size=2)
    harness.shard("shardId-1", records(5))
    harness.pass_s(1)
    assert harness.delivered() == [[1, 2], [3], [4, 5]]


def test_a_batching_window_gathers_over_pages_until_the_batch_is_full() -> None:
    harness = Harness(batch_size=7, maximum_batching_window_s=60)
    harness.shard("shardId-1", records(8))
    harness.pass_s(1)
    assert harness.delivered() == [[1, 2, 3, 4, 5, 6, 7]]


def test_a_batching_window_that_expires_sends_what_there_is() -> None:
    harness = Harness(batch_size=7, maximum_batching_window_s=5)
    harness.shard("shardId-1", records(2))
    harness.pass_s(4.9)
    assert harness.delivered() == []
    harness.pass_s(0.1)
    assert harness.delivered() == [[1, 2]]


def test_an_event_has_at_most_6_mb() -> None:
    harness = Harness(batch_size=10_000, maximum_batching_window_s=60)
    harness.shard("shardId-1", records(20, padding="x" * 400_000))
    sizes = []
    harness.function = lambda event: sizes.append(len(msgspec.json.encode(event)))
    harness.pass_s(1)
    assert harness.delivered()[0] == list(range(1, 16))
    assert 5_600_000 < sizes[0] <= 6 * 1024 * 1024


def test_a_shard_has_one_batch_under_way_at_a_time() -> None:
    harness = Harness(batch_size=1)
    harness.is_holding = True
    harness.shard("shardId-1", records(2))
    harness.shard("shardId-2", [record(11)])
    harness.pass_s(10)
    assert harness.delivered() == [[1], [11]]
    harness.answer(harness.under_way[0])
    harness.pass_s(0)
    assert harness.delivered() == [[1], [11], [2]]


def test_a_quiet_shard_is_asked_four_times_a_second() -> None:
    harness = Harness()
    harness.shard("shardId-1", [])
    harness.run()
    harness.shards["shardId-1"] += records(1)
    harness.pass_s(0.2)
    assert harness.delivered() == []
    harness.pass_s(0.05)
    assert harness.delivered() == [[1]]


def test_records_are_as_lambda_gives_them() -> None:
    harness = Harness()
    identity = {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
    harness.shard("shardId-1", [record(1, userIdentity=identity)])
    harness.run()
    (event,) = harness.events
    assert event.keys() == {"Records"}
    assert event["Records"][0]["eventSourceARN"] == STREAM
    assert event["Records"][0]["userIdentity"] == {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    assert event["Records"][0]["dynamodb"] == record(1)["dynamodb"]


# Lineage and positions


def test_a_child_begins_when_all_its_parents_are_done() -> None:
    harness = Harness()
    harness.is_holding = True
    harness.shard("shardId-1", records(1), closed=True)
    harness.shard("shardId-2", [record(11)], closed=True)
    harness.shard("shardId-3", [record(21)], "shardId-1", "shardId-2")
    harness.run()
    first, second = harness.under_way
    harness.answer(first)
    harness.run()
    assert harness.delivered() == [[1], [11]]
    harness.answer(second)
    harness.run()
    assert harness.delivered() == [[1], [11], [21]]


def test_a_shard_that_is_closed_only_in_the_listing_is_read_to_its_end_first() -> None:
    harness = Harness(batch_size=1)
    harness.shard("shardId-1", records(7), closed=True)
    harness.shard("shardId-2", [record(11)], "shardId-1")
    harness.pass_s(1)
    assert harness.delivered() == [[number] for number in (1, 2, 3, 4, 5, 6, 7, 11)]


def test_a_parent_that_is_not_listed_is_asked_for_and_waited_for_while_it_exists() -> None:
    harness = Harness()
    harness.shard("shardId-2", [record(11)], "shardId-1")
    harness.run()
    assert (harness.delivered(), harness.probes) == ([], ["shardId-1"])
    harness.gone.add("shardId-1")
    harness.pass_s(1)
    assert harness.delivered() == [[11]]


def test_latest_reads_nothing_older_and_no_shard_that_is_closed_or_has_children() -> None:
    harness = Harness(starting_position="LATEST")
    harness.shard("shardId-1", records(1), closed=True)
    harness.shard("shardId-2", [record(11)])
    harness.shard("shardId-3", [record(21)], "shardId-2")
    harness.run()
    harness.shards["shardId-3"].append(record(22))
    harness.shard("shardId-4", [record(31)], "shardId-3")
    harness.close("shardId-3")
    harness.pass_s(1)
    assert harness.delivered() == [[22], [31]]


# Failures


@pytest.mark.parametrize("outcome", [Errored("Sandbox.Timedout"), Errored("Runtime.ExitError")])
def test_a_batch_that_failed_is_sent_again_whole_with_longer_and_longer_pauses(outcome: Errored) -> None:
    times: list[int] = []

    def function(_: dict[str, Any]) -> Errored:
        times.append(harness.now_ms - START_MS)
        return outcome

    harness = Harness(function)
    harness.shard("shardId-1", records(2))
    harness.pass_s(60)
    assert set(map(tuple, harness.delivered())) == {(1, 2)}
    pauses = [later - sooner for sooner, later in pairwise(times)]
    assert pauses[:4] == [100, 200, 400, 800]
    assert max(pauses) == BACK_OFF_MS[1]


def test_retries_run_out_and_the_destination_gets_positions_only() -> None:
    harness = Harness(failing_at(1, 2), batch_size=2, maximum_retry_attempts=2, on_failure="sqs")
    harness.shard("shardId-1", records(3))
    harness.pass_s(10)
    assert harness.delivered() == [[1, 2]] * 3 + [[3]]
    (discard,) = harness.discards
    assert discard.message is not None
    assert discard.key is None
    assert msgspec.json.decode(discard.message) == {
        "requestContext": {
            "requestId": "r-1",
            "functionArn": FUNCTION,
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 3,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": "2023-11-14T22:13:20.300Z",
        "DDBStreamBatchInfo": {
            "shardId": "shardId-1",
            "startSequenceNumber": sequence(1),
            "endSequenceNumber": sequence(2),
            "approximateArrivalOfFirstRecord": "2023-11-14T22:13:20Z",
            "approximateArrivalOfLastRecord": "2023-11-14T22:13:20Z",
            "batchSize": 2,
            "streamArn": STREAM,
        },
    }


def test_the_object_for_s3_holds_the_event_too_and_has_a_name_by_shard_and_time() -> None:
    harness = Harness(failing_at(1), maximum_retry_attempts=0, on_failure="s3")
    harness.shard("shardId-1", records(1))
    harness.run()
    (discard,) = harness.discards
    assert discard.message is not None
    assert msgspec.json.decode(msgspec.json.decode(discard.message)["payload"]) == harness.events[0]
    assert discard.key is not None
    prefix, mapping_id, shard_id, rest = discard.key.removeprefix("aws/").split("/", 3)
    assert (prefix, len(mapping_id), shard_id) == ("lambda", 36, "shardId-1")
    assert rest.startswith("2023/11/14/2023-11-14T22.13.20-")


def test_without_a_destination_records_are_given_up_all_the_same() -> None:
    harness = Harness(failing_at(1), maximum_retry_attempts=0)
    harness.shard("shardId-1", records(4))
    harness.pass_s(1)
    assert harness.delivered() == [[1, 2, 3], [4]]
    assert [(each.sequences, each.message) for each in harness.discards] == [([sequence(n) for n in (1, 2, 3)], None)]


@pytest.mark.parametrize("outcome", [NotInvoked("throttled"), Unknown()])
def test_a_batch_that_did_not_reach_the_function_uses_up_no_retries(outcome: NotInvoked | Unknown) -> None:
    harness = Harness(lambda _: outcome, maximum_retry_attempts=0, on_failure="sqs")
    harness.shard("shardId-1", records(1))
    harness.pass_s(5)
    assert len(harness.delivered()) > 3
    assert harness.discards == []


def test_a_batch_that_was_never_answered_is_too_old_in_the_end() -> None:
    harness = Harness(lambda _: NotInvoked("throttled"), maximum_record_age_s=60, on_failure="sqs")
    harness.shard("shardId-1", records(1))
    harness.pass_s(70)
    (discard,) = harness.discards
    assert discard.condition == "RecordAgeExceeded"


# Bisection


def test_a_failed_batch_is_bisected_until_the_bad_record_is_alone() -> None:
    harness = Harness(failing_at(3), batch_size=3, bisect_batch_on_function_error=True, maximum_retry_attempts=1)
    harness.shard("shardId-1", records(3))
    harness.pass_s(1)
    assert harness.delivered() == [[1, 2, 3], [1, 2], [3], [3]]
    assert [discard.sequences for discard in harness.discards] == [[sequence(3)]]


def test_bisecting_uses_up_no_retries() -> None:
    harness = Harness(failing_at(1), batch_size=3, bisect_batch_on_function_error=True, maximum_retry_attempts=0)
    harness.shard("shardId-1", records(3))
    harness.run()
    assert harness.delivered() == [[1, 2, 3], [1, 2], [1], [2], [3]]
    assert [discard.sequences for discard in harness.discards] == [[sequence(1)]]


def test_a_failed_batch_is_bisected_whatever_is_reported() -> None:
    harness = Harness(
        failing_at(1), bisect_batch_on_function_error=True, report_batch_item_failures=True, maximum_retry_attempts=0
    )
    harness.shard("shardId-1", records(2))
    harness.run()
    assert harness.delivered() == [[1, 2], [1], [2]]


def test_a_partial_answer_bisects_at_the_reported_record_and_uses_up_no_retries() -> None:
    harness = Harness(
        reporting(2), bisect_batch_on_function_error=True, report_batch_item_failures=True, maximum_retry_attempts=0
    )
    harness.shard("shardId-1", records(3))
    harness.pass_s(1)
    assert harness.delivered() == [[1, 2, 3], [2, 3]]
    assert [discard.sequences for discard in harness.discards] == [[sequence(2), sequence(3)]]


# Partial answers


def test_the_lowest_reported_sequence_number_is_the_checkpoint() -> None:
    harness = Harness(reporting(3, 2), batch_size=3, report_batch_item_failures=True)
    harness.shard("shardId-1", records(3))
    harness.run()
    harness.function = reporting()
    harness.pass_s(1)
    assert harness.delivered() == [[1, 2, 3], [2, 3]]


def test_sequence_numbers_are_compared_by_their_place_not_as_text() -> None:
    longer = {**record(0), "dynamodb": {**record(0)["dynamodb"], "SequenceNumber": "9" * 22}}
    harness = Harness(report_batch_item_failures=True)
    harness.shard("shardId-1", [record(1), record(2), longer])
    failures = [{"itemIdentifier": "9" * 22}, {"itemIdentifier": sequence(2)}]
    harness.function = lambda _: {"batchItemFailures": failures if len(harness.events) == 1 else []}
    harness.pass_s(1)
    assert [len(batch) for batch in harness.delivered()] == [3, 2]


def test_progress_does_not_give_retries_back() -> None:
    harness = Harness(reporting(2, 3), batch_size=3, report_batch_item_failures=True, maximum_retry_attempts=1)
    harness.shard("shardId-1", records(3))
    harness.pass_s(5)
    assert harness.delivered() == [[1, 2, 3], [2, 3]]
    assert [discard.sequences for discard in harness.discards] == [[sequence(2), sequence(3)]]


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": None}, {"batchItemFailures": []}, "done"])
def test_an_answer_that_reports_nothing_is_a_success(answer: object) -> None:
    harness = Harness(lambda _: answer, report_batch_item_failures=True)
    harness.shard("shardId-1", records(1))
    harness.pass_s(1)
    assert harness.delivered() == [[1]]


@pytest.mark.parametrize(
    "failure",
    [{"itemIdentifier": ""}, {"itemIdentifier": None}, {"id": sequence(2)}, {"itemIdentifier": "7"}, "2", None],
)
def test_an_identifier_that_is_none_fails_the_whole_batch(failure: object) -> None:
    harness = Harness(report_batch_item_failures=True, maximum_retry_attempts=0)
    harness.function = lambda _: {"batchItemFailures": [{"itemIdentifier": sequence(2)}, failure]}
    harness.shard("shardId-1", records(3))
    harness.run()
    assert [discard.sequences for discard in harness.discards] == [[sequence(n) for n in (1, 2, 3)]]


def test_failures_are_not_looked_at_unless_the_mapping_reports_them() -> None:
    harness = Harness(reporting(1))
    harness.shard("shardId-1", records(1))
    harness.pass_s(1)
    assert harness.delivered() == [[1]]


def test_an_answer_that_is_not_json_fails_the_batch() -> None:
    harness = Harness(lambda _: Answered(b"{"), report_batch_item_failures=True)
    harness.shard("shardId-1", records(1))
    harness.pass_s(0.1)
    assert harness.delivered() == [[1], [1]]


# Age


def test_records_that_are_too_old_are_not_sent() -> None:
    harness = Harness(maximum_record_age_s=60, on_failure="sqs")
    old = START_MS - 61_000
    harness.shard("shardId-1", [record(1, old), record(2, old), record(3), record(4, old)])
    harness.pass_s(1)
    assert harness.delivered() == [[3]]
    assert [(each.condition, each.sequences) for each in harness.discards] == [
        ("RecordAgeExceeded", [sequence(1), sequence(2)]),
        ("RecordAgeExceeded", [sequence(4)]),
    ]
    assert harness.discards[0].message is not None
    assert "responseContext" not in msgspec.json.decode(harness.discards[0].message)


def test_a_failed_batch_grows_too_old_record_by_record() -> None:
    harness = Harness(lambda _: Errored("ValueError"), maximum_record_age_s=60)
    harness.shard("shardId-1", [record(1, START_MS - 50_000), record(2)])
    harness.pass_s(75)
    assert [each.sequences for each in harness.discards] == [[sequence(1)], [sequence(2)]]
    assert harness.delivered()[0] == [1, 2]
    assert harness.delivered()[-1] == [2]


def test_no_record_is_older_than_a_day() -> None:
    harness = Harness()
    harness.shard("shardId-1", [record(1, START_MS - DAY_S * 1000 - 1), record(2, START_MS - DAY_S * 1000)])
    harness.run()
    assert harness.delivered() == [[2]]


# Parallelization


def test_parallel_batches_keep_the_changes_of_an_item_in_order() -> None:
    harness = Harness(parallelization_factor=3)
    harness.is_holding = True
    harness.shard("shardId-1", [record(number, key="abcdefgh"[number % 8]) for number in range(1, 30)])
    harness.run()
    first = harness.under_way[0]
    while harness.under_way != [first]:
        harness.answer(harness.under_way[-1])
        harness.run()
    assert len(harness.events) > 3
    held = {each["dynamodb"]["Keys"]["id"]["S"] for each in harness.events[0]["Records"]}
    later = {each["dynamodb"]["Keys"]["id"]["S"] for event in harness.events[1:] for each in event["Records"]}
    assert held.isdisjoint(later)


def test_the_checkpoint_of_parallel_batches_passes_no_record_that_is_not_done() -> None:
    harness = Harness(parallelization_factor=10)
    harness.is_holding = True
    harness.shard("shardId-1", [record(number, key=str(number)) for number in range(1, 4)])
    harness.run()
    by_number = dict(zip([numbers[0] for numbers in harness.delivered()], harness.under_way, strict=True))
    assert by_number.keys() == {1, 2, 3}
    harness.answer(by_number[2])
    assert harness.mapper.checkpoint().sequences == {"shardId-1": None}
    harness.answer(by_number[1])
    assert harness.mapper.checkpoint().sequences == {"shardId-1": sequence(2)}


# Restarts, and what seldom happens


def test_a_mapper_that_resumes_from_an_older_checkpoint_delivers_again_what_came_since() -> None:
    harness = Harness(batch_size=1)
    harness.shard("shardId-1", records(2), closed=True)
    harness.shard("shardId-2", [record(11)], "shardId-1")
    harness.is_holding = True
    harness.run()
    harness.answer(harness.under_way[0])
    older = harness.mapper.checkpoint()
    harness.is_holding = False
    harness.run()
    resumed = Harness(batch_size=1, mapper={"checkpoint": older})
    resumed.shards, resumed.listing = harness.shards, harness.listing
    resumed.run()
    assert harness.delivered() == [[1], [2], [11]]
    assert resumed.delivered() == [[2], [11]]


def test_a_finished_shard_stays_finished_after_a_restart() -> None:
    harness = Harness()
    harness.shard("shardId-1", records(1), closed=True)
    harness.run()
    resumed = Harness(mapper={"checkpoint": harness.mapper.checkpoint()})
    resumed.shards, resumed.listing = harness.shards, harness.listing
    resumed.pass_s(1)
    assert resumed.delivered() == []


def test_a_trimmed_position_goes_on_with_the_oldest_record_that_is_kept() -> None:
    harness = Harness()
    harness.shard("shardId-1", records(1))
    harness.run()
    harness.shards["shardId-1"] = [record(9)]
    harness.mapper.trimmed("shardId-1", harness.now_ms)
    harness.pass_s(1)
    assert harness.delivered() == [[1], [9]]


def test_a_batch_is_sent_twice_at_once_and_the_first_answer_counts() -> None:
    harness = Harness(mapper={"hostility": Hostility(duplicate=1)}, batch_size=1)
    harness.is_holding = True
    harness.shard("shardId-1", records(2))
    harness.run()
    assert harness.delivered() == [[1], [1]]
    harness.answer(harness.under_way[1])
    harness.run()
    assert harness.delivered() == [[1], [1], [2], [2]]
    harness.answer(harness.under_way[0], Errored("ValueError"))
    harness.pass_s(1)
    assert harness.delivered() == [[1], [1], [2], [2]]


def test_a_batch_whose_answer_is_lost_is_sent_again_while_the_first_still_runs() -> None:
    harness = Harness(mapper={"hostility": Hostility(lost=1)}, maximum_retry_attempts=0)
    harness.is_holding = True
    harness.shard("shardId-1", records(1))
    harness.pass_s(6)
    assert len(harness.under_way) > 1
    assert set(map(tuple, harness.delivered())) == {(1,)}
    assert harness.discards == []


def test_an_answer_that_gets_lost_is_not_heard_when_it_comes() -> None:
    harness = Harness(mapper={"hostility": Hostility(lost=1)})
    harness.shard("shardId-1", records(1))
    harness.pass_s(6)
    assert len(harness.delivered()) > 1
    assert harness.mapper.checkpoint().sequences == {"shardId-1": None}


def test_a_throttled_batch_does_not_reach_the_function() -> None:
    harness = Harness(mapper={"hostility": Hostility(throttle=1)})
    harness.shard("shardId-1", records(1))
    harness.pass_s(5)
    assert harness.delivered() == []
    assert harness.mapper.counts["throttle"] > 3


def test_a_shard_that_is_rewound_repeats_its_last_batch_in_order() -> None:
    harness = Harness(mapper={"hostility": Hostility(rewind=0.5), "seed": 3}, batch_size=1)
    harness.shard("shardId-1", records(20))
    harness.pass_s(60)
    delivered = [batch[0] for batch in harness.delivered()]
    assert harness.mapper.counts["rewind"] > 0
    assert len(delivered) > 20
    assert all(later <= sooner + 1 for sooner, later in pairwise(delivered))
    assert list(dict.fromkeys(delivered)) == list(range(1, 21))


@pytest.mark.parametrize(
    "mapping",
    [
        {"batch_size": 10_001},
        {"batch_size": 0},
        {"maximum_batching_window_s": 301},
        {"tumbling_window_s": 901},
        {"parallelization_factor": 11},
        {"maximum_retry_attempts": 10_001},
        {"maximum_record_age_s": 59},
        {"maximum_record_age_s": 604_801},
        {"tumbling_window_s": 1, "parallelization_factor": 2},
    ],
)
def test_what_aws_refuses_is_refused(mapping: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(mapping)).split("_s")[0].replace("_", ".")):
        EventSourceMapping(**mapping)  # type: ignore[arg-type]  # numbers for fields that are numbers


def test_an_event_of_kinesis_names_its_shard_in_each_record() -> None:
    stream = "arn:aws:kinesis:us-east-1:123456789012:stream/clicks"
    record = {
        "SequenceNumber": "7",
        "PartitionKey": "pk",
        "Data": "YQ==",
        "ApproximateArrivalTimestamp": 1_700_000_000.123,
    }
    parsed = parse_record(record, stream, "shardId-000000000000", 5)
    assert (parsed.sequence, parsed.created_ms, parsed.keys) == ("7", 1_700_000_000_123, b"pk")
    event = json.loads(parsed.body)
    assert event["eventID"] == "shardId-000000000000:7"
    assert (event["eventSource"], event["awsRegion"], event["eventSourceARN"]) == ("aws:kinesis", "us-east-1", stream)
    assert event["kinesis"]["data"] == "YQ=="
