"""The example of the JDBC sink: its files, on a real Kafka Connect, put a table into a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.aws_service import Service
from support.connect_worker import ConnectWorker, debezium_jdbc_sink
from support.names import unique
from support.postgres import Postgres
from support.waiting import wait_for
from support.worker_process import LoggedWorker
from tailrace.kafka.java_file import parse
from tailrace.local.dynamodb import CREDENTIALS, DynamoDBLocal
from tailrace.local.kafka import KafkaBroker

EXAMPLE = Path(__file__).parents[2] / "examples" / "kafka-connect-sinks"
SINK_VERSION = "3.6.0.Final"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    """What is closed after the test, with the credentials that DynamoDB Local wants."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:
        yield stack


def test_a_table_and_its_changes_in_postgres(
    kafka: KafkaBroker,
    dynamodb: DynamoDBLocal,
    dynamodb_client: Any,
    tmp_path: Path,
    opened: ExitStack,
) -> None:
    plugins = debezium_jdbc_sink(SINK_VERSION)
    sink = json.loads((EXAMPLE / "postgres-sink.json").read_text())
    config = sink["config"]
    postgres = opened.enter_context(Postgres("shop", config["connection.username"], config["connection.password"]))

    properties = {each.name: each.value for each in parse((EXAMPLE / "connect.properties").read_text())}
    group = unique("connect")
    connect = ConnectWorker(
        properties
        | {name: unique(value) for name, value in properties.items() if name.endswith(".storage.topic")}
        | {"bootstrap.servers": kafka.bootstrap_servers, "group.id": group, "plugin.path": str(plugins)}
    )
    opened.callback(connect.close)
    connect.spawn()  # it takes its time, which the pipeline uses

    orders = Service(dynamodb.endpoint_url, dynamodb_client, None)
    table = orders.create(unique("orders"))
    opened.callback(dynamodb_client.delete_table, TableName=table)
    orders.put(table, "read", status={"S": "old"}, total={"N": "12.50"})
    pipeline = yaml.safe_load((EXAMPLE / "pipeline.yaml").read_text())
    pipeline["name"] = unique("shop")
    pipeline["kafka"] |= kafka.client_properties()
    pipeline["source"] |= {"tables": [table], "endpoint_url": dynamodb.endpoint_url}
    file = tmp_path / "pipeline.yaml"
    file.write_text(yaml.safe_dump(pipeline))
    opened.enter_context(closing(LoggedWorker(file)))

    connect.wait_until_ready()
    config["topics"] = f"{pipeline['name']}.{table}"
    config["connection.url"] = config["connection.url"].replace("localhost:5432", f"127.0.0.1:{postgres.port}")
    connect.ask("/connectors", sink)

    def rows(columns: str) -> list[list[str]]:
        return postgres.query(f"SELECT id, {columns} FROM orders ORDER BY id")

    def failure() -> str:
        tasks = connect.ask(f"/connectors/{sink['name']}/status")["tasks"]
        return "".join(each.get("trace", "") for each in tasks)[:3_000]

    def wait_for_rows(columns: str, expected: list[list[str]]) -> None:
        try:
            wait_for(f"{expected} in PostgreSQL", lambda: rows(columns) == expected)
        except AssertionError as error:
            raise AssertionError(f"{error}; there is {rows(columns)}; the sink says {failure()}") from None

    wait_for_rows("status, total", [["read", "old", "12.500000000"]])
    orders.put(table, "new", status={"S": "paid"}, total={"N": "38"}, address={"M": {"city": {"S": "Köln"}}})
    orders.put(table, "gone", status={"S": "paid"})
    orders.put(table, "read", total={"N": "13"}, tags={"SS": ["a", "b"]})
    wait_for_rows(
        "status, total, tags, address_city",
        [
            ["gone", "paid", "", "", ""],
            ["new", "paid", "38.000000000", "", "Köln"],
            ["read", "", "13.000000000", "{a,b}", ""],
        ],
    )
    dynamodb_client.delete_item(TableName=table, Key={"id": {"S": "gone"}})
    wait_for_rows("status", [["new", "paid"], ["read", ""]])
    assert failure() == ""
