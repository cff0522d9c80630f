"""The same changes through every method: the topics are the same byte for byte, but for what names the method."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import boto3
import msgspec
from confluent_kafka import Message

from support.kafka_clients import read_topics
from support.kinesis_service import KinesisService
from support.names import unique
from support.pipeline_file import write_file
from support.sandboxes import Sandboxes, delivering
from support.waiting import wait_for
from support.worker_process import LoggedWorker
from tailrace.config import load
from tailrace.function.function import Function
from tailrace.kafka.clients import as_bytes
from tailrace.local import committed
from tailrace.local.checker import check
from tailrace.local.dynamodb import REGION
from tailrace.local.kafka import KafkaBroker
from tailrace.local.workload import TableSpec, Workload, connect
from tailrace_simulator import SimulatedDynamoDB
from tailrace_simulator.actions import parse_script

OF_A_PIPELINE: Final = {"source.name", "ts_ms", "ts_us", "ts_ns"}
"""Members of an envelope that differ between two pipelines: the name, and when they processed the change."""
OF_A_SOURCE: Final = {
    *("source.shard", "source.stream", "source.sequence", "source.event_id"),
    *("source.ts_ms", "source.ts_us", "source.ts_ns"),
}
"""Members that differ between DynamoDB Streams and Kinesis as well: the position, the event id, and the creation time,
which is in whole seconds in DynamoDB Streams."""

STREAM: Final = "shop-cdc"
SCRIPT: Final = {
    "settings": {
        "shards": 2,
        "on_demand_shards": 2,
        "describe_stream_per_second": 0,
        "readers_per_shard": 0,
        "kinesis_reads_per_second": 0,
        "kinesis_read_bytes_per_second": 0,
        "repeat_s": 0.5,
    },
    "rates": {"replication": {"repeat": 0.1}},
}
DIGITS: Final = "12345678901234567890123456789012345678"
EVERYTHING: Final[dict[str, Any]] = {
    "text": {"S": 'naïve "quote" \\ / \u2028 \x00\x1f\x7f 🦦'},
    "no text": {"S": ""},
    "number": {"N": "19.90"},
    "digits": {"N": DIGITS},
    "small": {"N": f"-0.{'0' * 91}{DIGITS}"},
    "large": {"N": "9.9999999999999999999999999999999999999E+125"},
    "least": {"N": "1E-130"},
    "bytes": {"B": bytes(range(256))},
    "no bytes": {"B": b""},
    "yes": {"BOOL": True},
    "nothing": {"NULL": True},
    "texts": {"SS": ["b", "a", "抹茶", ""]},
    "numbers": {"NS": ["10", "9", "-1.50", "1E+2"]},
    "binaries": {"BS": [b"\xff", b"\x00", b"more"]},
    "list": {"L": [{"S": "a"}, {"N": "1.0"}, {"L": []}, {"M": {}}, {"NULL": True}]},
    "map": {"M": {"b": {"BOOL": False}, "a": {"SS": ["z", "y"]}, "e": {"B": b"e"}}},
    "no list": {"L": []},
    "no map": {"M": {}},
    "deep": json.loads('{"M":{"in":' * 30 + '{"L":[]}' + "}}" * 30),
    "long": {"S": "long " * 20_000},
    'a "name" \\ 名': {"S": "x"},
}


class Tables:
    """Tables with streams of their own, whose changes go to Kinesis as well."""

    def __init__(self, simulated: SimulatedDynamoDB) -> None:
        self.endpoint_url = simulated.endpoint_url
        self._simulated = simulated
        self._client = connect(simulated.endpoint_url)
        specs = [TableSpec(unique("plain")), TableSpec(unique("composite"), sort_key=True)]
        self._workload = Workload(self._client, specs, items=40).create_tables()
        self.history = self._workload.history
        self.of_history = [spec.name for spec in specs]
        self._of_everything = self._create_of_everything()
        self.names = [*self.of_history, self._of_everything]
        self.records = 0
        """What a method must publish: changes, and a tombstone for each delete."""

    def write(self, kinesis_arn: str) -> None:
        """Make the changes, while the shards of both kinds of streams split and merge."""
        precision = {"ApproximateCreationDateTimePrecision": "MICROSECOND"}
        for table in self.names:
            self._client.enable_kinesis_streaming_destination(
                TableName=table, StreamArn=kinesis_arn, EnableKinesisStreamingConfiguration=precision
            )
        self._workload.run(150)
        self._write_everything("first")
        for table in self.names:
            self._simulated.act("split", table=table)
        self._simulated.act("split", stream=STREAM)
        self._workload.run(150)
        self._write_everything("second")
        for table in self.names:
            self._simulated.act("rollover", table=table)
        self._simulated.act("merge", stream=STREAM)
        self._workload.run(150)
        self._write_everything("third")
        self.records += len(self.history) + sum(change.op == "d" for change in self.history)

    def stream_arns(self) -> list[str]:
        """Return the tables' own streams."""
        return [self._client.describe_table(TableName=name)["Table"]["LatestStreamArn"] for name in self.names]

    def close(self) -> None:
        self._client.close()

    def _create_of_everything(self) -> str:
        """Make a table whose keys are bytes and numbers, and whose items expire."""
        name = unique("everything")
        self._client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "id", "AttributeType": "B"},
                {"AttributeName": "at", "AttributeType": "N"},
            ],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        expiry = {"Enabled": True, "AttributeName": "expires"}
        self._client.update_time_to_live(TableName=name, TimeToLiveSpecification=expiry)
        return name

    def _write_everything(self, name: str) -> None:
        """Let an item with all types come, change and go, and go once more by Time to Live."""
        client, table = self._client, self._of_everything
        key = {"id": {"B": name.encode() + b"\x00\xff"}, "at": {"N": DIGITS}}
        expired = {"expires": {"N": str(int(time.time()) - 60)}}
        client.put_item(TableName=table, Item=key | EVERYTHING)
        client.update_item(
            TableName=table,
            Key=key,
            UpdateExpression="REMOVE deep, texts SET digits = :value, more = :value",
            ExpressionAttributeValues={":value": EVERYTHING["map"]},
        )
        client.put_item(TableName=table, Item=key)
        client.delete_item(TableName=table, Key=key)
        client.put_item(TableName=table, Item=key | EVERYTHING | expired)
        assert self._simulated.act("expire", table=table)["deleted"] == 1
        client.put_item(TableName=table, Item=key | EVERYTHING)
        self.records += 7 + 2


