"""What a pipeline publishes of items through its transformation, and what of it depends on more than the item."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from support.pipeline_file import write_file
from tailrace.config import load
from tailrace.core.change import Change, Origin
from tailrace.core.ports import SourceRecord, TableFacts
from tailrace.operations.published_items import PublishedItem, PublishedItems
from tailrace.operations.spill import RowId
from tailrace.wiring.pipeline import make_converter
from tailrace.wiring.transformations import Transformations

ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/orders"
FACTS = TableFacts("orders", ARN, {"id": "S"}, 0, 0, None)


def published(folder: Path, *steps: Any, **settings: Any) -> PublishedItems:
    file = write_file(folder, {"bootstrap.servers": "localhost:1"}, "shop", transform=list(steps), **settings)
    pipeline = load(file, with_functions=True).pipeline
    transformations = Transformations(pipeline)
    transformation = transformations.of("orders")
    return PublishedItems(
        pipeline,
        FACTS,
        make_converter(pipeline, transformations, always_set_aside=True),
        keeps_keys=transformation is None or transformation.keeps_keys(("id",)),
    )


def row(item: bytes, item_id: str = "a") -> SourceRecord:
    change = Change(
        op="r",
        table="orders",
        keys=b'{"id":{"S":"%b"}}' % item_id.encode(),
        before=None,
        after=item,
        created_ms=5,
        event_id="",
        sequence="",
        shard_id="",
        stream_arn=ARN,
        region="us-east-1",
        view_type="NEW_AND_OLD_IMAGES",
    )
    return SourceRecord(Origin("orders", "", 5, item), change)


ITEM = b'{"id":{"S":"a"},"kind":{"S":"x"}}'
KEY = b'{"id":"a"}'


def only(items: PublishedItems, *rows: SourceRecord) -> PublishedItem:
    (item,) = items.of(rows)
    return item


def test_an_item_has_one_state_in_its_topic(tmp_path: Path) -> None:
    items = published(tmp_path)
    item = only(items, row(ITEM))
    assert (list(item.states), item.plain_key, item.table_key) == ([RowId(KEY, 0)], KEY, None)
    assert items.table_key(KEY) == b'{"id":{"S":"a"}}'
    assert only(items, row(ITEM.replace(b"x", b"y"))).states != item.states


def test_a_route_chooses_the_topic(tmp_path: Path) -> None:
    route = {"by": "item.kind", "topics": {"x": "{pipeline}.x.{table}", "y": "{pipeline}.y.{table}"}}
    items = published(tmp_path, {"route": route})
    assert items.topics == ("shop.x.orders", "shop.y.orders")
    assert list(only(items, row(ITEM)).states) == [RowId(KEY, 0)]
    assert list(only(items, row(ITEM.replace(b"x", b"y"))).states) == [RowId(KEY, 1)]
    refused = only(items, row(ITEM.replace(b"x", b"z")))
    assert (refused.is_refused, refused.states, refused.plain_key) == (True, {}, KEY)


def test_an_item_that_is_dropped_is_still_known_by_its_key(tmp_path: Path) -> None:
    dropped = only(published(tmp_path, {"filter": "item.kind == 'y'"}), row(ITEM))
    assert (dropped.states, dropped.is_refused, dropped.plain_key) == ({}, False, KEY)


def test_a_key_that_is_hashed_does_not_tell_the_item(tmp_path: Path) -> None:
    items = published(tmp_path, {"hash": {"attributes": ["id"], "key": "a secret of sixteen characters"}})
    item = only(items, row(ITEM))
    (hashed,) = item.states
    assert item.table_key == b'{"id":{"S":"a"}}'
    assert (hashed.key != KEY, items.table_key(hashed.key), items.plain_key(item.table_key)) == (True, None, KEY)


@pytest.mark.parametrize(
    ("step", "keeps"),
    [
        ({"rename": {"id": "name"}}, False),
        ({"rename": {"kind": "sort"}}, True),
        ({"hash": {"attributes": ["kind"], "key": "a secret of sixteen characters"}}, True),
        ({"exclude": ["kind"]}, True),
    ],
)
def test_a_step_that_changes_keys_is_known(tmp_path: Path, step: dict[str, Any], *, keeps: bool) -> None:
    assert published(tmp_path, step).keeps_keys is keeps


def test_the_filter_of_snapshots_leaves_items_out(tmp_path: Path) -> None:
    items = published(tmp_path, snapshot={"mode": "initial", "filter": "item.kind == 'y'"})
    assert only(items, row(ITEM)).is_left_out
    assert not only(items, row(ITEM.replace(b"x", b"y"))).is_left_out


FUNCTIONS = """
def stamp(change):
    if change.after is not None:
        change.after["op"] = change.op
    return change

def no_rows(change):
    return None if change.op == "r" else change
"""


@pytest.mark.parametrize(("function", "same", "left_out"), [("stamp", True, ["op"]), ("no_rows", False, [])])
def test_what_depends_on_the_change_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, left_out: list[str], *, same: bool
) -> None:
    (tmp_path / "on_the_way.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "on_the_way", raising=False)
    items = published(tmp_path, {"function": f"on_the_way:{function}"})
    assert (items.learn([row(ITEM)]), sorted(items.leaving_out)) == (same, left_out)
