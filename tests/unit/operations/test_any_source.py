"""What commands and deployment ask of a source every kind answers: here one that no module of the product knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.second_source import load_either
from support.stream_records import stream_record
from tailrace.config import LoadedPipeline
from tailrace.config.checks import pipeline_findings
from tailrace.config.definition import definition_of
from tailrace.deploy.deployment import describe
from tailrace.errors import FileError
from tailrace.operations.sample import try_sample
from tailrace.operations.tail import tables_by_topic

FILE = """\
name: shop
kafka: {bootstrap.servers: "localhost:9092"}
source:
  type: log
  table: orders
"""
SAMPLE = json.dumps(stream_record(1, sequence="1" * 21, created_s=1.0, keys={"id": {"S": "a"}})).encode()


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedPipeline:
    path = tmp_path / "pipeline.yaml"
    path.write_text(FILE)
    return load_either(path)


def test_its_table_is_checked_and_defined(loaded: LoadedPipeline, tmp_path: Path) -> None:
    pipeline = loaded.pipeline
    assert list(pipeline_findings(pipeline)) == []
    assert definition_of(pipeline).tables == ("orders",)
    assert (pipeline.source.named_tables, pipeline.source.only_table) == (("orders",), "orders")
    other = tmp_path / "other.yaml"
    other.write_text(FILE.replace("orders", "checkpoints"))
    (finding,) = pipeline_findings(load_either(other).pipeline)
    assert finding[0] == ("source", "table")


def test_its_topics_are_told_apart(loaded: LoadedPipeline) -> None:
    table_of = tables_by_topic(loaded.pipeline)
    assert [table_of(topic) for topic in ("shop.orders", "shop.users", "shop.checkpoints")] == ["orders", None, None]


def test_a_sample_is_of_its_only_table(loaded: LoadedPipeline) -> None:
    (tried,) = try_sample(loaded, SAMPLE, table=None, file="s.json", now_ns=0)
    assert (tried.table, tried.outcome, tried.records[0].topic) == ("orders", "published", "shop.orders")


def test_a_table_that_it_does_not_read_is_refused_with_its_own_key(loaded: LoadedPipeline) -> None:
    with pytest.raises(FileError, match=r"record of table users, which the pipeline leaves out; see source\.table$"):
        list(try_sample(loaded, SAMPLE, table="users", file="s.json", now_ns=0))


def test_what_lambda_cannot_read_is_not_deployed_to_it(loaded: LoadedPipeline) -> None:
    with pytest.raises(FileError, match=r"yaml:4: source\.type: AWS Lambda cannot read a source of type log; run it"):
        describe(loaded, "3.13", None, None)