class Method:
    """A pipeline that carries the changes of the tables."""

    def __init__(self, name: str, kafka: dict[str, str], folder: Path, tables: Tables, **source: Any) -> None:
        self.name = name
        self._kafka = kafka
        (folder / name).mkdir()
        self.file = write_file(
            folder / name,
            kafka,
            unique("agree"),
            tables=tables.names,
            source={"endpoint_url": tables.endpoint_url, **source},
            lanes=4,
            topics={"partitions": 2},
        )
        self.loaded = load(self.file)

    def topic(self, table: str) -> str:
        return self.loaded.pipeline.topic_of(table)

    def published(self, tables: Tables) -> dict[str, list[Message]]:
        """Wait for all records of the tables; return them by table and key, in their order."""
        topics = {self.topic(table): table for table in tables.names}
        messages: list[Message] = []

        def are_all() -> bool:
            messages[:] = read_topics(self._kafka, topics)
            return len(messages) >= tables.records

        wait_for(f"{tables.records} records by the {self.name}", are_all)
        found = defaultdict(list)
        for message in messages:
            found[f"{topics[message.topic() or '']} {as_bytes(message.key())!r}"].append(message)
        return found


class Shown(NamedTuple):
    """A record as it is compared with that of another method."""

    partition: int | None
    timestamp_ms: int | None
    headers: object
    members: list[tuple[str, bytes | None]] | None
    """The members of the envelope and of its `source`, in their order, as bytes; None in place of those that may
    differ. None for a tombstone."""


