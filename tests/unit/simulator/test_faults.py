"""The simulator's limits, faults and scripts: as asked for, and the same from the same seed."""

from __future__ import annotations

from typing import Any

import pytest

from support.simulated import RefusedError, Simulated
from tailrace_simulator.actions import NAMES, parse_action, parse_script
from tailrace_simulator.aws_error import AwsError
from tailrace_simulator.faults import OPERATIONS, REPLICATION, Fault, suits
from tailrace_simulator.simulator import Reply

EVERYTHING = {fault.value: 0.05 for fault in Fault}


def statuses(simulated: Simulated, operation: str, count: int, **fields: Any) -> list[int]:
    return [simulated.reply(operation, **fields).status for _ in range(count)]


# Limits


def test_describe_stream_is_answered_ten_times_a_second_for_the_whole_account() -> None:
    simulated = Simulated()
    arns = [simulated.create(table) for table in ("orders", "users")]
    found = [simulated.reply("DescribeStream", StreamArn=arns[number % 2]).status for number in range(12)]
    assert found == [200] * 10 + [400] * 2
    simulated.pass_s(0.5)
    with pytest.raises(RefusedError, match="ThrottlingException"):
        simulated.shards(arns[0])
    simulated.pass_s(0.5)
    assert simulated.shards(arns[0])


def test_a_third_reader_of_a_shard_is_refused_until_one_of_the_others_stops() -> None:
    simulated = Simulated()
    arn = simulated.create()
    simulated.put(*"abc")
    shard = simulated.shards(arn)[0]["ShardId"]
    second_pages = [simulated.read(simulated.iterator(arn, shard), Limit=1)[1] for _ in range(3)]
    assert all(second_pages)
    for iterator in second_pages[:2]:
        assert simulated.read(str(iterator), Limit=1)[0] == ["b"]
    with pytest.raises(RefusedError, match="LimitExceededException"):
        simulated.read(str(second_pages[2]), Limit=1)
    simulated.pass_s(1)
    assert simulated.read(str(second_pages[2]), Limit=1)[0] == ["b"]


def test_a_reader_that_begins_again_and_again_is_one_reader() -> None:
    simulated = Simulated()
    arn = simulated.create()
    simulated.put("a")
    shard = simulated.shards(arn)[0]["ShardId"]
    assert [simulated.read(simulated.iterator(arn, shard))[0] for _ in range(10)] == [["a"]] * 10


# Faults


@pytest.mark.parametrize(
    ("fault", "codes", "status"),
    [
        ("server_error", {"InternalServerError"}, 500),
        ("throttle", {"ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded"}, 400),
        ("denied", {"AccessDeniedException"}, 400),
        ("expired_token", {"ExpiredTokenException"}, 400),
    ],
)
def test_a_call_fails_as_told_and_is_not_carried_out(fault: str, codes: set[str], status: int) -> None:
    simulated = Simulated()
    simulated.create()
    simulated.fail("PutItem", fault, times=30)
    met = set()
    for _ in range(30):
        with pytest.raises(RefusedError) as caught:
            simulated.put("a")
        assert caught.value.status == status
        met.add(caught.value.code)
    assert met == codes
    assert simulated.simulator.database.tables["orders"].count() == 0
    simulated.put("a")


@pytest.mark.parametrize(
    ("fault", "done", "expected"),
    [
        ("reset", False, Reply(transport="reset")),
        ("hang", False, Reply(transport="hang")),
        ("lost", True, Reply(transport="reset")),
    ],
)
def test_a_call_without_an_answer_is_carried_out_or_not(fault: str, done: bool, expected: Reply) -> None:
    simulated = Simulated()
    simulated.create()
    simulated.fail("PutItem", fault)
    assert simulated.reply("PutItem", TableName="orders", Item={"id": {"S": "a"}}) == expected
    assert simulated.simulator.database.tables["orders"].count() == done


def test_an_answer_can_be_late_cut_garbled_or_not_dynamodbs() -> None:
    simulated = Simulated()
    whole = simulated.reply("ListTables")
    for fault in ("slow", "cut_short", "garbled", "unavailable"):
        simulated.fail("ListTables", fault)
    slow, cut, garbled, unavailable = (simulated.reply("ListTables") for _ in range(4))
    assert (slow.body, slow.delay_s) == (whole.body, simulated.simulator.settings.slow_s)
    assert (cut.body, cut.transport) == (whole.body, "cut short")
    assert garbled.checksum == whole.checksum
    assert sum(a != b for a, b in zip(garbled.body, whole.body, strict=True)) == 1
    assert (unavailable.status, unavailable.content_type, unavailable.checksum) == (503, "text/html", None)


def test_an_iterator_expires_when_told() -> None:
    simulated = Simulated()
    arn = simulated.create()
    iterator = simulated.iterator(arn, simulated.shards(arn)[0]["ShardId"])
    simulated.fail("*", "expired")
    with pytest.raises(RefusedError, match="ExpiredIteratorException"):
        simulated.read(iterator)
    assert simulated.read(iterator)


def test_faults_come_as_often_as_their_rate_says() -> None:
    simulated = Simulated(script={"rates": {"*": {"throttle": 0.2}, "ListTables": {"throttle": 0}}})
    failed = statuses(simulated, "DescribeTable", 1000, TableName="none")
    assert simulated.simulator.faults.counts["DescribeTable", Fault.THROTTLE] in range(150, 250)
    assert set(failed) == {400}
    assert statuses(simulated, "ListTables", 100) == [200] * 100


