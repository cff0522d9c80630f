"""The configurations of sink connectors for a lake's topics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.pipeline_file import write_file
from tailrace.config import load
from tailrace.deploy.lake_connect import connect_files
from tailrace.errors import FileError
from tailrace.operations.lake_targets import LakeTarget, require_targets

TOPICS = ["shop.customers", "shop.orders"]


def target_of(folder: Path, lake: dict[str, Any], **settings: Any) -> LakeTarget:
    section = {"location": "s3://analytics/shop", "region": "eu-west-1", "file": {"age": "2m"}} | lake
    file = write_file(folder, {"bootstrap.servers": "localhost:9092"}, "shop", lake=section, **settings)
    return require_targets(load(file))[0]


def configs(target: LakeTarget) -> tuple[dict[str, str], dict[str, str]]:
    files = connect_files(target, TOPICS)
    s3, iceberg = (json.loads(files[f"{name}-sink.json"])["config"] for name in ("s3", "iceberg"))
    return s3, iceberg


def test_both_read_committed_records_of_the_topics_and_cut_files_by_their_age(tmp_path: Path) -> None:
    s3, iceberg = configs(target_of(tmp_path, {}))
    for each in (s3, iceberg):
        assert each["topics"] == "shop.customers,shop.orders"
        assert each["consumer.override.isolation.level"] == "read_committed"
    assert s3["rotate.interval.ms"] == iceberg["iceberg.control.commit.interval-ms"] == "120000"


def test_the_s3_sink_cuts_files_by_records_alone_so_that_it_is_exactly_once(tmp_path: Path) -> None:
    s3, _ = configs(target_of(tmp_path, {"partition_by": ["hour(__ts)"]}))
    assert "rotate.schedule.interval.ms" not in s3
    assert s3["timestamp.extractor"] == "Record"
    assert s3["path.format"] == "'tailrace_ts_hour='YYYY-MM-dd'T'HH"
    assert (s3["s3.bucket.name"], s3["topics.dir"], s3["s3.region"]) == ("analytics", "shop/connect", "eu-west-1")


def test_the_iceberg_sink_has_the_catalog_and_the_tables_of_the_section(tmp_path: Path) -> None:
    catalog = {"type": "rest", "uri": "https://catalog.example.com", "warehouse": "w", "token": "secret"}
    _, iceberg = configs(target_of(tmp_path, {"format": "iceberg", "catalog": catalog}))
    assert iceberg["iceberg.catalog.uri"] == "https://catalog.example.com"
    assert iceberg["iceberg.catalog.warehouse"] == "w"
    assert iceberg["transforms.debezium.cdc.target.pattern"] == "shop.{table}_changes"
    assert "secret" not in json.dumps(iceberg)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is not in S3"):
        connect_files(target_of(tmp_path, {"location": "file:///srv/lake"}), TOPICS)
