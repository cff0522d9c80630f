"""Streams of the simulator reach a function in real sandboxes, in order, whatever goes wrong."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import boto3
import pytest

from support.waiting import wait_for
from tailrace_simulator import SimulatedDynamoDB
from tailrace_simulator.actions import parse_script
from tailrace_simulator.event_source import EventSourceMapping, Hostility, Mapper
from tailrace_simulator.event_source_runner import Runner, find_stream
from tailrace_simulator.function import Function, load_code
from tailrace_simulator.streams_client import StreamsClient

TOY = Path(__file__).parents[1] / "support" / "lambda_functions"
CHANGES = 300
FAULTS = {
    "settings": {"shards": 2, "listing_lag_calls": 2, "page_bytes": 5_000, "describe_stream_per_second": 0},
    "rates": {
        "DescribeStream": {"hole": 0.2, "throttle": 0.1},
        "GetShardIterator": {"server_error": 0.05, "reset": 0.05},
        "GetRecords": {"empty": 0.2, "short": 0.2, "late_end": 0.5, "expired": 0.05, "reset": 0.05, "throttle": 0.05},
        "PutItem": {"split": 0.01, "rollover": 0.03},
    },
}


@pytest.fixture
def tables(aws_environment: dict[str, str]) -> Any:
    def make(simulated: SimulatedDynamoDB) -> Any:
        return boto3.client("dynamodb", endpoint_url=simulated.endpoint_url, region_name="us-east-1")

    return make


def create(client: Any) -> None:
    client.create_table(
        TableName="orders",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )


def test_every_change_arrives_in_order_through_splits_faults_and_hostility(tmp_path: Path, tables: Any) -> None:
    versions: Counter[str] = Counter()
    rng = random.Random(5)
    with SimulatedDynamoDB(seed=5, script=parse_script(FAULTS)) as simulated:
        client = tables(simulated)
        create(client)
        for _ in range(CHANGES):
            item = f"item-{rng.randrange(20)}"
            versions[item] += 1
            client.put_item(TableName="orders", Item={"id": {"S": item}, "v": {"N": str(versions[item])}})
        client.close()
        streams = StreamsClient(endpoint_url=simulated.endpoint_url)
        stream_arn = find_stream(streams, "orders")
        code = load_code("toy:handler", TOY, tmp_path)
        with Function(code, environment={"SEEN": str(tmp_path / "seen")}, timeout_s=10) as function:
            mapper = Mapper(
                EventSourceMapping(batch_size=10, tumbling_window_s=30, report_batch_item_failures=True),
                stream_arn=stream_arn,
                function_arn=function.arn,
                seed=5,
                hostility=Hostility(duplicate=0.1, lost=0.05, throttle=0.05, short=0.3, final_with_records=0.5),
                lost_after_ms=500,
            )
            runner = Runner(mapper, streams, function, stream_arn)
            stopped = threading.Event()
            running = threading.Thread(target=runner.run, args=(stopped,))
            running.start()
            try:
                wait_for("every change arrived", lambda: arrived(tmp_path / "seen") >= CHANGES)
            finally:
                stopped.set()
                running.join()
        streams.close()
    delivered: dict[str, list[int]] = defaultdict(list)
    for event in events(tmp_path / "seen"):
        for record in event["Records"]:
            image = record["dynamodb"]["NewImage"]
            delivered[image["id"]["S"]].append(int(image["v"]["N"]))
    assert {item: list(dict.fromkeys(each)) for item, each in delivered.items()} == {
        item: list(range(1, count + 1)) for item, count in versions.items()
    }


def test_it_ends_when_nothing_came_for_a_while(tmp_path: Path, tables: Any) -> None:
    with SimulatedDynamoDB() as simulated:
        client = tables(simulated)
        create(client)
        client.put_item(TableName="orders", Item={"id": {"S": "a"}})
        client.close()
        streams = StreamsClient(endpoint_url=simulated.endpoint_url)
        stream_arn = find_stream(streams, "orders")
        code = load_code("toy:handler", TOY, tmp_path)
        with Function(code, environment={"SEEN": str(tmp_path / "seen")}, timeout_s=10) as function:
            mapper = Mapper(EventSourceMapping(), stream_arn=stream_arn, function_arn=function.arn)
            Runner(mapper, streams, function, stream_arn).run(threading.Event(), idle_s=0.5)
        streams.close()
    assert arrived(tmp_path / "seen") == 1


def test_the_command_tells_and_keeps_what_is_discarded(tmp_path: Path, tables: Any) -> None:
    (tmp_path / "failing.py").write_text("def handler(event, context):\n    raise ValueError('no such order')\n")
    with SimulatedDynamoDB() as simulated:
        client = tables(simulated)
        create(client)
        client.put_item(TableName="orders", Item={"id": {"S": "a"}})
        client.close()
        options = "--table orders --retries 1 --on-failure failed.jsonl --until-idle 0.5 --json"
        ended = subprocess.run(
            [
                *(Path(sys.executable).with_name("tailrace"), "simulate", "lambda", "failing:handler"),
                *("--endpoint-url", simulated.endpoint_url, *options.split()),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 1, ended.stderr
    assert [line["event"] for line in lines] == ["reading", "invoked", "invoked", "discarded", "ended"]
    assert lines[1]["outcome"] == "failed ValueError: no such order"
    assert {name: lines[-1][name] for name in ("invocations", "failed", "records", "discarded")} == {
        "invocations": 2,
        "failed": 2,
        "records": 0,
        "discarded": 1,
    }
    (message,) = (tmp_path / "failed.jsonl").read_text().splitlines()
    assert json.loads(message)["requestContext"]["approximateInvokeCount"] == 2
    assert json.loads(message)["DDBStreamBatchInfo"]["batchSize"] == 1


def events(seen: Path) -> list[dict[str, Any]]:
    """Return what the function has written; the last line may be under way."""
    whole = seen.read_text().rpartition("\n")[0] if seen.exists() else ""
    return [json.loads(line)["event"] for line in whole.splitlines()]


def arrived(seen: Path) -> int:
    """Count the changes that the function has seen, each once."""
    return len({record["eventID"] for event in events(seen) for record in event["Records"]})