def test_shards_split_and_roll_over_as_often_as_their_rates_say() -> None:
    simulated = Simulated(script={"rates": {"PutItem": {"split": 0.05, "rollover": 0.05}}})
    arn = simulated.create()
    simulated.put(*map(str, range(300)))
    stream = simulated.simulator.database.streams[arn]
    parents = [shard.parent_id for shard in stream.shards.values() if shard.parent_id]
    assert 10 <= len(stream.open_shards) <= 30
    assert len(set(parents)) > len(stream.open_shards)
    assert sum(len(shard.sequences) for shard in stream.shards.values()) == 300


def test_a_shard_that_owns_one_hash_is_not_split() -> None:
    simulated = Simulated()
    arn = simulated.create()
    stream = simulated.simulator.database.streams[arn]
    while stream.open_shards[0].is_divisible:
        simulated.act("split", table="orders", shard=stream.open_shards[0].shard_id, at=0)
    with pytest.raises(AwsError, match="owns one key hash"):
        simulated.act("split", table="orders", shard=stream.open_shards[0].shard_id)


def history(seed: int) -> list[Any]:
    """What a client meets: every operation, with all faults on."""
    simulated = Simulated(seed, {"rates": {"*": EVERYTHING}, "settings": {"listing_lag_calls": 3, "skew_s": 2}})
    while not simulated.simulator.database.tables:
        simulated.reply(
            "CreateTable",
            TableName="orders",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
        )
    (arn,) = simulated.simulator.database.streams
    met: list[Any] = []
    for number in range(200):
        met.append(simulated.reply("PutItem", TableName="orders", Item={"id": {"S": str(number)}}))
        met.append(simulated.reply("DescribeStream", StreamArn=arn))
        for shard in list(simulated.simulator.database.streams[arn].shards):
            position = {"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
            met.append(simulated.reply("GetShardIterator", **position))
        simulated.pass_s(0.2)
    return met


def test_the_same_seed_and_calls_meet_the_same() -> None:
    assert history(7) == history(7)
    assert history(7) != history(8)


def test_a_call_meets_its_fault_whatever_others_do_in_between() -> None:
    script = {"rates": {"GetShardIterator": {"throttle": 0.3}}}

    def outcomes(noise: int) -> list[int]:
        simulated = Simulated(5, script)
        arns = [simulated.create(table) for table in ("orders", "users")]
        shards = [simulated.shards(arn)[0]["ShardId"] for arn in arns]
        found = []
        for _ in range(50):
            ours, theirs = (
                {"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "LATEST"}
                for arn, shard in zip(arns, shards, strict=True)
            )
            statuses(simulated, "GetShardIterator", noise, **theirs)
            found.append(simulated.reply("GetShardIterator", **ours).status)
        return found

    assert outcomes(0) == outcomes(3)
    assert set(outcomes(0)) == {200, 400}


# Scripts


def test_a_script_does_its_steps_when_they_are_due() -> None:
    script = {
        "settings": {"shards": 2},
        "script": [
            {"when": {"writes": 3, "table": "orders"}, "do": {"action": "split", "table": "orders"}},
            {
                "when": {"calls": 2, "operation": "ListTables"},
                "do": {"action": "fail", "operation": "ListTables", "fault": "server_error"},
            },
            {"when": {"seconds": 60}, "do": {"action": "rates", "rates": {"ListTables": {"throttle": 1}}}},
        ],
    }
    simulated = Simulated(script=script)
    arn = simulated.create()
    simulated.put(*"ab")
    assert len(simulated.shards(arn)) == 2
    simulated.put("c")
    assert len(simulated.shards(arn)) == 4
    assert statuses(simulated, "ListTables", 3) == [200, 500, 200]
    simulated.act("advance", seconds=60)
    assert statuses(simulated, "ListTables", 2) == [400, 400]
    assert simulated.simulator.state(simulated.now_ms)["steps_left"] == 0


def test_a_step_that_cannot_be_done_is_told_and_disturbs_no_call() -> None:
    simulated = Simulated(script={"script": [{"when": {}, "do": {"action": "split", "table": "none"}}]})
    assert statuses(simulated, "ListTables", 2) == [200, 200]
    state = simulated.simulator.state(simulated.now_ms)
    assert state["steps_failed"] == ["Requested resource not found: Table: none not found"]


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ({"rates": {"GetRecord": {"reset": 1}}}, "GetRecord is not an operation"),
        ({"rates": {"GetItem": {"hole": 1}}}, "hole cannot happen to GetItem"),
        ({"rates": {"*": {"reset": 1.5}}}, "must lie between 0 and 1"),
        ({"rates": {"*": {"rest": 1}}}, "Invalid enum value 'rest'"),
        ({"settings": {"shard": 1}}, "unknown field `shard`"),
        ({"settings": {"shards": 0}}, "shards must be at least 1"),
        ({"settings": {"skew_s": -1}}, "skew_s cannot be negative"),
        ({"script": [{"when": {"write": 1}, "do": {"action": "release"}}]}, "unknown field `write`"),
        ({"script": [{"when": {}, "do": {"action": "explode"}}]}, "Invalid value 'explode'"),
        ({"more": 1}, "unknown field `more`"),
        ([], "Expected `object`, got `array`"),
    ],
)
def test_a_wrong_script_is_refused_with_a_sentence(script: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_script(script)


def test_a_wrong_action_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"there is no action explode; there are split, "):
        parse_action("explode", {})
    with pytest.raises(ValueError, match="give either table or stream"):
        parse_action("split", {})
    with pytest.raises(ValueError, match="hole cannot happen to GetItem"):
        parse_action("fail", {"operation": "GetItem", "fault": "hole"})


def test_every_fault_suits_an_operation_and_every_action_has_a_name() -> None:
    assert all(any(suits(fault, operation) for operation in OPERATIONS | {REPLICATION}) for fault in Fault)
    assert len(set(NAMES)) == len(NAMES) == 11
