"""What is wrong with the `lake` key: a catalog that cannot be found, and what does not go together."""

from __future__ import annotations

from collections.abc import Iterator

from tailrace.config.lake import S3, Lake
from tailrace.config.model import Pipeline
from tailrace.config.problem import Finding, not_one_of
from tailrace.config.property_maps import CatalogProperties


def lake_findings(pipeline: Pipeline) -> Iterator[Finding]:
    """Check the `lake` key against itself and the others."""
    lake = pipeline.lake
    if lake is None:
        return
    if len(set(lake.tables)) < len(lake.tables):
        yield ("lake", "tables"), "names a kind twice", "write each once"
    yield from _catalog(lake)
    yield from _current(pipeline, lake)


def _catalog(lake: Lake) -> Iterator[Finding]:
    path, catalog = ("lake", "catalog"), lake.catalog
    if catalog is None:
        if lake.format == "iceberg":
            yield (
                ("lake",),
                "needs a `catalog`, as Iceberg tables are found in one",
                "write e.g. `catalog: {type: glue}`",
            )
        return
    if lake.format != "iceberg":
        yield path, f"is of Iceberg, and the format is {lake.format}", "set `format: iceberg`, or leave `catalog` out"
        return
    kind = catalog.get("type", "")
    if kind not in CatalogProperties.types:
        yield (*path, "type"), *not_one_of(CatalogProperties.types, kind)
    elif kind == "glue":
        if not lake.location.startswith(S3):
            yield ("lake", "location"), "must be in S3, as the catalog is Glue", "write `s3://bucket/prefix`"
    elif "uri" not in catalog:
        example = "sqlite:////srv/catalog.db" if kind == "sql" else "https://catalog.example.com"
        yield path, f"has no `uri`, which a catalog of type {kind} needs", f"write e.g. `uri: {example}`"


def _current(pipeline: Pipeline, lake: Lake) -> Iterator[Finding]:
    if "current" not in lake.tables:
        if "current" in lake.model_fields_set:
            remedy = "add `current` to `tables`, or leave it out"
            yield ("lake", "current"), "is of tables that are not kept", remedy
        return
    path = ("lake", "tables")
    if lake.format == "parquet":
        remedy = "set `format` to iceberg or delta, or keep `changes` alone"
        yield path, "has `current`, which Parquet files alone cannot hold yet", remedy
    if lake.partition_by and "changes" not in lake.tables:
        yield ("lake", "partition_by"), "is of `changes`, which `tables` does not name", "leave it out"
    if pipeline.parts_streams or any(step.route for step in pipeline.transform):
        remedy = "leave `{stream}` and routes out, or keep `changes` alone"
        yield path, "has `current`, and changes of a table go to several topics, which have no order", remedy
