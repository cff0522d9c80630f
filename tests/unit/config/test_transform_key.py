"""The `transform` key: what it takes, and the sentence for each mistake in it."""

# ruff: noqa: E501 - a sentence of the table is one line

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from yaml import safe_load

from support.names import unique
from tailrace.config import FileErrors, json_schema, load
from tailrace.config.transform import ACTIONS
from tailrace.errors import TopicError

GOOD = """\
name: shop
kafka:
  bootstrap.servers: localhost:9092
source:
  type: dynamodb-streams
  tables: [orders, users]
transform:
"""
SECRET = "0123456789abcdef-PLANTED"
PATH_REMEDY = 'write names with dots between, [*] for every member of a list, "quotes" around a name with dots'
LANGUAGE = "it is JMESPath over op, table, keys, before, after and item, with texts in 'single quotes' and numbers, null, true and false in `backquotes`"
ONE_OF = f"a step has one of {', '.join(ACTIONS)}; make a list of several"
EACH_OF = """\
  - filter: item.status != 'draft'
  - include: [a, "b.c", "l[*].d"]
  - exclude: [e]
  - rename: {a: b, "c.d": e}
  - mask: {attributes: [f]}
  - mask: {attributes: [f], text: "", keep_last: 4}
  - hash: {attributes: [g], key: 0123456789abcdef-PLANTED}
  - {tables: ["ord*"], function: "json:dumps", changes_keys: true}
  - tables: [orders]
    route: {by: item.type, topics: {1: "a.{table}", b: "{pipeline}.b"}, otherwise: c}
"""


def mistakes(folder: Path, steps: str) -> list[str]:
    file = folder / "p.yaml"
    file.write_text(GOOD + steps)
    with pytest.raises(FileErrors) as error:
        load(file, with_functions=True)
    return [sentence.removeprefix(f"{file}:") for sentence in str(error.value).splitlines()]


def test_each_step_is_taken_by_the_loader_and_the_schema(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GOOD + EACH_OF)
    pipeline = load(tmp_path / "p.yaml", with_functions=True).pipeline
    assert {step.action for step in pipeline.transform} == set(ACTIONS)
    assert pipeline.topics_of("orders") == ("a.orders", "shop.b", "c")
    assert pipeline.topics_of("users") == ("shop.users",)
    Draft202012Validator(json_schema()).validate(safe_load(GOOD + EACH_OF.replace("{1:", '{"1":')))


def test_a_function_alone_is_a_step(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GOOD.rstrip() + " json:dumps\n")
    (step,) = load(tmp_path / "p.yaml", with_functions=True).pipeline.transform
    assert (step.action, step.function, step.is_for("anything")) == ("function", "json:dumps", True)
    Draft202012Validator(json_schema()).validate(safe_load(GOOD.rstrip() + " json:dumps\n"))


def test_the_module_is_looked_for_beside_the_file_and_only_when_it_is_needed(tmp_path: Path) -> None:
    name = unique("module").replace("-", "_")
    (tmp_path / f"{name}.py").write_text("def f(change): return change\n")
    (tmp_path / "p.yaml").write_text(GOOD.rstrip() + f" {name}:f\n")
    load(tmp_path / "p.yaml", with_functions=True)
    (tmp_path / "p.yaml").write_text(GOOD.rstrip() + " no_such_module:f\n")
    load(tmp_path / "p.yaml")


def test_the_secret_of_a_hash_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GOOD + EACH_OF)
    loaded = load(tmp_path / "p.yaml")
    assert SECRET not in f"{loaded} {loaded.pipeline.shown()}"
    assert loaded.secrets.redact(f"it is {SECRET}") == "it is ***"


