"""What the converter makes of a page whose table has a transformation: records, drops, dead letters, a stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from tailrace.convert.converter import Converter
from tailrace.core.page import Page
from tailrace.core.ports import SourcePage
from tailrace.core.shard import ShardRef
from tailrace.errors import RecordError
from tailrace.formats import make_format
from tailrace.sources.dynamodb.stream_record import decode_page
from tailrace.transform import Change
from tailrace.transform.expression import Expression
from tailrace.transform.steps import Call, Filter, Route, Step
from tailrace.transform.transformation import Placed, Transformation

SHARD = ShardRef("arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/1", "shard-1")
NOW_NS = 1_700_000_000_000_000_000


def source_page(*notes: str, event: str = "INSERT") -> SourcePage:
    """A page with a record for each note, their sequence numbers from 1 on."""
    image = "OldImage" if event == "REMOVE" else "NewImage"
    records = [
        {
            "eventID": f"event-{number}",
            "eventName": event,
            "dynamodb": {
                "Keys": {"id": {"S": f"{number}"}},
                image: {"id": {"S": f"{number}"}, "note": {"S": note}},
                "SequenceNumber": f"{number}",
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        }
        for number, note in enumerate(notes, 1)
    ]
    return decode_page(msgspec.json.encode({"Records": records}), shard=SHARD, table="orders", region="eu-west-1")


def convert(page: SourcePage, steps: Sequence[Step], *, errors_fail: bool = False) -> Page:
    transformation = Transformation([Placed(f"transform[{index}]", step) for index, step in enumerate(steps)])
    return converter(transformation, errors_fail=errors_fail).convert(SHARD, page, NOW_NS)


def converter(transformation: Transformation | None, *, errors_fail: bool = False) -> Converter:
    """A converter of a pipeline whose table `orders` has this transformation."""
    return Converter(
        make_format("debezium", pipeline="shop", numbers="exact").encode,
        pipeline="shop",
        topic_of=lambda table, *_: f"shop.{table}",
        dead_letters_topic="shop.dead-letters",
        tombstones=True,
        errors_fail=errors_fail,
        transformation_of=lambda table: transformation if table == "orders" else None,
    )


def placed(page: Page) -> list[tuple[str, str]]:
    return [(record.origin.sequence, record.topic) for record in page.records]


def fails_at_bad(change: Change) -> Any:
    assert change.item is not None
    if change.item["note"] == "bad":
        raise ValueError("no")
    return change


def twice(change: Change) -> list[Change]:
    return [change, replace(change, after={"id": "x", "half": 0.5} if fails(change) else change.after)]


def fails(change: Change) -> bool:
    return change.after is not None and change.after["note"] == "bad"


KEEP = Filter(Expression("item.note != 'noise'"))


def test_a_page_moves_on_past_what_is_dropped() -> None:
    page = convert(source_page("noise", "a", "noise", "b", "noise"), [KEEP])
    assert placed(page) == [("2", "shop.orders"), ("4", "shop.orders")]
    assert (page.first_sequence, page.last_sequence) == ("1", "5")
    assert (len(page.changes), len(page.dropped)) == (5, 3)


def test_a_failure_is_a_dead_letter_among_the_others() -> None:
    page = convert(source_page("a", "bad", "b"), [Call(fails_at_bad, "shop:f")])
    assert placed(page) == [("1", "shop.orders"), ("2", "shop.dead-letters"), ("3", "shop.orders")]
    letter = page.records[1]
    headers = dict(letter.headers or [])
    assert headers["__connect.errors.stage"] == b"TRANSFORMATION"
    assert headers["__connect.errors.topic"] == b"shop.orders"
    reason = headers["__connect.errors.exception.message"].decode()
    assert reason.startswith("transform[0]: the function shop:f raised ValueError: no (test_converter.py:")
    assert letter.value == letter.origin.raw
    assert len(page.dropped) == 0


def test_with_errors_fail_the_page_stops_before_the_failure() -> None:
    page = convert(source_page("a", "noise", "bad", "b"), [KEEP, Call(fails_at_bad, "shop:f")], errors_fail=True)
    assert placed(page) == [("1", "shop.orders")]
    assert (page.last_sequence, len(page.changes), len(page.dropped)) == ("2", 2, 1)
    assert page.stop is not None
    assert page.stop.endswith("(sequence number 3)")


def test_of_a_change_that_fails_half_way_nothing_is_published() -> None:
    page = convert(source_page("a", "bad", "b"), [Call(twice, "shop:twice")])
    assert placed(page) == [
        ("1", "shop.orders"),
        ("1", "shop.orders"),
        ("2", "shop.dead-letters"),
        ("3", "shop.orders"),
        ("3", "shop.orders"),
    ]


def test_a_tombstone_follows_its_delete_to_the_topic_of_the_route() -> None:
    route = Route(Expression("item.note"), {"a": "shop.as"}, "shop.others")
    page = convert(source_page("a", "b", event="REMOVE"), [route])
    assert placed(page) == [("1", "shop.as"), ("1", "shop.as"), ("2", "shop.others"), ("2", "shop.others")]
    assert [record.value is None for record in page.records] == [False, True, False, True]


@pytest.mark.parametrize("steps", [[], [Filter(Expression("op == 'c'"))], [Call(lambda change: change, "shop:same")]])
def test_a_change_that_passes_through_has_the_same_bytes(steps: list[Step]) -> None:
    page = source_page("a", "b")
    assert convert(page, steps) == converter(None).convert(SHARD, page, NOW_NS)


def test_topic_and_transformation_are_those_of_each_record_s_own_table() -> None:
    page = source_page("noise", "noise", "a", "a")
    of_users = [
        msgspec.structs.replace(record, origin=msgspec.structs.replace(record.origin, table="users"))
        for record in page.records
    ]
    mixed = [record for pair in zip(page.records, of_users, strict=True) for record in pair]
    made = converter(Transformation([Placed("transform[0]", KEEP)])).convert(
        SHARD, msgspec.structs.replace(page, records=mixed), NOW_NS
    )
    assert placed(made) == [
        ("1", "shop.users"),
        ("2", "shop.users"),
        ("3", "shop.orders"),
        ("3", "shop.users"),
        ("4", "shop.orders"),
        ("4", "shop.users"),
    ]
    assert [(each.table, each.sequence) for each in made.dropped] == [("orders", "1"), ("orders", "2")]
    assert made.tables == {"orders", "users"}


def test_the_record_that_stops_a_page_brings_no_table_in() -> None:
    page = source_page("a", "bad")
    of_users = msgspec.structs.replace(page.records[1].origin, table="users")
    broken = msgspec.structs.replace(page.records[1], origin=of_users, change=None)
    mixed = msgspec.structs.replace(page, records=[page.records[0], broken])
    made = converter(None, errors_fail=True).convert(SHARD, mixed, NOW_NS)
    assert placed(made) == [("1", "shop.orders")]
    assert made.tables == {"orders"}
    assert made.stop is not None


@pytest.mark.parametrize("steps", [[], [Call(lambda change: change, "shop:same")]], ids=["as it is", "transformed"])
def test_a_late_change_has_a_header_and_so_has_its_tombstone(steps: list[Step]) -> None:
    page = source_page("a", "b", event="REMOVE")
    first, second = page.records
    assert first.change is not None
    late = msgspec.structs.replace(first, change=msgspec.structs.replace(first.change, late=True))
    made = convert(msgspec.structs.replace(page, records=[late, second]), steps)
    assert [record.headers for record in made.records] == [[("tailrace.late", b"true")]] * 2 + [None] * 2
    assert [record.value is None for record in made.records] == [False, True, False, True]


def test_a_record_that_is_skipped_moves_the_position_and_makes_nothing() -> None:
    page = source_page("a", "b", "c")
    skipped = [page.records[0], *(msgspec.structs.replace(each, skipped="repeat") for each in page.records[1:])]
    made = converter(None).convert(SHARD, msgspec.structs.replace(page, records=skipped), NOW_NS)
    assert [record.origin.sequence for record in made.records] == ["1"]
    assert [(origin.sequence, why) for origin, why in made.skipped] == [("2", "repeat"), ("3", "repeat")]
    assert made.last_sequence == "3"


def test_a_stop_in_a_page_that_is_not_in_the_shards_order_passes_nothing_by() -> None:
    page = source_page("a", "b", "c", "d")
    first, second, third, fourth = page.records
    poison = msgspec.structs.replace(fourth, change=None, error=RecordError("it makes no sense"))
    mixed = msgspec.structs.replace(page, records=[first, third, poison, second], last_sequence="4")
    made = converter(None, errors_fail=True).convert(SHARD, mixed, NOW_NS)
    assert [record.origin.sequence for record in made.records] == ["1"]
    assert (made.last_sequence, made.stop) == ("1", "it makes no sense (sequence number 4)")
