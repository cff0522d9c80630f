"""Tables that share a Kinesis stream: a gap of the stream is repaired in all of them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from support.bench import Bench
from support.kinesis_bench import STREAM, on_kinesis
from support.snapshots import latest_values
from support.waiting import wait_for
from tailrace.core.checkpoint import SnapshotResult
from tailrace.errors import WorldError
from tailrace_simulator import SimulatedDynamoDB
from tailrace_simulator.actions import parse_script

ONE_SHARD = {"settings": {"on_demand_shards": 1}}


def put(pipeline: Bench, state: str, *keys: str) -> None:
    """Write items into every table."""
    for table in pipeline.tables:
        for key in keys:
            pipeline.dynamodb.put_item(TableName=table, Item={"id": {"S": key}, "state": {"S": state}})


def delete(pipeline: Bench, key: str) -> None:
    for table in pipeline.tables:
        pipeline.dynamodb.delete_item(TableName=table, Key={"id": {"S": key}})


def shown(pipeline: Bench, table: str) -> dict[str, str | None]:
    """The last state of each item in the table's topic, None of one that was deleted; nothing while it is made."""
    try:
        values = latest_values(pipeline.kafka, pipeline.topic(table))
    except WorldError:
        return {}
    changes = {msgspec.json.decode(key)["id"]: msgspec.json.decode(value) for key, value in values.items()}
    return {key: change["after"] and change["after"]["state"] for key, change in changes.items()}


def result_of(pipeline: Bench, table: str) -> SnapshotResult | None:
    return pipeline.checkpoint_state().snapshots.result_of(table)


def test_a_gap_of_a_stream_is_repaired_in_every_table_that_it_carries(bench: Callable[..., Bench]) -> None:
    """In those that a pattern brings in, too: they are found by where they write their changes."""
    with SimulatedDynamoDB(seed=6, script=parse_script(ONE_SHARD)) as simulated:
        pipeline = bench(endpoint_url=simulated.endpoint_url, tables=2, settings={"on_gap": "resnapshot"})
        named, matched = pipeline.tables
        on_kinesis(pipeline, simulated, tables=[named, matched[:-1] + "?"])
        put(pipeline, "old", "kept", "changed", "deleted")
        worker = pipeline.worker()
        wait_for("the items", lambda: all(len(shown(pipeline, table)) == 3 for table in pipeline.tables))
        worker.terminate()
        worker.wait()
        put(pipeline, "new", "changed", "added")
        delete(pipeline, "deleted")
        simulated.act("trim", stream=STREAM)

        pipeline.worker().wait_logged("gap", table=STREAM)
        wait_for("the repair", lambda: all(result_of(pipeline, table) for table in pipeline.tables), 120)
        for table in pipeline.tables:
            result = result_of(pipeline, table)
            assert result is not None
            assert (result.outcome, result.rows, result.deletes) == ("done", 3, 1)
            assert shown(pipeline, table) == {"kept": "old", "changed": "new", "added": "new", "deleted": None}
        assert pipeline.checkpoint_state().snapshots.snapshots.keys() == set(pipeline.tables)
        put(pipeline, "newer", "kept")
        wait_for(
            "a change after the repair",
            lambda: all(shown(pipeline, table)["kept"] == "newer" for table in pipeline.tables),
        )
