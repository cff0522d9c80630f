"""`tailrace replicate` on a real broker and DynamoDB Local behind a bad network: killed, frozen, joined, throttled."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from support.export_process import SinkProcess
from support.flaky_endpoint import FlakyEndpoint
from support.kafka_clients import TIMEOUT_S, create_topic
from support.kafka_clients import client as client_settings
from support.names import unique
from support.pipeline_file import write_file
from support.publishing import create_checkpoint_topic, read_all
from support.replica_changes import ItemChanges, item_of
from support.waiting import wait_for
from tailrace.config import LoadedPipeline, load
from tailrace.errors import WorldError
from tailrace.kafka import clients
from tailrace.local.dynamodb import CREDENTIALS, DynamoDBLocal
from tailrace.local.kafka import KafkaBroker
from tailrace.operations.replica import Replicator
from tailrace.operations.status import read_status
from tailrace.wiring.pipeline import prepare_topics

PARTITIONS = 4
REGION = "eu-west-1"
TTL = "expires"
FAULTS = 12
"""So many requests meet a fault at least."""


class Setting:
    """A pipeline with one table, and the copy's table."""

    def __init__(self, folder: Path, kafka: dict[str, str], client: Any, endpoint_url: str, **replica: Any) -> None:
        name = unique("shop")
        self.table, self.topic = unique("orders"), f"{name}.{unique('t')}"
        self.copy = f"{self.table}-dr"
        self.file = write_file(
            folder,
            kafka,
            name,
            tables=[self.table],
            topic=self.topic,
            format="dynamodb-json",
            replica={"region": REGION, "endpoint_url": endpoint_url, "tables": "{table}-dr", **replica},
        )
        self.loaded: LoadedPipeline = load(self.file)
        self.client = client
        create_checkpoint_topic(self.loaded.pipeline)
        prepare_topics(self.loaded.pipeline, clients.admin(kafka))
        create_topic(kafka, self.topic, partitions=PARTITIONS)

    def make_copy(self) -> None:
        """Make the copy's table, with a stream as the witness."""
        self.client.create_table(
            TableName=self.copy,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        )
        self.client.update_time_to_live(
            TableName=self.copy, TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL}
        )

    def items(self) -> dict[str, dict[str, Any]]:
        """All items of the copy, without their versions; markers are left out."""
        found = {}
        for page in self.client.get_paginator("scan").paginate(TableName=self.copy, ConsistentRead=True):
            for item in page["Items"]:
                version = item.pop("tailrace_version", {"S": ""})["S"]
                if not version.endswith(".deleted"):
                    found[item["id"]["S"]] = item
        return found

    def replicate_once(self) -> Mapping[str, Any]:
        """Run it to the end."""
        replicator = Replicator(self.loaded, once=True)
        report = replicator.run(lambda: False)
        assert report.at_end
        return report.tables


@pytest.fixture
def client(dynamodb: DynamoDBLocal, aws_environment: dict[str, str]) -> Iterator[Any]:
    made = boto3.client("dynamodb", endpoint_url=dynamodb.endpoint_url, region_name=REGION)
    yield made
    made.close()


@pytest.mark.parametrize("write", ["version", "transaction"])
def test_a_copy_is_equal_in_the_end_and_no_item_ever_went_back(
    write: str, kafka: KafkaBroker, dynamodb: DynamoDBLocal, client: Any, tmp_path: Path
) -> None:
    properties = kafka.client_properties()
    with FlakyEndpoint(dynamodb.endpoint_url, seed=11) as target:
        setting = Setting(tmp_path, properties, client, target.url, write=write)
        setting.make_copy()
        with ItemChanges(properties, setting.topic, setting.table, seed=5) as changes:
            with _process(setting) as first, _process(setting) as second:
                target.rate = 0.03
                wait_for("items in the copy", lambda: len(setting.items()) > 5)
                first.freeze()
                time.sleep(1)
                second.kill()
                with _process(setting):
                    first.thaw()
                    wait_for("enough faults", lambda: changes.changes > 1_500 and target.counts.total() > FAULTS)
                    first.kill()
            changes.stop()
        target.rate = 0.0
        setting.replicate_once()
        replica = read_status(setting.loaded).replica
    assert setting.items() == _comparable(changes.items, setting.items())
    states = list(_stream(dynamodb, client, setting.copy))
    assert len(states) > 60
    _assert_forward(states, write)
    assert replica is not None
    assert [(each.copy, each.behind_changes_at_most) for each in replica.copies] == [(setting.copy, 0)]


