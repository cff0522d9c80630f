"""The two files of a switch of sources are of one pipeline, and differ in the source alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.pipeline_file import write_file
from tailrace.config import LoadedPipeline, load
from tailrace.errors import FileError
from tailrace.operations.switch_source import check_files

KAFKA = {"bootstrap.servers": "localhost:9092"}
KINESIS = {"type": "kinesis", "region": "us-east-1", "streams": ["cdc"]}


def loaded(folder: Path, name: str = "shop", **settings: Any) -> LoadedPipeline:
    return load(write_file(folder, KAFKA, name, **settings))


def test_files_that_differ_in_the_source_go_together_both_ways(tmp_path: Path) -> None:
    streams, kinesis = loaded(tmp_path), loaded(tmp_path, only_source=KINESIS)
    check_files(streams, kinesis)
    check_files(kinesis, streams)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"name": "store", "only_source": KINESIS}, "the files are of two pipelines, shop and store"),
        ({"tables": ["users"]}, "both files have `source.type: dynamodb-streams`"),
        (
            {"only_source": KINESIS, "topic": "changes.{table}", "lanes": 4},
            "the files differ in `topic`, `lanes`; a switch changes the source alone",
        ),
        ({"only_source": {**KINESIS, "records": "raw"}}, "raw records of Kinesis are not changes of tables"),
    ],
)
def test_other_files_are_refused_with_the_reason(settings: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(FileError) as refused:
        check_files(loaded(tmp_path), loaded(tmp_path, **settings))
    assert sentence in str(refused.value)
