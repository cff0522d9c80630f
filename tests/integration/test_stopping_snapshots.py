"""SIGTERM ends a process that reads snapshots, whatever it waits for."""

from __future__ import annotations

from collections.abc import Callable

from support.bench import Bench
from support.proxy import KafkaProxy
from support.snapshots import SnapshotTable
from support.waiting import TIMEOUT_S, wait_for
from support.worker_process import STOP_TIMEOUT_S
from tailrace.local.kafka import KafkaBroker
from tailrace_simulator import SimulatedDynamoDB


def test_workers_of_snapshots_end_when_neither_kafka_nor_the_table_answers(
    bench: Callable[..., Bench], kafka: KafkaBroker, kafka_proxy: KafkaProxy
) -> None:
    with SimulatedDynamoDB(seed=1) as dynamodb:
        pipeline = bench(
            endpoint_url=dynamodb.endpoint_url,
            tables=1,
            items=10,
            through={"bootstrap.servers": kafka.proxied_bootstrap_servers},
            settings={"snapshot": {"mode": "initial", "segments": 2, "read_capacity": 100}},
        )
        table = SnapshotTable(pipeline, items=800, text_bytes=4_000)
        processes = [pipeline.worker(), pipeline.worker(None, "--snapshot-only", ready=False)]
        wait_for("both have joined", lambda: not any(each.unready() for each in processes))
        wait_for("rows are published", lambda: table.rows() > 0, 3 * TIMEOUT_S)
        dynamodb.act("rates", rates={"Scan": {"hang": 1.0}, "DescribeTable": {"hang": 1.0}})
        wait_for("a read hangs", lambda: dynamodb.state()["faults"].get("Scan hang", 0) > 0)
        assert not table.is_done()
        kafka_proxy.black_hole()
        for each in processes:
            each.terminate()
        assert [each.wait(2 * STOP_TIMEOUT_S) for each in processes] == [0, 0]
        kafka_proxy.pass_again()
        dynamodb.act("release")
