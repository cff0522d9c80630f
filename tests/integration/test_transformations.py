"""A worker with a transformation: what it drops, changes and routes, what fails, and that the promises hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.bench import Bench
from support.kafka_clients import read_committed
from support.names import unique
from support.waiting import wait_for
from tailrace.operations.record_view import header_texts

FUNCTIONS = """\
from tailrace.transform import Change

def cents(change: Change) -> Change | None:
    for item in (change.before, change.after):
        if item is not None:
            item["cents"] = item.pop("total") * 100
    return change

def same(change: Change) -> list[Change]:
    return [change]
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    """A module with functions beside the pipeline file."""
    name = unique("functions").replace("-", "_")
    (tmp_path / f"{name}.py").write_text(FUNCTIONS)
    return name


def steps(module: str) -> list[dict[str, Any]]:
    return [
        {"filter": "item.state != 'draft'"},
        {"mask": {"attributes": ["card"], "keep_last": 4}},
        {"function": f"{module}:cents"},
        {"route": {"by": "item.kind", "topics": {"order": "{pipeline}.orders", "invoice": "{pipeline}.invoices"}}},
    ]


def put(pipeline: Bench, number: int, **attributes: str) -> None:
    """Write an item with a total, unless the attributes say otherwise."""
    typed: dict[str, Any] = {name: {"S": value} for name, value in attributes.items()}
    item = {"id": {"S": f"i-{number}"}, "total": {"N": "1.50"}, **typed}
    if attributes.get("total") == "none":
        del item["total"]
    pipeline.dynamodb.put_item(TableName=pipeline.tables[0], Item=item)


def write_all_kinds(pipeline: Bench) -> None:
    """Write a change of each kind; the last is a draft, so that the page ends with a change that is dropped."""
    put(pipeline, 1, kind="order", card="4111111111111111")
    put(pipeline, 2, kind="order", state="draft")
    put(pipeline, 3, kind="invoice", state="open")
    put(pipeline, 4, kind="order", total="none")
    put(pipeline, 5, kind="refund")
    pipeline.dynamodb.delete_item(TableName=pipeline.tables[0], Key={"id": {"S": "i-1"}})
    put(pipeline, 6, kind="order", state="draft")


def values(pipeline: Bench, topic: str) -> list[Any]:
    """The values of a topic of one partition; a tombstone is None."""
    name = f"{pipeline.name}.{topic}"
    if name not in pipeline.existing_topics():
        return []
    found = [message.value() for message in read_committed(pipeline.kafka, name)]
    return [None if value is None else json.loads(value) for value in found]


def letters(pipeline: Bench) -> list[dict[str, str]]:
    """The headers of the dead letters."""
    if pipeline.dead_letters_topic not in pipeline.existing_topics():
        return []
    found = read_committed(pipeline.kafka, pipeline.dead_letters_topic)
    return [header_texts(message.headers()) for message in found]


def last_sequence(pipeline: Bench) -> str | None:
    checkpoint = pipeline.checkpoint_state().checkpoints.get(pipeline.shard_of(pipeline.tables[0]))
    return checkpoint.sequence if checkpoint else None