def _process(setting: Setting) -> SinkProcess:
    return SinkProcess("replicate", str(setting.file), environment=CREDENTIALS)


def _comparable(wanted: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Put the members of sets in the order in which they were found: DynamoDB gives them in any."""
    for name, item in wanted.items():
        for attribute, value in item.items():
            ((tag, members),) = value.items()
            got = found.get(name, {}).get(attribute, {}).get(tag)
            if tag in {"SS", "NS"} and sorted(members) == sorted(got or []):
                value[tag] = got
            if tag == "B":
                value[tag] = b"\x00\x01\x02"
    return wanted


def _stream(dynamodb: DynamoDBLocal, client: Any, table: str) -> Iterator[dict[str, Any]]:
    """All changes of a table as its own stream tells them."""
    arn = client.describe_table(TableName=table)["Table"]["LatestStreamArn"]
    streams = boto3.client("dynamodbstreams", endpoint_url=dynamodb.endpoint_url, region_name=REGION)
    for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        iterator = streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            answer = streams.get_records(ShardIterator=iterator)
            yield from (each["dynamodb"] for each in answer["Records"])
            if not answer["Records"]:
                break
            iterator = answer.get("NextShardIterator")
    streams.close()


def _assert_forward(states: list[dict[str, Any]], write: str) -> None:
    newest: dict[str, Any] = {}
    for state in states:
        name, image = state["Keys"]["id"]["S"], state.get("NewImage")
        if write == "version":
            assert image is not None
            at: Any = image["tailrace_version"]["S"]
        elif image is None:
            continue
        else:
            at = int(image["n"]["N"])
        assert name not in newest or newest[name] < at, f"{name} went back to {at} from {newest[name]}"
        newest[name] = at


def test_what_the_copy_refuses_is_set_aside_and_the_rest_goes_on(
    kafka: KafkaBroker, dynamodb: DynamoDBLocal, client: Any, tmp_path: Path
) -> None:
    properties = kafka.client_properties()
    for write in ("version", "transaction"):
        setting = Setting(tmp_path, properties, client, dynamodb.endpoint_url, write=write)
        with ItemChanges(properties, setting.topic, setting.table, seed=1) as changes:
            changes.stop()
            changes.put(
                item_of("", 1),
                {"id": {"S": "large"}, "text": {"S": "x" * 409_580}},
                item_of("good", 2),
                item_of("better", 3),
            )
        with pytest.raises(WorldError, match=f"the table {setting.copy}, the copy of {setting.table}, does not exist"):
            setting.replicate_once()
        setting.make_copy()
        setting.replicate_once()
        assert {"good", "better"} <= setting.items().keys()
        letters = read_all(setting.loaded.pipeline, setting.loaded.pipeline.dead_letters_topic)
        reasons = {json.loads(each.key() or b"")["id"]: dict(each.headers() or []) for each in letters}
        wanted = {"", "large"} if write == "version" else {""}
        assert reasons.keys() == wanted
        assert reasons[""]["__connect.errors.class.name"] == b"tailrace-replica"


def test_a_topic_that_gets_more_partitions_stops_the_copy(
    kafka: KafkaBroker, dynamodb: DynamoDBLocal, client: Any, tmp_path: Path
) -> None:
    properties = kafka.client_properties()
    setting = Setting(tmp_path, properties, client, dynamodb.endpoint_url)
    setting.make_copy()
    with ItemChanges(properties, setting.topic, setting.table, seed=1) as changes:
        changes.stop()
        changes.put(item_of("a", 1))
    setting.replicate_once()
    admin = AdminClient(client_settings(properties))
    admin.create_partitions([NewPartitions(setting.topic, PARTITIONS + 3)])[setting.topic].result(TIMEOUT_S)
    with ItemChanges(properties, setting.topic, setting.table, seed=1) as changes:
        changes.stop()
        changes.put(*(item_of(f"item-{number}", number) for number in range(40)))
    with pytest.raises(WorldError, match="has 7 partitions, and had 4 when its copy was begun"):
        setting.replicate_once()
