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


ROUTE_OF_ONE = {"tables": ["a.b"], "route": {"by": "op", "topics": {"c": "shop.other"}, "otherwise": "shop.other"}}
REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        CATALOG | {"engine": "flink"},
        {},
        "lake.engine: cannot be flink with the format iceberg: the newest runtime of Iceberg for Flink is for 2.1, and "
        "cannot be loaded in 2.3; set `format: parquet`",
    ),
    (
        {"engine": "flink", "format": "delta"},
        {},
        "lake.engine: cannot be flink with the format delta: the connector of Delta Lake for Flink is for 1.x; set "
        "`format: parquet`",
    ),
    (
        {"engine": "flink"},
        {"format": "cloudevents"},
        "lake.engine: cannot be flink with records of the format cloudevents; set `format: debezium`, or leave "
        "`engine` out",
    ),
    (
        {"engine": "flink", "columns": {"orders": {"at": "list(timestamp)", "n": "bigint"}}},
        {},
        "lake.columns.orders.at: cannot be list(timestamp) in Flink, which has no function that reads it; declare it "
        "as json or string, or leave `engine` out",
    ),
    (
        {"engine": "flink", "partition_by": ["region"]},
        {},
        "lake.partition_by: has the column `region`, which Flink must know before; declare it in `columns`, for every "
        "table",
    ),
    (
        {"engine": "flink", "tables": ["changes", "current"]},
        {},
        "lake.engine: cannot be flink with `current`, which only Tailrace merges; keep `changes` alone, or leave "
        "`engine` out",
    ),
    (
        CURRENT | {"current": {"keep": "2h"}},
        {},
        "lake.current.keep: is of Parquet, and the format is delta; leave it out: old files are those of the format's "
        "own snapshots",
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
    (
        {"format": "iceberg", "catalog": {"type": "glue"}},
        {"tables": ["a_b", "orders", "a.b"], "transform": [ROUTE_OF_ONE]},
        "lake.format: is iceberg, and a.b and a_b would both be a_b in the Iceberg catalog; let a pipeline of its own "
        "carry one of them",
    ),
    ({"tables": ["changes", "changes"]}, {}, "lake.tables: names a kind twice; write each once"),
    (
        {"location": "gs://analytics/shop", "format": "delta"},
        {},
        "lake.format: is delta, of which tables are written in S3 and in folders, not in Google Cloud Storage yet; set "
        "`format: parquet`, or use s3:// or file:///",
    ),
    (
        {"location": "abfss://lake@shop.dfs.core.windows.net/x", "profile": "me"},
        {},
        "lake.profile: is of AWS, and the location is in Azure; leave it out",
    ),
    (
        {"location": "az://lake/x"},
        {},
        "lake.location: `az://lake/x` is no location; write `s3://bucket/prefix`, `gs://bucket/prefix`, "
        "`abfss://container@account.dfs.core.windows.net/prefix` or `file:///absolute/path`",
    ),
]


@pytest.mark.parametrize(("lake", "settings", "sentence"), REFUSED)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, lake: dict[str, Any], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(FileErrors) as raised:
        loaded(tmp_path, lake, **settings)
    assert [str(each).partition(": ")[2] for each in raised.value.errors] == [sentence]


RAW = {"name": "raw", "location": "s3://analytics/raw"}
STATE = {"name": "state", "location": "s3://analytics/state"}


def several(folder: Path, *lakes: dict[str, Any]) -> LoadedPipeline:
    return load(write_file(folder, KAFKA, "shop", lake=list(lakes)))


def test_several_lakes_have_a_name_each(tmp_path: Path) -> None:
    found = several(tmp_path, RAW, STATE)
    assert [lake.name for lake in found.pipeline.lakes] == ["raw", "state"]
    assert found.place("lake", 1).endswith(": lake[1]")
    assert [lake.name for lake in loaded(tmp_path, {}).pipeline.lakes] == ["main"]
    assert loaded(tmp_path, {}).place("lake", 0).endswith(": lake")


BESIDE: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (RAW, STATE | {"name": "raw"}, "name: is `raw`, as that of another lake; give each lake a `name` of its own"),
    (
        RAW,
        STATE | {"location": "s3://analytics/raw/"},
        "location: is within that of the lake `raw`, or around it; give each lake a location of its own",
    ),
    (
        RAW,
        STATE | {"location": "s3://analytics"},
        "location: is within that of the lake `raw`, or around it; give each lake a location of its own",
    ),
    (
        RAW | CATALOG,
        STATE | {"format": "iceberg", "catalog": {"type": "glue", "namespace": "shop"}},
        "catalog: has the tables of the lake `raw`, too; give each lake a `namespace` of its own",
    ),
    (RAW, STATE | {"file": {"age": "1ms"}}, "file.age: must be 1s to 24h, not `1ms`"),
]


@pytest.mark.parametrize(("one", "other", "sentence"), BESIDE)
def test_lakes_that_would_write_the_same_are_refused(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(FileErrors) as raised:
        several(tmp_path, one, other)
    assert [str(each).partition(": ")[2] for each in raised.value.errors] == [f"lake[1].{sentence}"]


def test_lakes_beside_each_other_that_share_a_beginning_or_a_catalog_are_fine(tmp_path: Path) -> None:
    several(tmp_path, RAW, STATE | {"location": "s3://analytics/raw-2"})
    other = {"type": "glue", "namespace": "state"}
    several(tmp_path, RAW | CATALOG, STATE | {"format": "iceberg", "catalog": other})
    several(tmp_path, RAW | CATALOG, STATE | CATALOG | {"tables": ["current"]})


def test_the_properties_of_a_catalog_are_shown_without_secrets(tmp_path: Path) -> None:
    catalog = {"type": "rest", "uri": "https://me:hidden1@catalog.example.com", "credential": "id:hidden2"}
    found = loaded(tmp_path, CATALOG | {"catalog": catalog})
    (lake,) = found.pipeline.lakes
    assert dict(lake.catalog or {}) == catalog
    shown = found.pipeline.shown()
    assert shown["lake"][0]["catalog"] == {
        "type": "rest",
        "uri": "https://***@catalog.example.com",
        "credential": "***",
    }
    assert "hidden" not in json.dumps(shown) + found.secrets.redact(json.dumps(catalog))


@pytest.mark.parametrize("location", ["gs://analytics/shop", "abfs://lake@shop.dfs.core.windows.net/x"])
def test_locations_that_are_not_amazons_need_no_right_of_aws(tmp_path: Path, location: str) -> None:
    (lake,) = loaded(tmp_path, {"location": location}).pipeline.lakes
    assert (lake.location, lake.aws_rights) == (location, ())


def test_the_rights_that_each_format_needs(tmp_path: Path) -> None:
    def actions(lake: dict[str, Any]) -> set[str]:
        (found,) = loaded(tmp_path, lake).pipeline.lakes
        return {action for right in found.aws_rights for action in right.actions}

    plain = {"s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListBucket"}
    glue = {f"glue:{each}" for each in ("GetDatabase", "CreateDatabase", "GetTable", "CreateTable", "UpdateTable")}
    assert actions({}) == plain
    assert actions({"format": "delta"}) == plain | {"s3:DeleteObject"}
    assert actions(CATALOG) == plain | glue
