"""With `on_gap: resnapshot` a table heals by itself: what was changed and deleted unseen is published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from support.bench import Bench
from support.snapshots import latest_values
from support.waiting import wait_for
from tailrace.core.snapshot_state import SnapshotState
from tailrace.errors import WorldError
from tailrace.local.workload import TableSpec, create_table
from tailrace_simulator import SimulatedDynamoDB

STREAM = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}


@pytest.fixture
def simulated() -> Iterator[SimulatedDynamoDB]:
    with SimulatedDynamoDB(seed=5) as dynamodb:
        yield dynamodb


def put(pipeline: Bench, *keys: str, state: str) -> None:
    for key in keys:
        pipeline.dynamodb.put_item(TableName=pipeline.tables[0], Item={"id": {"S": key}, "state": {"S": state}})


def delete(pipeline: Bench, key: str) -> None:
    pipeline.dynamodb.delete_item(TableName=pipeline.tables[0], Key={"id": {"S": key}})


def latest(pipeline: Bench) -> dict[str, Any]:
    """The last value of each item in the topic, tombstones left out; nothing while it is being made."""
    try:
        values = latest_values(pipeline.kafka, pipeline.topics[0])
    except WorldError:
        return {}
    return {msgspec.json.decode(key)["id"]: msgspec.json.decode(value) for key, value in values.items()}


def change_unseen(pipeline: Bench) -> None:
    put(pipeline, "changed", "added", state="new")
    delete(pipeline, "deleted")


def stream_is_off(pipeline: Bench, _simulated: SimulatedDynamoDB) -> None:
    table = pipeline.tables[0]
    pipeline.dynamodb.update_table(TableName=table, StreamSpecification={"StreamEnabled": False})
    change_unseen(pipeline)
    pipeline.dynamodb.update_table(TableName=table, StreamSpecification=STREAM)


def changes_are_trimmed(pipeline: Bench, simulated: SimulatedDynamoDB) -> None:
    change_unseen(pipeline)
    simulated.act("trim", table=pipeline.tables[0])


def table_is_made_again(pipeline: Bench, _simulated: SimulatedDynamoDB) -> None:
    pipeline.dynamodb.delete_table(TableName=pipeline.tables[0])
    create_table(pipeline.dynamodb, TableSpec(pipeline.tables[0]))
    put(pipeline, "kept", state="old")
    put(pipeline, "changed", "added", state="new")


@pytest.mark.parametrize("lose", [stream_is_off, changes_are_trimmed, table_is_made_again])
def test_what_was_lost_is_found_in_the_table(
    bench: Callable[..., Bench],
    simulated: SimulatedDynamoDB,
    lose: Callable[[Bench, SimulatedDynamoDB], None],
) -> None:
    pipeline = bench(tables=1, endpoint_url=simulated.endpoint_url, settings={"on_gap": "resnapshot"})
    put(pipeline, "kept", "changed", "deleted", "deleted before", state="old")
    pipeline.worker()
    wait_for("the items", lambda: len(latest(pipeline)) == 4)
    delete(pipeline, "deleted before")
    wait_for("the delete", lambda: latest(pipeline)["deleted before"]["op"] == "d")
    pipeline.stop_workers()

    lose(pipeline, simulated)
    pipeline.worker()

    def snapshots() -> SnapshotState:
        return pipeline.checkpoint_state().snapshots

    wait_for("the repair", lambda: snapshots().result_of(pipeline.tables[0]) is not None, 240)
    found = latest(pipeline)
    assert {key: (each["after"] or each["before"])["state"] for key, each in found.items()} == {
        "kept": "old",
        "changed": "new",
        "added": "new",
        "deleted": "old",
        "deleted before": "old",
    }
    assert {key for key, each in found.items() if each["op"] == "d"} == {"deleted", "deleted before"}
    assert found["deleted"]["source"]["snapshot"] == "incremental"
    result = snapshots().results[pipeline.tables[0]]
    assert (result.outcome, result.rows + result.stale, result.deletes) == ("done", 3, 1)
    put(pipeline, "kept", state="newer")
    wait_for("a change after the repair", lambda: latest(pipeline)["kept"]["op"] == "u")
    pipeline.stop_workers()
