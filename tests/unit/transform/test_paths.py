"""Paths lead to attributes, and an edit at their ends leaves everything else as it is."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.transform.paths import EACH, REMOVED, Path, edited, kept, parse, tree

ITEM: dict[str, Any] = {"a": {"b": 1, "c": 2}, "l": [{"p": 1, "q": 2}, {"p": 3}, "x"], "s": "text"}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("email", ("email",)),
        ("a.b", ("a", "b")),
        ("lines[*].price", ("lines", EACH, "price")),
        ("grid[*][*]", ("grid", EACH, EACH)),
        ('"a.b".c', ("a.b", "c")),
        ('"say \\"hi\\""', ('say "hi"',)),
        ("user-id", ("user-id",)),
        ("first name", ("first name",)),
        ("größe", ("größe",)),
    ],
)
def test_a_path_is_read(text: str, path: Path) -> None:
    assert parse(text) == path


@pytest.mark.parametrize("text", ["", ".a", "a.", "a..b", "a[0]", "[*]", 'a"b', '"open', " a"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is empty|cannot be read"):
        parse(text)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.b", {**ITEM, "a": {"b": "!", "c": 2}}),
        ("l[*].p", {**ITEM, "l": [{"p": "!", "q": 2}, {"p": "!"}, "x"]}),
        ("nowhere.b", ITEM),
        ("s.b", ITEM),
        ("a[*]", ITEM),
    ],
)
def test_an_edit_is_done_wherever_the_path_leads(path: str, expected: Any) -> None:
    assert edited(ITEM, parse(path), lambda _: "!") == expected


def test_an_edit_takes_values_away() -> None:
    assert edited(ITEM, parse("l[*].p"), lambda _: REMOVED)["l"] == [{"q": 2}, {}, "x"]
    assert edited(ITEM, parse("l[*]"), lambda _: REMOVED)["l"] == []
    assert "a" not in edited(ITEM, parse("a"), lambda _: REMOVED)


def test_an_edit_changes_nothing_in_place() -> None:
    before = {"a": {"b": [1]}}
    shared = {"x": before["a"], "y": before["a"]}
    assert edited(shared, parse("x.b[*]"), lambda _: 2) == {"x": {"b": [2]}, "y": {"b": [1]}}
    assert before == {"a": {"b": [1]}}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["s"], {"s": "text"}),
        (["a.b", "a.c"], {"a": {"b": 1, "c": 2}}),
        (["a.b", "a"], {"a": {"b": 1, "c": 2}}),
        (["a", "a.b"], {"a": {"b": 1, "c": 2}}),
        (["l[*].p"], {"l": [{"p": 1}, {"p": 3}]}),
        (["s.deeper", "nowhere"], {}),
    ],
)
def test_only_what_is_wanted_is_kept(wanted: list[str], expected: Any) -> None:
    assert kept(ITEM, tree([parse(text) for text in wanted])) == expected
