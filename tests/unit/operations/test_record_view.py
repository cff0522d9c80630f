"""`tail` understands the records of every format, dead letters and anything else that lies on a topic."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.config import Pipeline
from tailrace.core.change import Change, Op
from tailrace.formats import FORMATS, FormatName, make_format
from tailrace.operations.record_view import RecordView, as_text, header_texts, one_line_json, view
from tailrace.operations.tail import tables_by_topic

PRECISE = "12345678901234567890.123456789012345678"


def change(op: Op) -> Change:
    image = b'{"id":{"S":"a"},"n":{"N":"%s"}}' % PRECISE.encode()
    return Change(
        op=op,
        table="orders",
        keys=b'{"id":{"S":"a"}}',
        before=None if op in {"c", "r"} else image,
        after=None if op == "d" else image,
        created_ms=1_700_000_000_000,
        event_id="e",
        sequence="1" * 21,
        shard_id="shardId-1",
        stream_arn="arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/2026-01-01T00:00:00.000",
        region="us-east-1",
        view_type="NEW_AND_OLD_IMAGES",
    )


def seen(name: FormatName, op: Op) -> RecordView:
    message = make_format(name, pipeline="shop", numbers="exact").encode(change(op), 0)
    return view(message.key, message.value, header_texts(message.headers), null_is_delete=name == "item")


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "item"])
@pytest.mark.parametrize("op", get_args(Op))
def test_a_change_in_every_format_with_an_envelope(name: FormatName, op: Op) -> None:
    record = seen(name, op)
    # To Lambda's record a row read by a snapshot is an INSERT.
    assert record.op == ("c" if name == "dynamodb-json" and op == "r" else op)
    assert (record.table, record.key, record.has_envelope) == ("orders", '{"id":"a"}', True)
    if (name, op) == ("trustpilot", "d"):
        assert record.item == '{"id":{"s":"a"}}', "its deletes have the key alone"
    else:
        assert PRECISE in record.item


def test_the_bare_item_does_not_tell_a_create_from_an_update() -> None:
    assert seen("item", "c") == RecordView("upsert", None, '{"id":"a"}', f'{{"id":"a","n":{PRECISE}}}')
    assert seen("item", "d") == RecordView("d", None, '{"id":"a"}', "")


def test_a_null_value_after_an_envelope_is_a_tombstone() -> None:
    assert view(b'{"id":"a"}', None, {}, null_is_delete=False).op == "tombstone"


def test_a_dead_letter_tells_its_reason() -> None:
    headers = {"__connect.errors.exception.message": "too large", "tailrace.table": "orders"}
    assert view(b"k", b"{}", headers, null_is_delete=False) == RecordView(
        "dead-letter", "orders", "k", "{}", "too large"
    )


def test_the_mark_of_a_redriven_dead_letter_is_no_tombstone() -> None:
    headers = {"tailrace.redriven.offset": "7", "tailrace.table": "orders"}
    assert view(b"redriven-0-7", None, headers, null_is_delete=True) == RecordView(
        "redriven", "orders", "redriven-0-7", ""
    )


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert as_text(b"a\x1b[31m\r\n\xff\xc2\x9b") == "a\\x1b[31m\\r\\n\\xff\\x9b"


@given(key=st.none() | st.binary(), value=st.none() | st.binary())
def test_any_record_is_shown_on_one_line(key: bytes | None, value: bytes | None) -> None:
    record = view(key, value, {}, null_is_delete=False)
    assert f"{record.key}{record.item}".isprintable()
    line = one_line_json({"topic": "t"}, key=key, value=value, headers={})
    assert len(line.splitlines()) == 1
    assert json.loads(line)["topic"] == "t"


@given(
    value=st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_stays_what_it_was(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, indent=2, ensure_ascii=False)):
        line = one_line_json({}, key=None, value=text.encode(), headers={})
        assert json.loads(line)["value"] == value


def test_a_number_keeps_its_digits() -> None:
    assert PRECISE in one_line_json({}, key=None, value=b'{"n": %s}' % PRECISE.encode(), headers={})


def test_of_headers_with_one_name_the_last_counts() -> None:
    assert header_texts([("a", b"1"), ("a", b"2"), ("b", None)]) == {"a": "2", "b": ""}
    assert header_texts(None) == {}


def pipeline(**more: Any) -> Pipeline:
    source = {"type": "dynamodb-streams", "tables": ["orders", "users-*"], "exclude": ["users-test"]}
    return Pipeline.model_validate({"name": "shop", "kafka": {"bootstrap.servers": "b:1"}, "source": source} | more)


@pytest.mark.parametrize(
    ("topic", "table"),
    [
        ("shop.orders", "orders"),
        ("shop.users-eu", "users-eu"),
        ("shop.users-test", None),
        ("shop.customers", None),
        ("shop.checkpoints", None),
        ("shop.dead-letters", None),
        ("shopXorders", None),
        ("x.shop.orders", None),
    ],
)
def test_the_topics_of_a_pipeline_are_known_with_their_tables(topic: str, table: str | None) -> None:
    assert tables_by_topic(pipeline())(topic) == table


def test_own_topics_are_not_a_tables_even_when_a_pattern_fits() -> None:
    everything = pipeline(source={"type": "dynamodb-streams", "tables": ["*"]})
    assert [tables_by_topic(everything)(topic) for topic in ("shop.checkpoints", "shop.dead-letters", "shop.abc")] == [
        None,
        None,
        "abc",
    ]


def test_a_template_that_has_the_table_twice() -> None:
    table_of = tables_by_topic(pipeline(topic="{table}.{pipeline}.{table}"))
    assert table_of("orders.shop.orders") == "orders"
    assert table_of("orders.shop.users-a") is None


def test_a_template_without_the_table() -> None:
    one = pipeline(topic="all.{pipeline}", source={"type": "dynamodb-streams", "tables": ["orders"]})
    assert tables_by_topic(one)("all.shop") == "orders"
    assert tables_by_topic(one)("all.other") is None


def test_the_topics_of_a_route_are_those_of_its_table() -> None:
    steps = [
        {"tables": ["orders"], "route": {"by": "op", "topics": {"c": "{pipeline}.new", "d": "old"}, "otherwise": "x"}},
        {"tables": ["users-*"], "route": {"by": "op", "topics": {"c": "{table}.new"}}},
    ]
    table_of = tables_by_topic(pipeline(transform=steps))
    topics = ("shop.new", "old", "x", "users-eu.new", "users-test.new", "shop.users-eu", "other")
    assert list(map(table_of, topics)) == ["orders", "orders", "orders", "users-eu", None, "users-eu", None]
