"""Expressions: JMESPath with exact numbers, and mistakes that are found before anything runs."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tailrace.core.change import ViewType
from tailrace.errors import RecordError
from tailrace.transform import Change
from tailrace.transform.expression import Expression, text_of

BIG = 12345678901234567890123456789012345678
CHANGE = Change(
    "u",
    "orders",
    {"id": "a"},
    before={"id": "a", "status": "draft"},
    after={
        "id": "a",
        "status": "paid",
        "total": Decimal("0.1"),
        "big": Decimal(BIG),
        "price": Decimal("12345678901234567.25"),
        "lines": [{"price": Decimal("1.5")}, {"price": Decimal(2)}],
        "prices": [Decimal("1.5"), Decimal("2.00")],
        "tags": {"b", "a"},
        "blob": b"abc",
        "none": None,
        "no": False,
        "zero": Decimal(0),
        "empty": "",
    },
    created_ms=5,
)
DELETE = Change("d", "orders", {"id": "a"}, before={"id": "a", "status": "old"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("op", "u"),
        ("table", "orders"),
        ("keys.id", "a"),
        ("before.status", "draft"),
        ("item.status", "paid"),
        ("created_ms", 5),
        ("expired", False),
        ("after.tags", ["a", "b"]),
        ("after.blob", "YWJj"),
        ("after.lines[*].price", [Decimal("1.5"), 2]),
        ("after.prices", [Decimal("1.5"), 2]),
        ("after.nowhere", None),
        ("after.nowhere > `5`", None),
        ("contains(after.tags, 'a')", True),
        ("after.lines[?price > `1.6`] | length(@)", 1),
        ("@.op", "u"),
        ("sort_by(after.lines, &price)[-1].price", 2),
        ("!(after.no)", True),
        ("type(after.total)", "number"),
        ("to_string(after.total)", "0.1"),
        ("[op, to_number('0.10')][1]", Decimal("0.10")),
        ("[op, to_number('x')][1]", None),
        ("[op, to_number('1e999999999')][1]", None),
        ("[op, to_number('NaN')][1]", None),
    ],
)
def test_an_expression_has_its_value(text: str, value: object) -> None:
    assert Expression(text).value(CHANGE) == value


@pytest.mark.parametrize(
    "text",
    [
        "after.total == `0.1`",
        f"after.big == `{BIG}`",
        f"after.big > `{BIG - 1}`",
        f"after.big < `{BIG + 1}`",
        "sum(after.prices) == `3.5`",
        "max(after.prices) == `2`",
        "avg(after.prices) == `1.75`",
        "ceil(after.total) == `1`",
        "to_number('0.1') == after.total",
        "after.price == `12345678901234567.25`",
        "after.price > `12345678901234567.24`",
        "after.price < `1.234567890123456726e16`",
        "contains(`[12345678901234567.25]`, after.price)",
    ],
)
def test_numbers_are_exact(text: str) -> None:
    assert Expression(text).value(CHANGE) is True


def test_the_item_of_a_delete_is_what_was_there() -> None:
    assert Expression("item.status").value(DELETE) == "old"


@pytest.mark.parametrize(
    ("text", "is_true"),
    [
        ("after.status == 'paid'", True),
        ("after.status", True),
        ("after.zero", True),
        ("after.no", False),
        ("after.none", False),
        ("after.nowhere", False),
        ("after.empty", False),
        ("after.lines[?price > `9`]", False),
    ],
)
def test_truth_is_that_of_jmespath(text: str, is_true: bool) -> None:
    assert Expression(text).is_true(CHANGE) is is_true


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "it cannot be parsed: cannot be empty."),
        ("item.status ==", "it cannot be parsed: Incomplete expression"),
        ("item.status = 'x'", "it cannot be parsed"),
        ("status == 'paid'", "a change has no status: write item.status for the attribute, 'status' for a text"),
        ('item.status == "paid"', "a change has no paid: write item.paid for the attribute, 'paid' for a text"),
        ("aftr.status", "a change has no aftr: did you mean after?"),
        ("item.status == null", "a literal is written in backquotes: `null`"),
        ("contain(item.tags, 'a')", "there is no function contain(): did you mean contains?"),
        ("contains(item.tags)", "contains() takes 2 values, not 1"),
        ("!item.hidden", "`!a.b` would be read as `(!a).b`: write `!(a.b)`"),
        ("op == 'c' && !item.hidden", "write `!(a.b)`"),
        ("length(keys, item.x[?y].z | status)", "length() takes 1 values, not 2"),
        ("item.total > `NaN`", "it cannot be parsed: NaN is not a number"),
        ("item.total > `1e99999999999999999999`", "it cannot be parsed: a number in it is out of range"),
    ],
)
def test_a_mistake_is_found_before_anything_runs(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the sentence is compared below
        Expression(text)
    assert sentence in str(error.value)


NOTHING = "looks at nothing of the change, so its result is always the same: 'x' in single quotes is a text"
OPS = "op is 'c' (create), 'u' (update), 'd' (delete) or 'r' (read by a snapshot)"
SAME = f"a condition on op has the same result for every change: {OPS}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("'a' == 'b'", NOTHING),
        ("`false`", NOTHING),
        ("'item.x' == 'y'", NOTHING),
        ("item.a && 'item.x' == 'y'", NOTHING),
        ("item.a || 'item.x'", NOTHING),
        ("!('item.x')", NOTHING),
        ("contains('item.tags', 'vip')", NOTHING),
        ("item.a && starts_with('item.x', 'y')", NOTHING),
        ("item.lines[?'price' == `2`]", NOTHING),
        ("length(item.lines[?'price']) > `1`", NOTHING),
        ("'a' > `1`", NOTHING),
        ("op", SAME),
        ("op == 'INSERT'", SAME),
        ("'INSERT' == op", SAME),
        ("op != 'REMOVE'", SAME),
        ("op == `1`", SAME),
        ("op == 'C'", SAME),
        ("item.a && (op == 'c' || op == 'MODIFY')", SAME),
        ("contains('INSERT', op)", SAME),
        ("contains(op, 'INSERT')", SAME),
        ("starts_with(op, 'INS')", SAME),
        ("contains(['INSERT', 'MODIFY'], op)", SAME),
        ("contains(['c', 'MODIFY'], op)", f"op is never 'MODIFY': {OPS}"),
        ('contains(`["c", "MODIFY"]`, op)', f"op is never 'MODIFY': {OPS}"),
        ("expired == 'true'", "a condition on expired has the same result for every change: expired is `true` or `fal"),
    ],
)
def test_a_condition_with_one_result_for_every_change_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the sentence is compared below
        Expression(text, is_condition=True)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "op == 'c'",
        "op != 'd'",
        "contains(['c', 'u'], op)",
        "contains('cu', op)",
        "!(expired)",
        "expired && op == 'd'",
        "expired == `true`",
        "(item.status || 'new') == 'new'",
        "item.list[?op == 'INSERT']",
        "item.list[?@ == 'INSERT']",
        "length(item.list | [?op == 'INSERT']) > `0`",
        "item.total > to_number('5')",
        "item.op == 'INSERT'",
        "contains(['a', 'b'], item.status)",
    ],
)
def test_a_condition_that_varies_is_taken(text: str) -> None:
    Expression(text, is_condition=True)


@pytest.mark.parametrize("text", ["op == 'd' && 'deleted' || 'kept'", "item.type || 'other'", "op"])
def test_a_value_may_be_chosen_among_constants(text: str) -> None:
    Expression(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "contains(after.nowhere, 'a')",
            "contains() does not take a value of type null; look first whether it is there",
        ),
        ("after.status > `5`", "`>` compares a string with a number; look at its type first"),
        ("`5` <= after.status", "`<=` compares a string with a number"),
        ("sum(after.lines)", "sum() does not take a value of type"),
    ],
)
def test_a_function_that_does_not_fit_is_an_error_of_the_record_without_its_data(text: str, words: str) -> None:
    with pytest.raises(RecordError) as error:
        Expression(text).value(CHANGE)
    assert words in str(error.value)
    assert error.value.stage == "TRANSFORMATION"
    assert text in str(error.value)
    assert "paid" not in str(error.value)


def test_data_of_odd_kinds_is_an_error_of_the_record() -> None:
    odd = Change("c", "orders", {"id": "a"}, after={"a": {"x", 1}})
    with pytest.raises(RecordError, match="a set holds values of several types"):
        Expression("after.a").value(odd)


@pytest.mark.parametrize(
    ("text", "lacking"),
    [
        ("op != 'd' && keys.id", set()),
        ("item.a", {"KEYS_ONLY"}),
        ("after.a", {"KEYS_ONLY", "OLD_IMAGE"}),
        ("before.a", {"KEYS_ONLY", "NEW_IMAGE"}),
        ("after.a || before.a", {"KEYS_ONLY"}),
        ("length(after.a[?before].b)", {"KEYS_ONLY", "OLD_IMAGE"}),
        ("@", {"KEYS_ONLY"}),
    ],
)
def test_it_knows_which_streams_cannot_serve_it(text: str, lacking: set[str]) -> None:
    view_types: list[ViewType] = ["NEW_AND_OLD_IMAGES", "NEW_IMAGE", "OLD_IMAGE", "KEYS_ONLY"]
    expression = Expression(text)
    assert {each for each in view_types if expression.lack(each)} == lacking


def test_what_it_cannot_see_is_no_null_but_an_error() -> None:
    only_keys = Change("u", "orders", {"id": "a"}, view_type="KEYS_ONLY")
    with pytest.raises(RecordError, match="needs an image that a stream of view type KEYS_ONLY does not carry"):
        Expression("item.status == 'paid'").is_true(only_keys)
    assert Expression("keys.id == 'a'").is_true(only_keys)


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), (True, "true"), (False, "false"), (12, "12"), (Decimal("1.5"), "1.5"), (None, None), ([1], None)],
)
def test_scalars_have_a_text(value: Any, text: str | None) -> None:
    assert text_of(value) == text
