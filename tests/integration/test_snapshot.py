"""A table is loaded while it is written to: every row once, no older state after a newer one, nothing missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from support.bench import Bench
from support.cli import CommandLine
from support.kafka_clients import TIMEOUT_S, client
from support.snapshots import SnapshotTable
from support.waiting import wait_for
from tailrace.local.checker import Verdict
from tailrace.local.kafka import KafkaBroker
from tailrace_simulator import SimulatedDynamoDB
from tailrace_simulator.actions import parse_script

SNAPSHOT = {"snapshot": {"mode": "initial", "segments": 4}}
QUICK = {"transaction.timeout.ms": 6_000}
"""A transaction of unknown outcome is given up after so long."""
SCAN_FAULTS = {"throttle": 0.05, "server_error": 0.05, "lost": 0.05, "cut_short": 0.05}


def test_a_table_is_loaded_while_its_items_change_and_a_worker_is_killed(bench: Callable[..., Bench]) -> None:
    """Nothing is written while the chunks wait: creation times of DynamoDB Local are of the minute."""
    pipeline = bench(tables=1, settings=SNAPSHOT, items=40)
    table = SnapshotTable(pipeline, items=3_000, changes=200)
    with pipeline.workload:
        first = pipeline.worker()
        first.wait_logged("snapshot lane taken")
        first.kill()
        pipeline.worker().wait_logged("snapshot lane taken")
        wait_for("some changes are published", lambda: table.verdict().found > 100)
    table.wait_done()
    table.settle()


def test_processes_of_snapshots_alone_do_their_share_beside_a_worker(
    bench: Callable[..., Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = bench(tables=1, items=10, rate=5)
    table = SnapshotTable(pipeline, items=500)
    pipeline.worker()
    wait_for("the table", lambda: table.name in pipeline.checkpoint_state().tables)
    alone = pipeline.worker(None, "--snapshot-only", ready=False)
    wait_for("it has joined", lambda: not alone.unready())
    started = CommandLine(capsys)("snapshot", "start", pipeline.file, "--table", table.name)
    assert started.code == 0, started
    table.wait_done()
    assert alone.logged("segment done") or pipeline.workers[0].logged("segment done")
    assert alone.logged("snapshot lane taken")
    chunks = alone.metric("tailrace_snapshot_chunk_duration_seconds_count")
    assert alone.metric("tailrace_snapshot_chunk_duration_seconds_sum") >= chunks, "each waits for the barrier"
    table.settle()


def test_a_table_under_heavy_writes_is_loaded_while_workers_and_the_broker_fail(
    bench: Callable[..., Bench], own_kafka: KafkaBroker
) -> None:
    with SimulatedDynamoDB(seed=3, script=parse_script({"rates": {"Scan": SCAN_FAULTS}})) as dynamodb:
        pipeline = bench(
            on=own_kafka.client_properties(),
            endpoint_url=dynamodb.endpoint_url,
            tables=1,
            items=100,
            rate=150,
            tuning=QUICK,
            settings={"snapshot": {"mode": "initial", "segments": 8, "read_capacity": 250}},
        )
        table = SnapshotTable(pipeline, items=2_500, text_bytes=4_000, changes=300)

        def wait_more() -> None:
            before = table.rows()
            wait_for("more rows", lambda: table.rows() > before or table.is_done())

        killed, frozen = pipeline.worker(), pipeline.worker()
        with pipeline.workload:
            wait_more()
            killed.kill()
            pipeline.worker()
            wait_more()
            frozen.freeze()
            own_kafka.kill()
            own_kafka.start()
            wait_more()
            frozen.thaw()
            own_kafka.restart()
            assert not table.is_done()
            table.wait_done()
        table.settle()


@pytest.mark.parametrize("start", ["latest", "trim_horizon"])
def test_a_plain_scan_and_then_the_stream_is_found_to_be_wrong(bench: Callable[..., Bench], start: str) -> None:
    """From the stream's end on, what changes during the scan is lost; from its beginning, older states come last."""
    pipeline = bench(tables=1, items=10)
    settings = pipeline.settings["source"] | {"start": start}
    table = SnapshotTable(pipeline, items=100, changes=50)
    pipeline.workload.run(50)
    rows = _scan(pipeline, table.name)
    pipeline.workload.run(50)
    _produce(pipeline, table.name, rows)
    pipeline.worker(pipeline.write_file(source=settings)).wait_logged("streaming")
    pipeline.workload.run(50)

    def is_caught_up() -> bool:
        verdict.append(table.verdict())
        return verdict[-1].found >= (50 if start == "latest" else 150)

    verdict: list[Verdict] = []
    wait_for("the changes are published", is_caught_up)
    assert (verdict[-1].lost > 0) == (start == "latest"), verdict[-1]
    assert (verdict[-1].out_of_order > 0) == (start == "trim_horizon"), verdict[-1]
    assert not verdict[-1].good


def _scan(pipeline: Bench, table: str) -> list[dict[str, Any]]:
    pages = pipeline.dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return [item for page in pages for item in page["Items"]]


def _produce(pipeline: Bench, table: str, rows: list[dict[str, Any]]) -> None:
    topic = pipeline.topic(table)
    admin = AdminClient(client(pipeline.kafka))
    admin.create_topics([NewTopic(topic, 3, 1)])[topic].result()
    producer = Producer({**client(pipeline.kafka), "partitioner": "murmur2_random"})
    for row in rows:
        key, version = row["id"]["S"], int(row["version"]["N"])
        value = {"op": "r", "source": {"table": table}, "before": None, "after": {"id": key, "version": version}}
        producer.produce(topic, json.dumps(value), json.dumps({"id": key}, separators=(",", ":"), ensure_ascii=False))
    assert producer.flush(TIMEOUT_S) == 0
