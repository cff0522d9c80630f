"""The appendix of docs/guarantees.md names a test for each promise, or says that there is none; all of them exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", PAGE, flags=re.MULTILINE))
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)))


APPENDIX = {
    " ".join(name.split()): tests
    for name, tests in re.findall(
        r"^- \*\*(.+?)\*\*: (.*\n(?:  .*\n)*)", PAGE.partition("## Appendix: the tests")[2], flags=re.MULTILINE
    )
}


def is_held_up(promise: str) -> bool:
    """The appendix has tests for it, or admits that there are none."""
    return bool(re.search(r"`tests/\S+::\w+`|\bnot tested\b", APPENDIX.get(promise, "")))


def promises() -> list[str]:
    """The names of the points of the sections that promise, and of the settings."""
    points = [
        " ".join(name.split()).removesuffix(".")
        for section in ("What is promised", "What happens when")
        for name in re.findall(r"^- \*\*((?:.|\n  )+?)\*\*", SECTIONS[section], flags=re.MULTILINE)
    ]
    rows = re.findall(r"^\| (?!setting )(.+?) \|", SECTIONS["Under which settings"], flags=re.MULTILINE)
    return points + rows


def named_in(module: Path) -> set[str]:
    return {node.name for node in ast.parse(module.read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("module", "test"), NAMED, ids=[test for _, test in NAMED])
def test_every_test_that_the_page_names_exists(module: str, test: str) -> None:
    assert test in named_in(ROOT / module)


def test_every_mention_of_a_test_is_a_whole_name() -> None:
    assert set(re.findall(r"tests/[^\s`]*", PAGE)) == {f"{module}::{test}" for module, test in NAMED}


def test_every_promise_names_its_tests_or_says_that_there_is_none() -> None:
    assert len(promises()) > 25
    assert [promise for promise in promises() if not is_held_up(promise)] == []


def test_a_promise_that_nothing_holds_up_would_be_found() -> None:
    assert not is_held_up("a disk burns")


def test_no_test_stands_between_the_sentences() -> None:
    assert "tests/" not in PAGE.partition("## Appendix")[0]