def test_changes_are_dropped_masked_changed_and_routed_and_failures_are_dead_letters(
    bench: Callable[..., Bench], module: str
) -> None:
    pipeline = bench(tables=1, settings={"transform": steps(module), "topics": {"partitions": 1}})
    write_all_kinds(pipeline)
    worker = pipeline.worker()
    wait_for("the orders", lambda: len(values(pipeline, "orders")) == 3)
    create, delete, tombstone = values(pipeline, "orders")
    shown = {"id": "i-1", "kind": "order", "card": "***1111", "cents": 150.0}
    assert (create["op"], create["after"]) == ("c", shown)
    assert (delete["op"], delete["before"], tombstone) == ("d", shown, None)
    (invoice,) = values(pipeline, "invoices")
    assert invoice["after"] == {"id": "i-3", "kind": "invoice", "state": "open", "cents": 150.0}

    failed, unrouted = letters(pipeline)
    assert {failed["__connect.errors.stage"], unrouted["__connect.errors.stage"]} == {"TRANSFORMATION"}
    assert (
        f"transform[2]: function: the function {module}:cents raised KeyError: 'total' ({module}.py:6)"
        in failed.values()
    )
    assert unrouted["__connect.errors.exception.message"].startswith(
        "transform[3]: route: no topic stands for the value"
    )
    assert pipeline.topic(pipeline.tables[0]) not in pipeline.existing_topics()

    assert worker.metric("tailrace_changes_dropped_total", table=pipeline.tables[0]) == 2
    before = last_sequence(pipeline)
    worker.kill()
    put(pipeline, 7, kind="invoice")
    pipeline.worker()
    wait_for("the next invoice", lambda: len(values(pipeline, "invoices")) == 2)
    assert (len(values(pipeline, "orders")), len(letters(pipeline))) == (3, 2)
    assert int(last_sequence(pipeline) or 0) > int(before or 0)


def test_the_checkpoint_moves_on_while_everything_is_dropped(bench: Callable[..., Bench]) -> None:
    pipeline = bench(tables=1, settings={"transform": [{"filter": "item.wanted"}], "topics": {"partitions": 1}})
    pipeline.worker()
    put(pipeline, 1)
    wait_for("a checkpoint", lambda: last_sequence(pipeline) is not None)
    first = last_sequence(pipeline)
    put(pipeline, 2)
    wait_for("the next checkpoint", lambda: last_sequence(pipeline) != first)
    assert values(pipeline, pipeline.tables[0]) == []


def test_with_errors_fail_a_function_that_raises_stops_its_shard(bench: Callable[..., Bench], module: str) -> None:
    settings = {"transform": steps(module), "topics": {"partitions": 1}, "errors": "fail"}
    pipeline = bench(tables=1, settings=settings)
    write_all_kinds(pipeline)
    worker = pipeline.worker()
    worker.wait_logged("shard failed", table=pipeline.tables[0])
    (line,) = worker.logged("shard failed", table=pipeline.tables[0])
    assert f"the function {module}:cents raised KeyError: 'total'" in line["detail"]
    wait_for("what came before is published", lambda: len(values(pipeline, "invoices")) == 1)
    assert (len(values(pipeline, "orders")), letters(pipeline)) == (1, [])


def test_a_function_through_which_everything_passes_changes_none_of_the_promises(
    bench: Callable[..., Bench], module: str
) -> None:
    pipeline = bench(tables=3, settings={"transform": [{"filter": "keys"}, {"function": f"{module}:same"}]})
    first = pipeline.worker()
    pipeline.worker()
    pipeline.workload.run(300)
    first.kill()
    pipeline.workload.run(300)
    pipeline.settle()


def test_a_table_on_which_a_step_cannot_work_is_not_streamed_and_the_others_are(bench: Callable[..., Bench]) -> None:
    pipeline = bench(view_types=["NEW_AND_OLD_IMAGES", "KEYS_ONLY"], settings={"topics": {"partitions": 1}})
    good, bad = pipeline.tables
    first = pipeline.worker()
    wait_for("both are known", lambda: len(pipeline.checkpoint_state().shards) == 2)
    first.terminate()
    assert first.wait() == 0
    worker = pipeline.worker(pipeline.write_file(transform=[{"tables": [bad], "filter": "item.kind"}]))
    told = f"table {bad} is not streamed: table {bad}: transform[0]: filter: the expression item.kind needs an image"
    wait_for("it is told", lambda: any(told in line["event"] for line in worker.logged_by("tailrace.enumerator")))
    put(pipeline, 1)
    wait_for("the other goes on", lambda: [value["after"]["id"] for value in values(pipeline, good)] == ["i-1"])
