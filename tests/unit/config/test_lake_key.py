"""What the `lake` key takes, refuses and asks of AWS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.pipeline_file import write_file
from tailrace.config import FileErrors, LoadedPipeline, load

KAFKA = {"bootstrap.servers": "localhost:9092"}
S3 = {"location": "s3://analytics/shop"}
CATALOG = {"format": "iceberg", "catalog": {"type": "glue"}}
CURRENT = {"format": "delta", "tables": ["current"]}


def loaded(folder: Path, lake: dict[str, Any], **settings: Any) -> LoadedPipeline:
    return load(write_file(folder, KAFKA, "shop", lake=S3 | lake, **settings))


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"tables": ["changes", "current"]},
        {},
        "lake.tables: has `current`, which Parquet files alone cannot hold yet; set `format` to iceberg or delta, or "
        "keep `changes` alone",
    ),
    (
        {"format": "iceberg"},
        {},
        "lake: needs a `catalog`, as Iceberg tables are found in one; write e.g. `catalog: {type: glue}`",
    ),
    (
        CATALOG | {"format": "delta"},
        {},
        "lake.catalog: is of Iceberg, and the format is delta; set `format: iceberg`, or leave `catalog` out",
    ),
    (CATALOG | {"catalog": {"type": "hive"}}, {}, "lake.catalog.type: must be sql, glue or rest, not `hive`"),
    (
        CATALOG | {"catalog": {"type": "rest"}},
        {},
        "lake.catalog: has no `uri`, which a catalog of type rest needs; write e.g. `uri: https://catalog.example.com`",
    ),
    (
        CATALOG | {"location": "file:///srv/lake"},
        {},
        "lake.location: must be in S3, as the catalog is Glue; write `s3://bucket/prefix`",
    ),
    (
        {"format": "delta", "current": {"lag": "5m"}},
        {},
        "lake.current: is of tables that are not kept; add `current` to `tables`, or leave it out",
    ),
    (
        CURRENT | {"partition_by": ["day(__ts)"]},
        {},
        "lake.partition_by: is of `changes`, which `tables` does not name; leave it out",
    ),
    (
        CURRENT,
        {"transform": [{"route": {"by": "item.region", "topics": {"eu": "shop.eu"}}}]},
        "lake.tables: has `current`, and changes of a table go to several topics, which have no order; leave "
        "`{stream}` and routes out, or keep `changes` alone",
    ),
    ({"tables": ["changes", "changes"]}, {}, "lake.tables: names a kind twice; write each once"),
]


@pytest.mark.parametrize(("lake", "settings", "sentence"), REFUSED)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, lake: dict[str, Any], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(FileErrors) as raised:
        loaded(tmp_path, lake, **settings)
    assert [str(each).partition(": ")[2] for each in raised.value.errors] == [sentence]


def test_the_properties_of_a_catalog_are_shown_without_secrets(tmp_path: Path) -> None:
    catalog = {"type": "rest", "uri": "https://me:hidden1@catalog.example.com", "credential": "id:hidden2"}
    found = loaded(tmp_path, CATALOG | {"catalog": catalog})
    assert found.pipeline.lake is not None
    assert dict(found.pipeline.lake.catalog or {}) == catalog
    shown = found.pipeline.shown()
    assert shown["lake"]["catalog"] == {
        "type": "rest",
        "uri": "https://***@catalog.example.com",
        "credential": "***",
    }
    assert "hidden" not in json.dumps(shown) + found.secrets.redact(json.dumps(catalog))


def test_the_rights_that_each_format_needs(tmp_path: Path) -> None:
    def actions(lake: dict[str, Any]) -> set[str]:
        found = loaded(tmp_path, lake).pipeline.lake
        assert found is not None
        return {action for right in found.aws_rights for action in right.actions}

    plain = {"s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListBucket"}
    glue = {f"glue:{each}" for each in ("GetDatabase", "CreateDatabase", "GetTable", "CreateTable", "UpdateTable")}
    assert actions({}) == plain
    assert actions({"format": "delta"}) == plain | {"s3:DeleteObject"}
    assert actions(CATALOG) == plain | glue
