"""Every stream view type with every format: served, or refused in a sentence; and how a record may look."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from support.bench import Bench
from support.kafka_clients import read_committed
from support.waiting import wait_for
from tailrace.core.change import ViewType

VIEW_TYPES: tuple[ViewType, ...] = ("NEW_AND_OLD_IMAGES", "NEW_IMAGE", "OLD_IMAGE", "KEYS_ONLY")
WITH_BEFORE = {"NEW_AND_OLD_IMAGES", "OLD_IMAGE"}
WITH_AFTER = {"NEW_AND_OLD_IMAGES", "NEW_IMAGE"}
DIGITS = "12345678901234567890123456789012345678"

ITEM = {"id": "a", "number": 1, "note": "one"}
CHANGED = {"id": "a", "number": 1, "note": "two"}


def make_changes(pipeline: Bench, table: str) -> None:
    """Create, update and delete one item."""
    for note in ("one", "two"):
        item = {"id": {"S": "a"}, "number": {"N": "1"}, "note": {"S": note}}
        pipeline.dynamodb.put_item(TableName=table, Item=item)
    pipeline.dynamodb.delete_item(TableName=table, Key={"id": {"S": "a"}})


def records(pipeline: Bench, table: str) -> list[Any]:
    """The values of a table's only item; None stands for a null value."""
    if pipeline.topic(table) not in pipeline.existing_topics():
        return []
    found = read_committed(pipeline.kafka, pipeline.topic(table))
    assert {message.key() for message in found} <= {b'{"id":"a"}'}
    return [json.loads(value) if (value := message.value()) is not None else None for message in found]


def wait_for_records(pipeline: Bench, table: str, count: int) -> list[Any]:
    wait_for(f"table {table} has {count} records", lambda: len(records(pipeline, table)) >= count)
    return records(pipeline, table)


@pytest.fixture
def tables_of(bench: Callable[..., Bench]) -> Callable[..., tuple[Bench, dict[ViewType, str]]]:
    """Makes a pipeline with a table of each view type, each with a create, an update and a delete of one item."""

    def make(format_name: str, view_types: tuple[ViewType, ...]) -> tuple[Bench, dict[ViewType, str]]:
        pipeline = bench(view_types=view_types, settings={"format": format_name, "topics": {"partitions": 1}})
        for table in pipeline.tables:
            make_changes(pipeline, table)
        return pipeline, dict(zip(view_types, pipeline.tables, strict=True))

    return make


TablesOf = Callable[[str, tuple[ViewType, ...]], tuple[Bench, dict[ViewType, str]]]


@pytest.mark.parametrize("native", ["off", ""], ids=["pure", "native where it is built"])
def test_debezium_serves_every_view_type_with_the_images_that_it_carries(
    tables_of: TablesOf, monkeypatch: pytest.MonkeyPatch, native: str
) -> None:
    monkeypatch.setenv("TAILRACE_NATIVE", native)
    pipeline, tables = tables_of("debezium", VIEW_TYPES)
    pipeline.worker()
    for view_type, table in tables.items():
        before, after = view_type in WITH_BEFORE, view_type in WITH_AFTER
        create, update, delete, tombstone = wait_for_records(pipeline, table, 4)
        assert (create["op"], update["op"], delete["op"], tombstone) == ("c", "u", "d", None)
        assert (create["before"], create["after"] == ITEM) == (None, after)
        assert (update["before"] == ITEM, update["after"] == CHANGED) == (before, after)
        assert (delete["before"] == CHANGED, delete["after"]) == (before, None)
        assert create["source"]["table"] == table


def test_dynamodb_json_serves_every_view_type_with_the_images_that_it_carries(tables_of: TablesOf) -> None:
    pipeline, tables = tables_of("dynamodb-json", VIEW_TYPES)
    pipeline.worker()
    for view_type, table in tables.items():
        create, update, delete, tombstone = wait_for_records(pipeline, table, 4)
        assert [create["eventName"], update["eventName"], delete["eventName"]] == ["INSERT", "MODIFY", "REMOVE"]
        images = ("OldImage" in update["dynamodb"], "NewImage" in update["dynamodb"])
        assert images == (view_type in WITH_BEFORE, view_type in WITH_AFTER)
        assert tombstone is None


def test_cloudevents_serves_every_view_type_with_the_images_that_it_carries(tables_of: TablesOf) -> None:
    pipeline, tables = tables_of("cloudevents", VIEW_TYPES)
    pipeline.worker()
    for view_type, table in tables.items():
        create, update, delete, tombstone = wait_for_records(pipeline, table, 4)
        assert [event["specversion"] for event in (create, update, delete)] == ["1.0"] * 3
        assert len({event["id"] for event in (create, update, delete)}) == 3
        assert (update["data"].get("before") == ITEM) == (view_type in WITH_BEFORE)
        assert (update["data"].get("after") == CHANGED) == (view_type in WITH_AFTER)
        assert tombstone is None


def test_item_serves_the_view_types_with_a_new_image(tables_of: TablesOf) -> None:
    pipeline, tables = tables_of("item", ("NEW_AND_OLD_IMAGES", "NEW_IMAGE"))
    pipeline.worker()
    for table in tables.values():
        assert wait_for_records(pipeline, table, 3) == [ITEM, CHANGED, None]


def test_item_refuses_the_view_types_without_a_new_image_in_a_sentence_for_each_table(tables_of: TablesOf) -> None:
    pipeline, tables = tables_of("item", VIEW_TYPES)
    worker = pipeline.worker(ready=False)
    assert worker.wait() == 3
    assert len(worker.lines) == 2
    for sentence, view_type in zip(worker.lines, VIEW_TYPES[2:], strict=True):
        assert tables[view_type] in sentence
        assert f"view type {view_type}" in sentence
        assert "choose another format" in sentence


def test_numbers_may_be_strings_and_tombstones_left_out(bench: Callable[..., Bench]) -> None:
    one = {"topics": {"partitions": 1}}
    exact = bench(tables=1, settings=one)
    plain = bench(tables=1, settings=one | {"numbers": "string", "tombstones": False})
    for pipeline in (exact, plain):
        (table,) = pipeline.tables
        key, item = {"id": {"S": "a"}}, {"id": {"S": "a"}, "number": {"N": DIGITS}}
        pipeline.dynamodb.put_item(TableName=table, Item=item)
        pipeline.dynamodb.delete_item(TableName=table, Key=key)
        pipeline.dynamodb.put_item(TableName=table, Item=item)
        pipeline.worker()
    create, delete, tombstone, _ = wait_for_records(exact, exact.tables[0], 4)
    assert (create["after"]["number"], delete["op"], tombstone) == (int(DIGITS), "d", None)
    create, delete, again = wait_for_records(plain, plain.tables[0], 3)
    assert (create["after"]["number"], delete["op"], again["op"]) == (DIGITS, "d", "c")
