"""With `on_gap: resnapshot` a table heals by itself: what was changed and deleted unseen is published."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from support.bench import Bench
from support.cli import CommandLine
from support.snapshots import latest_values
from support.waiting import wait_for
from support.worker_process import LoggedWorker
from tailrace.core import checkpoint_bytes
from tailrace.core.checkpoint import SnapshotRecord
from tailrace.errors import WorldError
from tailrace.kafka.clients import as_bytes
from tailrace.kafka.topic_reader import TopicReader
from tailrace.local.workload import TableSpec, create_table
from tailrace_simulator import SimulatedDynamoDB

STREAM = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}


DOWN_S = 48 * 3600.0
"""Twice as long as a stream keeps its changes."""


@pytest.fixture
def simulated() -> Iterator[SimulatedDynamoDB]:
    with SimulatedDynamoDB(seed=5) as dynamodb:
        yield dynamodb


@pytest.fixture
def simulated_two_days_ago() -> Iterator[SimulatedDynamoDB]:
    with SimulatedDynamoDB(seed=5, clock=lambda: time.time() - DOWN_S) as dynamodb:
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


def states(found: dict[str, Any]) -> dict[str, str]:
    """The state of each item, of a deleted one the last."""
    return {key: (each["after"] or each["before"])["state"] for key, each in found.items()}


def snapshots_started(pipeline: Bench) -> int:
    """How many snapshots were started, ended and cancelled ones too."""
    found = set()
    with TopicReader(pipeline.kafka, pipeline.checkpoints_topic) as reader:
        for message in reader.read():
            _, record = checkpoint_bytes.decode(as_bytes(message.key()), as_bytes(message.value()), "a test")
            if isinstance(record, SnapshotRecord):
                found.add(record.id)
    return len(found)


def is_repaired(pipeline: Bench) -> bool:
    """Return whether a repair is done; one that a later gap cancels is followed by another."""
    result = pipeline.checkpoint_state().snapshots.result_of(pipeline.tables[0])
    return result is not None and result.outcome == "done"


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

    wait_for("the repair", lambda: is_repaired(pipeline), 240)
    found = latest(pipeline)
    assert states(found) == {
        "kept": "old",
        "changed": "new",
        "added": "new",
        "deleted": "old",
        "deleted before": "old",
    }
    assert {key for key, each in found.items() if each["op"] == "d"} == {"deleted", "deleted before"}
    assert found["deleted"]["source"]["snapshot"] == "incremental"
    result = pipeline.checkpoint_state().snapshots.results[pipeline.tables[0]]
    assert (result.outcome, result.rows + result.stale, result.deletes) == ("done", 3, 1)
    put(pipeline, "kept", state="newer")
    wait_for("a change after the repair", lambda: latest(pipeline)["kept"]["op"] == "u")
    pipeline.stop_workers()


def down_for_two_days(pipeline: Bench, simulated: SimulatedDynamoDB) -> LoggedWorker:
    """Publish changes, then let two days pass without a worker: the shard rolls over, is trimmed and removed."""
    put(pipeline, "kept", "changed", "deleted", state="old")
    pipeline.worker(clock_shift_s=-DOWN_S)
    wait_for("the items", lambda: len(latest(pipeline)) == 3)
    shard = pipeline.shard_of(pipeline.tables[0])
    pipeline.stop_workers()
    change_unseen(pipeline)
    simulated.act("advance", seconds=DOWN_S)
    put(pipeline, "late", state="new")

    worker = pipeline.worker(clock_shift_s=0)
    worker.wait_logged("read failed", shard=shard.shard_id)
    worker.set_clock(60)  # a denial is believed once it has lasted for half a minute
    return worker


def pass_the_denials_of_the_accepted_shard(pipeline: Bench, worker: LoggedWorker) -> None:
    """Let the half minute pass for which the shard must be denied again, once its gap is accepted."""
    wait_for("the acceptance", lambda: pipeline.tables[0] in pipeline.checkpoint_state().accepted)
    worker.wait_logged("read failed", count=len(worker.logged("read failed")) + 1)
    worker.set_clock(120)


def test_a_worker_that_was_down_for_two_days_finds_what_was_changed_and_deleted(
    bench: Callable[..., Bench], simulated_two_days_ago: SimulatedDynamoDB
) -> None:
    pipeline = bench(tables=1, endpoint_url=simulated_two_days_ago.endpoint_url, settings={"on_gap": "resnapshot"})
    worker = down_for_two_days(pipeline, simulated_two_days_ago)
    pass_the_denials_of_the_accepted_shard(pipeline, worker)

    wait_for("the repair", lambda: is_repaired(pipeline), 240)
    wait_for("the change that the stream still holds", lambda: "late" in latest(pipeline))
    found = latest(pipeline)
    assert states(found) == {"kept": "old", "changed": "new", "added": "new", "deleted": "old", "late": "new"}
    assert {key for key, each in found.items() if each["op"] == "d"} == {"deleted"}
    put(pipeline, "kept", state="newer")
    wait_for("a change after the repair", lambda: latest(pipeline)["kept"]["op"] == "u")
    assert snapshots_started(pipeline) == 1, "each generation of shards shows the loss, and one repair covers them all"
    pipeline.stop_workers()


def test_a_worker_that_was_down_for_two_days_stops_the_table_and_says_what_is_lost(
    bench: Callable[..., Bench], simulated_two_days_ago: SimulatedDynamoDB, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = bench(tables=1, endpoint_url=simulated_two_days_ago.endpoint_url, settings={"on_gap": "fail"})
    worker = down_for_two_days(pipeline, simulated_two_days_ago)

    worker.wait_logged("gap", table=pipeline.tables[0])
    wait_for("the gap", lambda: pipeline.checkpoint_state().is_stopped(pipeline.tables[0]))
    status = CommandLine(capsys)("status", pipeline.file)
    assert f"table {pipeline.tables[0]}  stopped by a gap" in status.out
    assert "Shard does not exist; it was deleted, or is older than 24 hours" in status.out
    assert f"! decide what the loss means, then: tailrace accept-gap {pipeline.file}" in status.out
    assert sorted(latest(pipeline)) == ["changed", "deleted", "kept"], "nothing behind the gap is published"

    accepted = CommandLine(capsys)("accept-gap", pipeline.file, "--table", pipeline.tables[0], "--yes")
    assert accepted.code == 0, accepted
    pass_the_denials_of_the_accepted_shard(pipeline, worker)
    wait_for("the change that the stream still holds", lambda: "late" in latest(pipeline))
    assert not pipeline.checkpoint_state().is_stopped(pipeline.tables[0]), "one acceptance is enough"
    pipeline.stop_workers()
