"""A user's function: how it is found, what it may give, and that whatever it does stays with the one record."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Context, Decimal, localcontext
from pathlib import Path
from typing import Any

import pytest
from changes import ITEM, change, image, made, transformation
from hypothesis import given
from hypothesis import strategies as st

from support.names import unique
from tailrace.errors import RecordError
from tailrace.formats import FORMATS, make_format
from tailrace.transform import Change
from tailrace.transform.functions import FunctionError, find, search_in
from tailrace.transform.paths import parse
from tailrace.transform.steps import Call, Hash

NOW_NS = 1_700_000_009_123_456_789


def call(function: Callable[[Change], Any], **options: bool) -> Call:
    return Call(function, "shop:f", **options)


# What it may give


def test_it_sees_python_values() -> None:
    seen: list[Change] = []
    made(change("u"), call(seen.append))
    assert seen[0].keys == {"id": "o-1"}
    assert seen[0].after is not None
    assert seen[0].after["total"] == Decimal("1.50")
    assert seen[0].after["mails"] == {"a@example.com", "b@example.com"}
    assert seen[0].item is seen[0].after
    assert (seen[0].table, seen[0].sequence, seen[0].created_ms) == (
        "orders",
        "100000000000000000001",
        1_700_000_000_000,
    )


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_change_that_passes_through_is_published_byte_for_byte(format_name: Any) -> None:
    encode = make_format(format_name, pipeline="shop", numbers="exact").encode
    for op in ("c", "u", "d", "r"):
        for one in (change(op), change(op, view_type="KEYS_ONLY")) if format_name != "item" else (change(op),):
            (same,) = made(one, call(lambda given: given))
            assert encode(same, NOW_NS) == encode(one, NOW_NS)


LONGEST = Decimal("0.12345678901234567890123456789012345678")
"""A number with as many digits as DynamoDB takes."""


def calculates(calculate: Callable[[Decimal], Any]) -> Call:
    def function(one: Change) -> Change:
        assert one.after is not None
        return replace(one, after={**one.after, "total": calculate(one.after["total"])})

    return call(function)


def test_it_calculates_with_all_digits_that_dynamodb_has() -> None:
    (one,) = made(change("c", after={**ITEM, "total": {"N": str(LONGEST)}}), calculates(lambda total: total * 2))
    assert image(one.after)["total"] == {"N": "0.24691357802469135780246913578024691356"}


@pytest.mark.parametrize(
    "calculate", [lambda total: total + 1, lambda total: total / 7, lambda total: total.quantize(Decimal("0.01"))]
)
def test_what_would_be_rounded_is_refused(calculate: Callable[[Decimal], Any]) -> None:
    with pytest.raises(RecordError) as error:
        made(change("c", after={**ITEM, "total": {"N": str(LONGEST)}}), calculates(calculate))
    assert re.search(
        r"the function shop:f made a number that 38 digits do not hold \(test_functions\.py:\d+\); to round on",
        str(error.value),
    )


def test_it_may_round_on_purpose() -> None:
    def rounded(total: Decimal) -> Decimal:
        with localcontext(Context(prec=38)):
            return (total / 3).quantize(Decimal("0.01"))

    (one,) = made(change("c", after={**ITEM, "total": {"N": "10"}}), calculates(rounded))
    assert image(one.after)["total"] == {"N": "3.33"}


def test_it_may_change_items_and_op() -> None:
    def soft_delete(one: Change) -> Change:
        one.op, one.after = "u", {"id": "o-1", "deleted": True, "total": Decimal(3)}
        return one

    (one,) = made(change("d"), call(soft_delete))
    assert one.op == "u"
    assert image(one.after) == {"id": {"S": "o-1"}, "deleted": {"BOOL": True}, "total": {"N": "3"}}
    assert image(one.before) == ITEM


@pytest.mark.parametrize("nothing", [None, []])
def test_it_may_drop_a_change(nothing: Any) -> None:
    assert made(change(), call(lambda _: nothing)) == []


def test_it_may_make_several_changes_that_later_steps_treat_each_once() -> None:
    def twice(one: Change) -> list[Change]:
        return [one, replace(one, before=one.after)]

    first, second = made(change("c", after=ITEM), call(twice), Hash((parse("email"),), b"0123456789abcdef"))
    assert (first.event_id, second.event_id) == ("event-1", "event-1.1")
    assert first.before is None
    assert image(first.after)["email"] == image(second.after)["email"] == image(second.before)["email"]
    assert len(image(first.after)["email"]["S"]) == 64


def test_it_may_change_keys_when_the_step_says_so() -> None:
    def by_type(one: Change) -> Change:
        return replace(one, keys={"kind": "x", **one.keys})

    (one,) = made(change(), call(by_type, changes_keys=True))
    assert image(one.keys) == {"kind": {"S": "x"}, "id": {"S": "o-1"}}
    with pytest.raises(RecordError, match="changed the key attributes, which decide the partition"):
        made(change(), call(by_type))


def test_keys_that_were_changed_in_place_are_noticed() -> None:
    def careless(one: Change) -> Change:
        one.keys["id"] = "other"
        return one

    with pytest.raises(RecordError, match="changed the key attributes"):
        made(change(), call(careless))


class _Hostile:
    """Raises as soon as anyone compares it."""

    __hash__ = None  # type: ignore[assignment]  # as of any class with an __eq__ of its own

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError("boo")


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda _: "text", "the function shop:f gave a str; it must give a Change, None, or a list of Changes"),
        (lambda one: [one, None], "gave a NoneType"),
        (lambda one: (one.after.update(price=1.5), one)[1], "attribute price: a float is not exact; make it a Decimal"),
        (lambda one: replace(one, op="x"), "gave the op 'x'; it must be one of c, u, d, r"),
        (lambda one: replace(one, table="other"), "gave a Change of another origin"),
        (lambda one: Change("u", "orders", one.keys), "make more of one with dataclasses.replace"),
        (lambda one: replace(one, after=["x"]), "gave an item that is not a dict"),
        (lambda one: replace(one, keys=None), "gave an item that is not a dict"),
        (lambda one: one.after["nowhere"], "raised KeyError: 'nowhere' (test_functions.py:"),
        (lambda _: sys.exit("bye"), "raised SystemExit: bye (test_functions.py:"),
        (lambda _: json.loads("{"), "line 1 column 2 (char 1) (test_functions.py:"),
        (json.dumps, "the function shop:f raised TypeError: "),
        (lambda one: replace(one, op=_Hostile()), "ZeroDivisionError: boo"),
    ],
)
def test_whatever_goes_wrong_is_an_error_of_the_one_record(function: Callable[[Change], Any], sentence: str) -> None:
    with pytest.raises(RecordError) as error:
        made(change(), call(function))
    assert error.value.stage == "TRANSFORMATION"
    assert str(error.value).startswith("transform")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


_junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.decimals(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3) | st.tuples(inner)
    ),
    max_leaves=8,
)


@given(_junk, _junk, _junk)
def test_junk_never_stalls_a_shard(keys: Any, after: Any, result: Any) -> None:
    for function in (lambda one: replace(one, keys=keys, after=after), lambda _: result):
        with suppress(RecordError):
            transformation(call(function, changes_keys=True), Hash((parse("a"),), b"0123456789abcdef")).apply(change())


# How it is found


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module into a folder that is searched; gives its name."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    search_in(tmp_path)

    def write(text: str) -> str:
        name = unique("module").replace("-", "_")
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def test_it_is_found_in_the_folder_and_imported_once(module: Callable[[str], str]) -> None:
    name = module("class Rules:\n    @staticmethod\n    def keep(change):\n        return change\n")
    assert find(f"{name}:Rules.keep") is find(f"{name}:Rules.keep")


@pytest.mark.usefixtures("module")
def test_the_folder_hides_no_installed_module(tmp_path: Path) -> None:
    (tmp_path / "tabnanny.py").write_text("raise RuntimeError")
    sys.modules.pop("tabnanny", None)
    assert find("tabnanny:check").__module__ == "tabnanny"


@pytest.mark.parametrize(
    ("text", "function", "sentence"),
    [
        ("x = 1", "y", "has no y; correct the name"),
        ("x = 1", "x", ":x is a int, not a function; name a function that takes a Change and gives one"),
        ("import no_such_module_there", "x", "failed: there is no module no_such_module_there; install it"),
        ("1 / 0", "x", "failed: ZeroDivisionError: division by zero; fix it at "),
        ("raise SystemExit('no')", "x", "failed: SystemExit: no; fix it at "),
        ("def f(:", "x", "failed: SyntaxError: invalid syntax"),
    ],
)
def test_one_that_cannot_be_found_is_told_in_a_sentence(
    text: str, function: str, sentence: str, module: Callable[[str], str]
) -> None:
    with pytest.raises(FunctionError) as error:
        find(f"{module(text)}:{function}")
    assert sentence in f"{error.value.message}; {error.value.hint}"


@pytest.mark.parametrize("name", ["no_such_module", "no_such_package.module", "json.no_such_module"])
def test_a_module_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(FunctionError) as error:
        find(f"{name}:f")
    assert error.value.message.startswith("there is no module ")
    assert error.value.hint == "put it beside the pipeline file, or install it"
