"""The Lambda function on a real broker: batches that come again, cut, twice at once, late, or to another sandbox."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from support.checkpoints import stream
from support.kafka_clients import read_committed
from support.lambda_batches import FIRST, SHARD, event, of_stream, record, whole, windowed
from support.names import unique
from support.pipeline_file import write_file
from tailrace.config import LambdaFunction, LoadedPipeline, Pipeline, load
from tailrace.core.shard import ShardRef
from tailrace.errors import WorldError
from tailrace.function.function import Function
from tailrace.kafka import clients
from tailrace.kafka.checkpoint_topic import read_checkpoint_state
from tailrace.local.kafka import KafkaBroker
from tailrace.operations.switch import switch

LANES = 4


def plenty() -> float:
    return 60.0


@pytest.fixture
def pipeline(kafka: KafkaBroker, tmp_path: Path) -> Pipeline:
    file = write_file(
        tmp_path,
        kafka.client_properties(),
        unique("function"),
        format="item",
        lanes=LANES,
        topics={"partitions": 1},
        batch={"changes": 2},
    )
    return load(file).pipeline


@pytest.fixture
def sandbox(pipeline: Pipeline) -> Iterator[Callable[..., Function]]:
    """Starts sandboxes."""
    with ExitStack() as opened:

        def start(served: Pipeline = pipeline, **options: Any) -> Function:
            function = Function(LoadedPipeline(served), unique("sandbox"), **options)
            opened.callback(function.close)
            return function

        yield start


def published(pipeline: Pipeline) -> list[int]:
    """The numbers of the published changes, in the order of the topic."""
    values = [message.value() for message in read_committed(dict(pipeline.kafka), pipeline.topic_of("orders"))]
    return [int(str(value).rpartition('"n":')[2].rstrip("}'")) for value in values]


def test_batches_are_published_in_transactions_and_answered_for(
    pipeline: Pipeline, sandbox: Callable[..., Function]
) -> None:
    function = sandbox()
    assert function.handle(event(1, 2, 3), plenty) == whole()
    assert function.handle(event(4), plenty) == whole()
    assert function.handle({**event(), "isFinalInvokeForWindow": True}, plenty) == whole()
    assert published(pipeline) == [1, 2, 3, 4]
    checkpoint = read_checkpoint_state(dict(pipeline.kafka), pipeline.name, LANES).checkpoints[
        ShardRef(stream(), SHARD)
    ]
    assert (checkpoint.sequence, checkpoint.state, checkpoint.table) == (str(FIRST + 4), "open", "orders")


def test_a_batch_that_comes_again_publishes_only_what_is_missing(
    pipeline: Pipeline, sandbox: Callable[..., Function]
) -> None:
    function = sandbox()
    function.handle(event(1, 2), plenty)
    assert function.handle(event(1, 2), plenty) == whole()
    assert sandbox().handle(event(1, 2, 3), plenty) == whole(), "another sandbox knows it from the checkpoint"
    assert published(pipeline) == [1, 2, 3]


def test_a_sandbox_that_another_one_fenced_gives_its_batch_back_and_then_goes_on(
    pipeline: Pipeline, sandbox: Callable[..., Function]
) -> None:
    frozen, other = sandbox(), sandbox()
    frozen.handle(event(1), plenty)
    other.handle(event(1, 2), plenty)
    assert frozen.handle(event(2, 3), plenty) == whole(failed_at=2)
    assert published(pipeline) == [1, 2]
    assert frozen.handle(event(2, 3), plenty) == whole()
    assert published(pipeline) == [1, 2, 3]


def test_what_does_not_fit_into_the_time_is_given_back(
    pipeline: Pipeline, sandbox: Callable[..., Function], monkeypatch: pytest.MonkeyPatch
) -> None:
    function = sandbox()
    function.handle(event(1), plenty)
    left = iter([60.0, 0.5])
    assert function.handle(event(2, 3, 4, 5), lambda: next(left)) == whole(failed_at=4), "one transaction of two"
    assert function.handle(event(4, 5), plenty) == whole()
    assert published(pipeline) == [1, 2, 3, 4, 5]


def test_a_record_that_cannot_be_converted_becomes_a_dead_letter_and_stalls_nothing(
    pipeline: Pipeline, sandbox: Callable[..., Function]
) -> None:
    batch = event(1, 2, 3)
    batch["Records"][1]["dynamodb"]["NewImage"] = {"id": {"S": "a"}, "n": {"N": "many"}}
    assert sandbox().handle(batch, plenty) == whole()
    assert published(pipeline) == [1, 3]
    assert len(read_committed(dict(pipeline.kafka), pipeline.dead_letters_topic)) == 1


def test_a_sandbox_keeps_a_bounded_number_of_producers(pipeline: Pipeline, sandbox: Callable[..., Function]) -> None:
    function = sandbox(shards_max=2)
    for round_number in range(2):
        for number in range(4):
            function.handle(event(round_number + 1, shard=f"shardId-{number}"), plenty)
    assert len(function._shards) == 2
    assert sorted(published(pipeline)) == [1] * 4 + [2] * 4


def test_without_a_window_a_batch_that_comes_again_is_published_again(
    pipeline: Pipeline, sandbox: Callable[..., Function], caplog: pytest.LogCaptureFixture
) -> None:
    function = sandbox()
    for _ in range(2):
        assert function.handle(event(1, shard=None), plenty) == {"batchItemFailures": []}
    assert published(pipeline) == [1, 1]
    assert "at least once" in caplog.text


def test_several_batches_of_a_shard_at_once_are_published_at_least_once(
    pipeline: Pipeline, sandbox: Callable[..., Function], caplog: pytest.LogCaptureFixture
) -> None:
    lambda_key = {"window": "0s", "parallelization_factor": 2}
    several = pipeline.model_copy(update={"function": LambdaFunction.model_validate(lambda_key)})
    function = sandbox(several)
    assert "changes are published at least once" in caplog.text, "it is told at the start"
    for _ in range(2):
        assert function.handle(event(1), plenty) == whole()
    assert published(pipeline) == [1, 1]


def test_an_event_from_elsewhere_is_refused(sandbox: Callable[..., Function]) -> None:
    function = sandbox()
    with pytest.raises(WorldError, match="from aws:sqs"):
        function.handle({"Records": [{"eventSource": "aws:sqs"}]}, plenty)
    with pytest.raises(WorldError, match="not an object"):
        function.handle([1], plenty)


def test_only_the_method_that_is_active_publishes(pipeline: Pipeline, sandbox: Callable[..., Function]) -> None:
    function = sandbox()
    function.handle(event(1), plenty)
    done = switch(LoadedPipeline(pipeline), "worker")
    assert (done.before, done.method, done.fenced) == ("lambda", "worker", LANES + 1)
    with suppress(WorldError):  # after a commit that was slow it takes the shard anew at once
        assert function.handle(event(2), plenty) == whole(failed_at=2), "it finds itself fenced"
    with pytest.raises(WorldError, match="tailrace switch FILE --to lambda"):
        function.handle(event(2), plenty)
    with pytest.raises(WorldError, match="served by the method worker"):
        sandbox()
    assert published(pipeline) == [1]
    switch(LoadedPipeline(pipeline), "lambda")
    assert function.handle(event(2), plenty) == whole()
    assert published(pipeline) == [1, 2]


def test_a_record_that_a_batch_holds_twice_is_published_once(
    pipeline: Pipeline, sandbox: Callable[..., Function]
) -> None:
    function = sandbox()
    assert function.handle(event(1, 1, 2, 3, 3), plenty) == whole()
    assert function.handle(event(4, 4, shard=None), plenty) == {"batchItemFailures": []}
    assert published(pipeline) == [1, 2, 3, 4]


def test_a_table_that_the_file_does_not_name_fails_its_invocation_and_makes_no_topic(
    pipeline: Pipeline, sandbox: Callable[..., Function]
) -> None:
    batch = windowed([of_stream(record(1), stream("other"))], stream("other"))
    with pytest.raises(WorldError, match="the event is of table other, which the pipeline file does not name"):
        sandbox().handle(batch, plenty)
    assert pipeline.topic_of("other") not in clients.metadata(clients.admin(pipeline.kafka), pipeline.kafka).topics


@pytest.mark.parametrize("codec", ["lz4", "none"])
def test_records_above_a_megabyte_cost_an_invocation_seconds(kafka: KafkaBroker, tmp_path: Path, codec: str) -> None:
    file = write_file(
        tmp_path,
        {**kafka.client_properties(), "compression.type": codec},
        unique("function"),
        format="item",
        lanes=LANES,
        topics={"partitions": 1, "properties": {"max.message.bytes": "1048588"}},
    )
    pipeline = load(file).pipeline
    batch = event(*range(1, 11))
    for number, each in enumerate(batch["Records"], 1):
        if number <= 8:
            body = base64.b64encode(random.Random(number).randbytes(800_000)).decode()
            each["dynamodb"]["NewImage"]["body"] = {"S": body}
    function = Function(LoadedPipeline(pipeline), unique("sandbox"))
    with closing(function):
        started_s = time.monotonic()
        assert function.handle(batch, plenty) == whole()
    assert time.monotonic() - started_s < 30
    assert published(pipeline) == [9, 10]
    letters = read_committed(dict(pipeline.kafka), pipeline.dead_letters_topic)
    assert len(letters) == 8
    assert [len(letter.value() or b"") > 1_000_000 for letter in letters] == [True] * 8, "with the source's record"
