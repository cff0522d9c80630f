"""A lake's own file: which topics it means, which tables they are of, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tailrace.config import FileErrors, LoadedLakeFile, LoadedPipeline, load, load_lake
from tailrace.config.lake_file import LakeFile

GOOD: dict[str, Any] = {
    "name": "analytics",
    "kafka": {"bootstrap.servers": "localhost:9092"},
    "topics": ["shop.{table}", "billing.*", "users"],
    "lake": {"location": "s3://analytics/all"},
}


def written(folder: Path, **settings: Any) -> Path:
    file = folder / "lake.yaml"
    content = {key: value for key, value in (GOOD | settings).items() if value is not None}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def content(folder: Path, **settings: Any) -> LakeFile:
    loaded = load_lake(written(folder, **settings))
    assert isinstance(loaded, LoadedLakeFile)
    return loaded.content


@pytest.mark.parametrize(
    ("topic", "table"),
    [
        ("shop.orders", "orders"),
        ("shop.orders.archive", "orders.archive"),
        ("billing.invoices", "invoices"),
        ("billing.lines", "billing.lines"),
        ("users", "users"),
        ("users-2", None),
        ("shop.", None),
        ("shop.checkpoints", None),
        ("shop.dead-letters", None),
        ("billing.test-1", None),
        ("analytics.dead-letters", None),
        ("__consumer_offsets", None),
    ],
)
def test_the_first_entry_that_matches_a_topic_says_its_table(tmp_path: Path, topic: str, table: str | None) -> None:
    file = content(tmp_path, exclude=["billing.test-?"], tables={"billing.invoices": "invoices"})
    assert file.table_of(topic) == table


def test_a_topic_that_is_named_is_meant_whatever_its_name_ends_with(tmp_path: Path) -> None:
    assert content(tmp_path, topics=["shop.checkpoints"]).table_of("shop.checkpoints") == "shop.checkpoints"


def test_a_pattern_for_all_leaves_out_the_dead_letters_of_the_lake_itself(tmp_path: Path) -> None:
    assert content(tmp_path, topics=["*"], dead_letters="refused").table_of("refused") is None


CURRENT = {"location": "s3://analytics/all", "format": "delta", "tables": ["current"]}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"lake": None}, "lake: is missing; add e.g. `lake: {location: s3://bucket/prefix}`"),
    ({"topics": []}, 'topics: is empty or too short; add e.g. `topics: ["shop.{table}"]`'),
    (
        {"topics": ["a b"]},
        "topics[0]: `a b` cannot name topics; a topic's name has 1 to 249 letters, digits, `.`, `_` and `-`; `*` and "
        "`?` stand for others, `{table}` for a table",
    ),
    (
        {"kind": "x"},
        "kind: is not a key of a lake's file; its keys are name, kafka, topics, exclude, tables, format, "
        "dead_letters, lake",
    ),
    ({"dead_letters": "users"}, "dead_letters: is one of `topics`; give another name"),
    (
        {"topics": ["a.{table}", "b.{table}"], "lake": CURRENT},
        "lake.tables: has `current`, and changes of a table go to several topics, which have no order; let each table "
        "have one topic, or keep `changes` alone",
    ),
    ({"kafka": {"bootstrap.server": "x:1"}}, "kafka.bootstrap.server: is not a property that librdkafka knows"),
]


@pytest.mark.parametrize(("settings", "sentence"), REFUSED)
def test_what_is_wrong_has_a_sentence(tmp_path: Path, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FileErrors) as raised:
        content(tmp_path, **settings)
    assert any(sentence in str(each) for each in raised.value.errors), str(raised.value)


def test_only_the_commands_of_lakes_take_it(tmp_path: Path) -> None:
    said = "is a lake's own file, without a `source`; lake, validate, plan, status, iam and accept-gap take it"
    with pytest.raises(FileErrors, match=said):
        load(written(tmp_path))


def test_they_take_the_file_of_a_pipeline_too(tmp_path: Path) -> None:
    source = {"type": "dynamodb-streams", "tables": ["orders"]}
    assert isinstance(load_lake(written(tmp_path, topics=None, source=source)), LoadedPipeline)
