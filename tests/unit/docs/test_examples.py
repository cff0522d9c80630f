"""The examples: their files and the configurations on their pages can be read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tailrace.config import load
from tailrace.kafka.java_file import parse

EXAMPLES = Path(__file__).parents[3] / "examples"
PAGES = sorted(EXAMPLES.rglob("README.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("pipeline.yaml")), ids=lambda file: file.parent.name)
def test_pipelines_are_right(file: Path) -> None:
    assert load(file).pipeline.name == "shop"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_pipelines_of_the_page_are_right(page: Path, tmp_path: Path) -> None:
    for text in blocks(page, "yaml"):
        (tmp_path / "pipeline.yaml").write_text(text)
        assert load(tmp_path / "pipeline.yaml").pipeline.name == yaml.safe_load(text)["name"]


def test_every_sink_reads_committed_records_of_the_pipelines_topic() -> None:
    texts = [file.read_text() for file in EXAMPLES.rglob("*-sink.json")]
    texts += [text for page in PAGES for text in blocks(page, "json")]
    assert len(texts) == 3
    for text in texts:
        config = json.loads(text)["config"]
        assert config["topics"] == "shop.orders"
        assert config["consumer.override.isolation.level"] == "read_committed"


def test_properties_are_right() -> None:
    for file in EXAMPLES.rglob("*.properties"):
        assert all(each.value for each in parse(file.read_text()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_page_names_every_file_beside_it(page: Path) -> None:
    text = page.read_text()
    assert [file.name for file in page.parent.iterdir() if file != page and f"`{file.name}`" not in text] == []
