"""`tailrace verify` on a real broker: tables that change all the time are equal, and what is wrong is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Message, Producer

from support.bench import Bench
from support.cli import CommandLine
from support.kafka_clients import TIMEOUT_S, client
from support.kinesis_bench import STREAM, on_kinesis
from support.lambda_pipeline import HOSTILE, LambdaPipeline
from support.waiting import wait_for
from tailrace.kafka.topic_reader import TopicReader
from tailrace.local.dynamodb import DynamoDBLocal
from tailrace.sources.kinesis import policy as kinesis_policy
from tailrace_simulator import SimulatedDynamoDB
from tailrace_simulator.actions import parse_script

QUICK = ("--timeout", "30", "--read-capacity", "100000")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def last_records(made: Bench, topic: str) -> dict[bytes, Message]:
    """The last record of each key that has an item."""
    found: dict[bytes, Message] = {}
    with TopicReader(made.kafka, topic) as reader:
        for message in reader.read():
            key = message.key()
            assert isinstance(key, bytes)
            if message.value() is None:
                found.pop(key, None)
            else:
                found[key] = message
    return {key: message for key, message in found.items() if json.loads(message.value() or b"")["op"] != "d"}


def plant(made: Bench, topic: str, records: Mapping[bytes, tuple[int, dict[str, Any] | None]]) -> None:
    """Write records straight into a topic: partition and value by key."""
    producer = Producer(client(made.kafka))
    for key, (partition, value) in records.items():
        producer.produce(topic, None if value is None else json.dumps(value).encode(), key, partition=partition)
    assert producer.flush(TIMEOUT_S) == 0


def plant_one_of_each(made: Bench, table: str) -> dict[str, str]:
    """Hide an item, change one, and make one up; return the keys by what is wrong with them."""
    topic = made.topic(table)
    (gone, hidden), (old, shown), *_ = last_records(made, topic).items()
    envelope = json.loads(shown.value() or b"")
    stale = envelope | {"after": envelope["after"] | {"planted": True}}
    ghost = json.dumps(dict.fromkeys(json.loads(old), "no such item"), separators=(",", ":")).encode()
    surplus = envelope | {"after": json.loads(ghost)}
    there, other = hidden.partition() or 0, shown.partition() or 0
    plant(made, topic, {gone: (there, None), old: (other, stale), ghost: (other, surplus)})
    return {"missing": gone.decode(), "stale": old.decode(), "surplus": ghost.decode()}


def found(report: dict[str, Any]) -> dict[str, list[str]]:
    (table,) = report["tables"]
    words = ("missing", "stale", "surplus", "unsettled")
    return {word: [each["key"] for each in table[word]["samples"]] for word in words if table[word]["count"]}


def test_a_table_under_heavy_writes_is_equal_and_each_planted_fault_is_found(
    bench: Callable[..., Bench], run: CommandLine
) -> None:
    made = bench(tables=1, rate=None, items=60)
    made.worker()
    with made.workload:
        made.wait_published(200)
        for _ in range(2):
            told = run("verify", made.file, *QUICK, "--json")
            assert (told.code, found(told.json())) == (0, {}), told
        assert told.json()["tables"][0]["equal"] > 20
    made.wait_complete()
    wrong = plant_one_of_each(made, made.tables[0])
    told = run("verify", made.file, *QUICK, "--json")
    assert told.code == 1
    assert found(told.json()) == {word: [key] for word, key in wrong.items()}
    shown = run("verify", made.file, "--table", made.tables[0], *QUICK)
    assert shown.code == 1
    assert f"stale: 1  {wrong['stale']}" in shown.out


SPLITTING = {
    "settings": {"shards": 2, "listing_lag_calls": 2, "skew_s": 1},
    "rates": {
        "DescribeStream": {"hole": 0.2, "throttle": 0.02},
        "GetRecords": {"empty": 0.2, "short": 0.2, "late_end": 0.5, "throttle": 0.02, "server_error": 0.02},
        "Scan": {"throttle": 0.1, "server_error": 0.05},
        "BatchGetItem": {"throttle": 0.1, "server_error": 0.05},
        "PutItem": {"split": 0.002, "rollover": 0.01},
        "UpdateItem": {"split": 0.002, "rollover": 0.01},
    },
}


def test_a_table_whose_shards_split_and_whose_reads_fail_is_equal(
    bench: Callable[..., Bench], run: CommandLine
) -> None:
    with SimulatedDynamoDB(seed=1, script=parse_script(SPLITTING)) as simulated:
        made = bench(endpoint_url=simulated.endpoint_url, tables=1, rate=100)
        made.worker()
        with made.workload:
            made.wait_published(100)
            for _ in range(2):
                told = run("verify", made.file, *QUICK, "--json")
                assert (told.code, found(told.json())) == (0, {}), told
        made.wait_complete()
        wrong = plant_one_of_each(made, made.tables[0])
        told = run("verify", made.file, *QUICK, "--json")
        assert found(told.json()) == {word: [key] for word, key in wrong.items()}


def test_without_workers_what_the_stream_still_holds_is_in_flight(
    bench: Callable[..., Bench], run: CommandLine
) -> None:
    made = bench(tables=1, items=40)
    made.worker()
    made.workload.run(80)
    made.wait_complete()
    made.stop_workers()
    told = run("verify", made.file, *QUICK, "--json")
    assert (told.code, found(told.json()), told.json()["tables"][0]["pending"]) == (0, {}, 0)
    wrong = plant_one_of_each(made, made.tables[0])
    made.workload.run(5)
    told = run("verify", made.file, *QUICK, "--json")
    assert told.code == 1
    assert told.json()["tables"][0]["pending"] == 5
    differing = found(told.json())
    assert differing.pop("unsettled")
    assert {key for keys in differing.values() for key in keys} <= set(wrong.values())


@pytest.mark.parametrize("format_name", ["item", "dynamodb-json", "cloudevents"])
def test_a_compacted_topic_of_any_format_is_equal(
    bench: Callable[..., Bench], run: CommandLine, format_name: str
) -> None:
    compacted = {"cleanup.policy": "compact", "segment.ms": "500", "min.cleanable.dirty.ratio": "0.001"}
    made = bench(
        tables=1,
        items=20,
        settings={"format": format_name, "topics": {"partitions": 2, "properties": compacted}},
    )
    made.worker()
    made.workload.run(150)

    def is_equal() -> bool:
        return run("verify", made.file, *QUICK).code == 0

    wait_for("all is published", is_equal)


def test_a_transformation_is_applied_to_items(bench: Callable[..., Bench], run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "stamping.py").write_text(
        "def stamp(change):\n"
        "    for item in (change.before, change.after):\n"
        "        if item is not None:\n"
        "            item['op'], item['at'] = change.op, change.created_ms\n"
        "    return change\n"
    )
    steps = [
        {"function": "stamping:stamp"},
        {"hash": {"attributes": ["id"], "key": "a secret of sixteen characters"}},
        {"filter": "item.version < `3`"},
    ]
    made = bench(tables=1, items=30, settings={"transform": steps})
    made.worker()
    made.workload.run(90)
    told = None

    def is_equal() -> bool:
        nonlocal told
        told = run("verify", made.file, *QUICK, "--json")
        return told.code == 0

    wait_for("all is published", is_equal)
    assert told is not None
    (table,) = told.json()["tables"]
    assert "attributes that depend on the change are not compared: at, op" in table["notes"]
    assert "the transformation changes keys" in "".join(table["notes"])


def test_a_pipeline_of_the_lambda_function_is_verified(
    bench: Callable[..., Bench], dynamodb: DynamoDBLocal, run: CommandLine, tmp_path: Path
) -> None:
    made = bench(tables=1, items=20)
    made.workload.run(20)
    with LambdaPipeline(made, tmp_path, dynamodb.endpoint_url, hostility=HOSTILE), made.workload:
        made.wait_published(20)
        told = run("verify", made.file, *QUICK, "--json")
    assert found(told.json()).keys() <= {"unsettled"}, told


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_repair_publishes_what_differs(bench: Callable[..., Bench], run: CommandLine, *, is_killed: bool) -> None:
    """A worker that was killed is a member of the group for some seconds, but says no more what is published."""
    made = bench(tables=1, items=30)
    worker = made.worker()
    made.workload.run(60)
    made.wait_complete()
    if is_killed:
        worker.kill()
    wrong = plant_one_of_each(made, made.tables[0])
    told = run("verify", made.file, *QUICK, "--repair", "--json")
    assert (told.code, found(told.json()), told.json()["tables"][0]["repaired"]) == (0, {}, 3), told
    last = {
        key.decode(): json.loads(message.value() or b"") for key, message in last_records(made, made.topics[0]).items()
    }
    assert {last[wrong["missing"]]["op"], last[wrong["stale"]]["op"]} == {"r"}
    assert wrong["surplus"] not in last
    assert run("verify", made.file, *QUICK, "--repair").code == 0


def test_tables_that_share_a_kinesis_stream_are_verified_and_repaired(
    bench: Callable[..., Bench], run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simulator puts a change into the stream at once, so there is nothing to wait for; but it puts it again later,
    also when no worker runs any more: repeats keep no repair waiting."""
    at_once = msgspec.structs.replace(kinesis_policy._POLICY, delivery_ms=0, settle_ms=500)
    monkeypatch.setattr(kinesis_policy, "_POLICY", at_once)
    script = parse_script({"rates": {"replication": {"repeat": 1}}, "settings": {"on_demand_shards": 2}})
    with SimulatedDynamoDB(seed=8, script=script) as simulated:
        made = bench(endpoint_url=simulated.endpoint_url, tables=2, items=40, rate=50)
        on_kinesis(made, simulated)
        made.worker()
        with made.workload:
            made.wait_published(100)
            told = run("verify", made.file, *QUICK, "--json")
            assert told.code == 0, told
            assert [table["table"] for table in told.json()["tables"]] == sorted(made.tables)
        made.wait_complete()
        made.stop_workers()
        one = made.tables[0]
        wrong = plant_one_of_each(made, one)
        told = run("verify", made.file, "--table", one, *QUICK, "--json")
        assert (told.code, found(told.json())) == (1, {word: [key] for word, key in wrong.items()})
        told = run("verify", made.file, "--table", one, *QUICK, "--repair", "--json")
        assert (told.code, found(told.json()), told.json()["tables"][0]["repaired"]) == (0, {}, 3), told
        assert run("verify", made.file, "--table", STREAM, *QUICK).code == 3
