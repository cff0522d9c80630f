"""What is wrong with the `lake` key: a catalog that cannot be found, and what does not go together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tailrace.config.lake import AZURE, GCS, S3, Lake
from tailrace.config.lake_flink import flink_findings
from tailrace.config.lake_names import APART, shared_name
from tailrace.config.problem import Finding, Path, not_one_of, quoted
from tailrace.config.property_maps import CatalogProperties


def lake_findings(
    lakes: Sequence[Lake], name: str, tables: Sequence[str], *, record_format: str, several_topics: str | None
) -> Iterator[Finding]:
    """Check the lakes of a file of some name, each and beside the others; `tables` are those that the file names.

    `several_topics` says what to do when changes of a table go to several topics; None: they do not.
    """
    for index, lake in enumerate(lakes):
        path: Path = ("lake", index)
        if len(set(lake.tables)) < len(lake.tables):
            yield (*path, "tables"), "names a kind twice", "write each once"
        yield from _catalog(path, lake)
        yield from _store(path, lake)
        if lake.format == "iceberg" and (told := shared_name(tables)):
            yield (*path, "format"), f"is iceberg, and {told}", APART
        yield from _current(path, lake, several_topics)
        if lake.engine == "flink":
            yield from flink_findings(path, lake, record_format)
        for other in lakes[:index]:
            yield from _beside(path, lake, other, name)


def _beside(path: Path, lake: Lake, other: Lake, pipeline: str) -> Iterator[Finding]:
    """Check that two lakes keep apart what each of them writes."""
    if lake.name == other.name:
        yield (*path, "name"), f"is {quoted(lake.name)}, as that of another lake", "give each lake a `name` of its own"
    if f"{lake.location}/".startswith(f"{other.location}/") or f"{other.location}/".startswith(f"{lake.location}/"):
        wrong = f"is within that of the lake {quoted(other.name)}, or around it"
        yield (*path, "location"), wrong, "give each lake a location of its own"
    catalogs = {each.catalog.place(pipeline) if each.catalog else None for each in (lake, other)}
    if lake.catalog and len(catalogs) == 1 and set(lake.tables) & set(other.tables):
        wrong = f"has the tables of the lake {quoted(other.name)}, too"
        yield (*path, "catalog"), wrong, "give each lake a `namespace` of its own"


def _store(place: Path, lake: Lake) -> Iterator[Finding]:
    if not lake.location.startswith((GCS, *AZURE)):
        return
    store = "Google Cloud Storage" if lake.location.startswith(GCS) else "Azure"
    if lake.format != "parquet":
        wrong = f"is {lake.format}, of which tables are written in S3 and in folders, not in {store} yet"
        yield (*place, "format"), wrong, "set `format: parquet`, or use s3:// or file:///"
    if lake.engine == "flink":
        yield (*place, "engine"), f"cannot be flink in {store} yet", "leave it out, or use s3:// or file:///"
    for name in ("region", "role_arn", "profile"):
        if getattr(lake, name) is not None:
            yield (*place, name), f"is of AWS, and the location is in {store}", "leave it out"


def _catalog(place: Path, lake: Lake) -> Iterator[Finding]:
    path, catalog = (*place, "catalog"), lake.catalog
    if catalog is None:
        if lake.format == "iceberg":
            yield (
                place,
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
            yield (*place, "location"), "must be in S3, as the catalog is Glue", "write `s3://bucket/prefix`"
    elif "uri" not in catalog:
        example = "sqlite:////srv/catalog.db" if kind == "sql" else "https://catalog.example.com"
        yield path, f"has no `uri`, which a catalog of type {kind} needs", f"write e.g. `uri: {example}`"


def _current(place: Path, lake: Lake, several_topics: str | None) -> Iterator[Finding]:
    if "current" not in lake.tables:
        if "current" in lake.model_fields_set:
            remedy = "add `current` to `tables`, or leave it out"
            yield (*place, "current"), "is of tables that are not kept", remedy
        return
    path = (*place, "tables")
    if lake.format != "parquet" and "keep_ms" in lake.current.model_fields_set:
        remedy = "leave it out: old files are those of the format's own snapshots"
        yield (*place, "current", "keep"), f"is of Parquet, and the format is {lake.format}", remedy
    if lake.partition_by and "changes" not in lake.tables:
        yield (*place, "partition_by"), "is of `changes`, which `tables` does not name", "leave it out"
    if several_topics is not None:
        yield path, "has `current`, and changes of a table go to several topics, which have no order", several_topics