CASES = [
    ("a number", "  5", "7: transform: must be a list, not a number; write it as [a, b]"),
    (
        "no function's name",
        "  redact",
        "7: transform[0].function: `redact` does not name a function; write e.g. `my_module:redact`",
    ),
    ("a step that is text", "  - redact", "8: transform[0]: must be a mapping, not `redact`"),
    ("no action", "  - tables: [orders]", f"8: transform[0]: does nothing; {ONE_OF}"),
    ("two actions", "  - {filter: item.a, exclude: [a]}", f"8: transform[0]: has filter and exclude; {ONE_OF}"),
    (
        "unknown action",
        "  - {fliter: op}",
        "8: transform[0].fliter: is not a key of `transform[0]`; did you mean `filter`?",
    ),
    (
        "unknown key of an action",
        "  - mask: {attributes: [a], txt: x}",
        "8: transform[0].mask.txt: is not a key of `transform[0].mask`; did you mean `text`?",
    ),
    (
        "no expression",
        "  - filter: status ==",
        f"8: transform[0].filter: `status ==`: it cannot be parsed: Incomplete expression; {LANGUAGE}",
    ),
    (
        "unknown name",
        "  - filter: status == 'a'",
        f"8: transform[0].filter: `status == 'a'`: a change has no status: write item.status for the attribute, 'status' for a text; {LANGUAGE}",
    ),
    (
        "no path",
        "  - exclude: [a..b]",
        f"8: transform[0].exclude[0]: the path `a..b` cannot be read from character 3 on; {PATH_REMEDY}",
    ),
    ("a path for a list", "  - exclude: a", "8: transform[0].exclude: must be a list, not `a`; write [a]"),
    ("no paths", "  - exclude: []", "8: transform[0].exclude: is empty or too short; give a longer one"),
    ("no new name", "  - rename: {a: ''}", "8: transform[0].rename.a: is empty; give the new name"),
    (
        "no path to rename",
        "  - rename: {'a.': b}",
        f"8: transform[0].rename.a.: the path `a.` cannot be read from character 1 on; {PATH_REMEDY}",
    ),
    ("no attributes", "  - mask: {text: x}", "8: transform[0].mask.attributes: is missing; add it"),
    (
        "keep too much",
        "  - mask: {attributes: [a], keep_last: 65}",
        "8: transform[0].mask.keep_last: must be at most 64, not 65",
    ),
    (
        "short secret",
        "  - hash: {attributes: [a], key: pass}",
        "8: transform[0].hash.key: has fewer than 16 characters, so that it could be guessed; use a long random text, e.g. from `openssl rand -hex 32`",
    ),
    ("no secret", "  - hash: {attributes: [a]}", "8: transform[0].hash.key: is missing; add it"),
    (
        "bad topic",
        "  - {tables: [orders], route: {by: op, topics: {c: a b}}}",
        "8: transform[0].route.topics.c: `a b` cannot name a topic; a topic's name has 1 to 249 letters, digits, `.`, `_` and `-`",
    ),
    (
        "own topic",
        "  - {tables: [orders], route: {by: op, topics: {c: shop.checkpoints}}}",
        "8: transform[0].route: the topic of table orders would be `shop.checkpoints`, that of the checkpoints; give `topic` another form, e.g. `{pipeline}.table.{table}`",
    ),
    (
        "several tables in one topic",
        "  - route: {by: op, topics: {c: all}}",
        "8: transform[0].route: would put several tables into `all`; put `{table}` into it, or give one table to the step: items of different tables can have one key",
    ),
    (
        "another table's topic",
        "  - {tables: [orders], route: {by: op, topics: {c: shop.users}}}",
        "8: transform[0].route: sends changes of orders to `shop.users`, a topic of users; items of different tables can have one key: give another topic",
    ),
    (
        "two routes",
        "  - {tables: [orders], route: {by: op, topics: {c: a}}}\n  - {tables: [orders], route: {by: op, topics: {c: b}}}",
        "9: transform[1].route: is a second route for `orders`, after transform[0]; make one of them",
    ),
    (
        "unknown table",
        "  - {tables: [order], filter: item.a}",
        "8: transform[0].tables[0]: `order` is no table of the pipeline; did you mean `orders`?",
    ),
    (
        "keys without a function",
        "  - {filter: item.a, changes_keys: true}",
        "8: transform[0]: has `changes_keys` without a function; leave it out",
    ),
    (
        "no module",
        "  no_such_module:f",
        "7: transform[0].function: there is no module no_such_module; put it beside the pipeline file, or install it",
    ),
    ("no function", "  - function: json:no_such", "8: transform[0].function: "),
]


@pytest.mark.parametrize(("steps", "sentence"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_mistake_gives_one_sentence(steps: str, sentence: str, tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, steps + "\n")
    assert found == sentence or (sentence.endswith(": ") and found.startswith(sentence))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    assert len(mistakes(tmp_path, "  - filter: status\n  - exclude: ['']\n  - hash: {attributes: [a], key: b}\n")) == 3


def test_a_table_that_a_pattern_brings_has_one_route_too(tmp_path: Path) -> None:
    route = "route: {by: op, topics: {c: 'new.{table}'}}"
    steps = f'  - {{tables: ["log-*"], {route}}}\n  - {{tables: ["*-eu"], {route}}}\n'
    (tmp_path / "p.yaml").write_text(GOOD.replace("users]", '"log-*"]') + steps)
    pipeline = load(tmp_path / "p.yaml").pipeline
    assert pipeline.topics_of("log-us") == ("new.log-us",)
    with pytest.raises(TopicError, match="table log-eu has 2 routes in `transform`"):
        pipeline.topics_of("log-eu")


def test_a_module_that_is_not_there_is_told_of_with_the_other_mistakes(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        GOOD.replace("tables: [orders, users]", "tables: []")
        + f"  - function: {unique('nowhere')}:f\n  - function: json:nope\n  - filter: 'item.'\nlanes: 0\n"
    )
    with pytest.raises(FileErrors) as error:
        load(file, with_functions=True)
    assert [found.path for found in error.value.errors] == [
        "source.tables",
        "transform[0].function",
        "transform[1].function",
        "transform[2].filter",
        "lanes",
    ]
