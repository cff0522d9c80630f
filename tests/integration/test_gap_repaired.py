"""With `on_gap: resnapshot` a table heals by itself: what was changed and deleted unseen is published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from support.bench import Bench
from support.snapshots import latest_values
from support.waiting import wait_for
from tailrace.errors import WorldError

REPAIR = {"on_gap": "resnapshot"}


def put(pipeline: Bench, key: str, state: str) -> None:
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


def test_a_stream_that_was_off_for_a_while(bench: Callable[..., Bench]) -> None:
    pipeline = bench(tables=1, settings=REPAIR)
    table = pipeline.tables[0]
    for key in ("kept", "changed", "deleted", "deleted before"):
        put(pipeline, key, "old")
    worker = pipeline.worker()
    wait_for("the items", lambda: len(latest(pipeline)) == 4)
    delete(pipeline, "deleted before")
    wait_for("the delete", lambda: latest(pipeline)["deleted before"]["op"] == "d")
    pipeline.stop_workers()

    pipeline.dynamodb.update_table(TableName=table, StreamSpecification={"StreamEnabled": False})
    put(pipeline, "changed", "new")
    put(pipeline, "added", "new")
    delete(pipeline, "deleted")
    specification = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    pipeline.dynamodb.update_table(TableName=table, StreamSpecification=specification)

    worker = pipeline.worker()
    wait_for("the repair", lambda: pipeline.checkpoint_state().snapshots.result_of(table) is not None)
    found = latest(pipeline)
    assert {key: (each["op"], (each["after"] or each["before"])["state"]) for key, each in found.items()} == {
        "kept": ("r", "old"),
        "changed": ("r", "new"),
        "added": ("r", "new"),
        "deleted": ("d", "old"),
        "deleted before": ("d", "old"),
    }
    assert found["deleted"]["source"]["snapshot"] == "incremental"
    result = pipeline.checkpoint_state().snapshots.results[table]
    assert (result.outcome, result.rows, result.deletes) == ("done", 3, 1)
    put(pipeline, "kept", "newer")
    wait_for("a change after the repair", lambda: latest(pipeline)["kept"]["op"] == "u")
    pipeline.stop_workers()
    assert worker.logged("snapshot started")
