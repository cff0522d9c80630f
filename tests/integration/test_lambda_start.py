"""How a sandbox of the Lambda function starts: what its copies share, and what it says when Kafka is away."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import tailrace
from support.kafka_clients import read_committed
from support.lambda_batches import SHARD, event, whole
from support.names import unique
from support.pipeline_file import write_file
from support.proxy import KafkaProxy
from support.restored_sandboxes import invoke_restored
from tailrace.config import load
from tailrace.core.lane_messages import ProducerOpened
from tailrace.function.function import Function
from tailrace.kafka.checkpoint_topic import read_checkpoint_state
from tailrace.local.kafka import KafkaBroker
from tailrace.wiring.pipeline import make_producer
from tailrace_simulator.event_source import Answered, Errored
from tailrace_simulator.function import Function as DeployedFunction
from tailrace_simulator.function import load_code

LANES = 4
SECOND_TRY_S = 0.45
"""librdkafka tries again after half a second what it could not do without a connection or a leader."""
TRIES = 8
"""A busy machine may be slower than that by itself, but not always."""


def test_sandboxes_of_one_snapshot_do_not_take_each_other_for_the_same(kafka: KafkaBroker, tmp_path: Path) -> None:
    file = write_file(
        tmp_path, kafka.client_properties(), unique("function"), format="item", lanes=LANES, topics={"partitions": 1}
    )
    invocations = [
        (0, event(1)),
        (1, event(1, 2)),
        (0, event(2, 3)),
        (0, event(4, shard=None)),
        (1, event(5, shard=None)),
        (0, event(6, shard=None)),
    ]
    answers = invoke_restored(file, invocations)
    assert answers[:3] == [whole(), whole(), whole(failed_at=2)], "the second took the shard from the first"
    assert answers[3:] == [{"batchItemFailures": []}] * 3, "with one name for both each would fence the other"
    pipeline = load(file).pipeline
    assert len(read_committed(dict(pipeline.kafka), pipeline.topic_of("orders"))) == 5
    claim = read_checkpoint_state(dict(pipeline.kafka), pipeline.name, LANES).shard_claims
    owners = {record.owner for record in claim.values()}
    assert len(owners) == 2
    assert {shard.shard_id for shard in claim} == {SHARD, *(f"function-{owner}" for owner in owners)}


def test_a_sandbox_does_not_wait_for_librdkafkas_second_try(kafka: KafkaBroker, tmp_path: Path) -> None:
    file = write_file(tmp_path, kafka.client_properties(), unique("function"), format="item", lanes=LANES)
    loaded = load(file)
    pipeline = loaded.pipeline
    Function(loaded, "first").close()

    def takes_less(work: Callable[[], object]) -> bool:
        began_s = time.monotonic()
        work()
        return time.monotonic() - began_s < SECOND_TRY_S

    def take_a_shard() -> None:
        with closing(make_producer(pipeline, "shard-1")) as producer:
            assert isinstance(producer.open(10), ProducerOpened)

    def read_checkpoints() -> None:
        read_checkpoint_state(pipeline.kafka, pipeline.name, LANES)

    for work in (take_a_shard, read_checkpoints):
        assert any(takes_less(work) for _ in range(TRIES)), work


def test_a_kafka_that_does_not_answer_is_told_by_the_first_invocation_and_the_next_goes_on(
    kafka: KafkaBroker, kafka_proxy: KafkaProxy, tmp_path: Path
) -> None:
    properties = kafka.client_properties() | {"bootstrap.servers": kafka.proxied_bootstrap_servers}
    settings: dict[str, Any] = {"format": "item", "lanes": LANES, "lambda": {"timeout": "10s"}}
    file = write_file(tmp_path, properties, unique("function"), **settings)
    environment = {"TAILRACE_PIPELINE": str(file), "PYTHONPATH": str(Path(tailrace.__file__).parents[1])}
    code = load_code("tailrace.lambda_handler:handler", None, tmp_path)
    kafka_proxy.black_hole()
    with DeployedFunction(code, environment=environment, timeout_s=10) as function:
        outcome = function.invoke(json.dumps(event(1)).encode())
        assert isinstance(outcome, Errored)
        assert outcome.error_type == "UnreachableError"
        assert "check that Kafka runs at kafka.bootstrap.servers" in outcome.message
        kafka_proxy.pass_again()
        again = function.invoke(json.dumps(event(1)).encode())
        assert isinstance(again, Answered), again
        assert json.loads(again.payload) == whole()
        assert function.cold_starts == 1, "it was not started over"