def shown(message: Message, may_differ: set[str]) -> Shown:
    value = as_bytes(message.value())
    members = None
    if value is not None:
        members = [(name, None if name in may_differ else text) for name, text in members_of(value)]
    timestamp_ms = None if "source.ts_ms" in may_differ else message.timestamp()[1]
    return Shown(message.partition(), timestamp_ms, message.headers(), members)


def members_of(value: bytes) -> Iterator[tuple[str, bytes]]:
    """Give the members of an envelope, and those of its `source`, each as its bytes."""
    for name, text in decode_members(value).items():
        if name == "source":
            yield from ((f"source.{inner}", bytes(raw)) for inner, raw in decode_members(text).items())
        else:
            yield name, bytes(text)


decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def assert_same(one: dict[str, list[Message]], other: dict[str, list[Message]], may_differ: set[str]) -> None:
    """Compare what two methods published, item by item."""
    assert one.keys() == other.keys()
    for item, messages in one.items():
        assert [shown(each, may_differ) for each in messages] == [shown(each, may_differ) for each in other[item]], item


def assert_hostile(kinesis: KinesisService, changes: int) -> None:
    """Show that Kinesis repeats changes, and lists keys in both orders."""
    records = [
        json.loads(record["Data"])
        for shard in kinesis.shards(STREAM)
        for record in kinesis.page(STREAM, shard["ShardId"])["Records"]
    ]
    assert {tuple(record["dynamodb"]["Keys"]) for record in records} == {("id", "at"), ("at", "id"), ("id",)}
    assert len(records) > changes + 30


def test_every_method_publishes_the_same_bytes(
    kafka: KafkaBroker, tmp_path: Path, aws_environment: dict[str, str]
) -> None:
    del aws_environment
    with SimulatedDynamoDB(seed=1, script=parse_script(SCRIPT)) as simulated, ExitStack() as opened:
        client = boto3.client("kinesis", endpoint_url=simulated.endpoint_url, region_name=REGION)
        opened.callback(client.close)
        kinesis = KinesisService("simulator", client)
        kinesis.create(None, STREAM)
        tables = Tables(simulated)
        opened.callback(tables.close)
        tables.write(kinesis.arn(STREAM))
        assert_hostile(kinesis, len(tables.history))

        method = partial(Method, kafka=kafka.client_properties(), folder=tmp_path, tables=tables)
        on_kinesis = partial(method, type="kinesis", streams=[STREAM])
        streams_worker, streams_function = method("worker on streams"), method("function on streams")
        kinesis_worker, kinesis_function = on_kinesis("worker on Kinesis"), on_kinesis("function on Kinesis")
        for each in (streams_worker, kinesis_worker):
            opened.callback(LoggedWorker(each.file).close)
        for each, arns in ((streams_function, tables.stream_arns()), (kinesis_function, [kinesis.arn(STREAM)])):
            functions = [Function(each.loaded, unique("sandbox")) for _ in range(2)]
            for function in functions:
                opened.callback(function.close)
            sandboxes = Sandboxes(functions)
            for arn in arns:
                opened.enter_context(delivering(arn, sandboxes, simulated.endpoint_url))

        by_streams, by_kinesis = streams_worker.published(tables), kinesis_worker.published(tables)
        assert_same(by_streams, streams_function.published(tables), OF_A_PIPELINE)
        assert_same(by_kinesis, kinesis_function.published(tables), OF_A_PIPELINE)
        assert_same(by_streams, by_kinesis, OF_A_PIPELINE | OF_A_SOURCE)
        for item, messages in by_streams.items():
            for one, other in zip(messages, by_kinesis[item], strict=True):
                assert abs(one.timestamp()[1] - other.timestamp()[1]) < 2_000
        topics = [streams_worker.topic(table) for table in tables.of_history]
        verdict = check(tables.history, committed.read_committed(kafka.client_properties(), topics))
        assert verdict.good, verdict
