"""docs/transformations.md names every step, its examples give what they show, and its function is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.cli import CommandLine
from tailrace.config.transform import ACTIONS, Hash, Mask, Route, Step
from tailrace.transform.expression import Expression
from tailrace.transform.expression_checks import ROOT

PAGE = (Path(__file__).parents[3] / "docs" / "transformations.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", PAGE, flags=re.MULTILINE))
INTRODUCTION, *EXAMPLES = re.split(r"^### ", SECTIONS["Examples"], flags=re.MULTILINE)
SECRET = "a long random secret"


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def rows(section: str) -> set[str]:
    return {
        name
        for row in re.findall(r"^\| (`.+?) \|", SECTIONS[section], re.MULTILINE)
        for name in re.findall(r"`(.+?)`", row)
    }


def test_every_key_of_a_step_is_documented_and_no_other() -> None:
    below = {
        f"{name}.{key}"
        for name, part in (("mask", Mask), ("hash", Hash), ("route", Route))
        for key in part.model_fields
    }
    assert rows("The steps") == set(Step.model_fields) | below
    assert set(Step.model_fields) == {*ACTIONS, "tables", "changes_keys"}


def test_every_name_of_an_expression_is_documented_and_no_other() -> None:
    assert rows("Expressions") - {"c", "u", "d", "r"} == set(ROOT)


@pytest.mark.parametrize("text", re.findall(r"`{1,2}((?:op|item)[. ][^`]*(?:`\d+`[^`]*)?)`", SECTIONS["Expressions"]))
def test_the_expressions_that_are_shown_are_right(text: str) -> None:
    assert Expression(text.rstrip()).names <= set(ROOT)


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.partition("\n")[0] for example in EXAMPLES])
def test_an_example_gives_what_it_shows(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAILRACE_HASH_KEY", SECRET)
    (pipeline,), (event,) = blocks(INTRODUCTION, "yaml"), blocks(INTRODUCTION, "json")
    (steps,), (shown,) = blocks(example, "yaml"), blocks(example, "text")
    Path("pipeline.yaml").write_text(pipeline + steps)
    Path("event.json").write_text(event)
    for module in blocks(example, "python"):
        name = re.match(r"# (\w+\.py)\n", module)
        assert name
        Path(name[1]).write_text(module)
    code, out, _ = CommandLine(capsys)("transform", "pipeline.yaml", "--sample", "event.json")
    assert out == shown
    assert code == (1 if "dead letter" in shown else 0)


def test_there_are_five_examples_and_one_of_a_function() -> None:
    assert len(EXAMPLES) == 6
    assert sum(bool(blocks(example, "python")) for example in EXAMPLES) == 1
