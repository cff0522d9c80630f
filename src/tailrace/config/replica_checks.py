"""What is wrong with the `replica` key: records that say too little of an item, and copies that are no others."""

from __future__ import annotations

from collections.abc import Iterator

from tailrace.config.model import Pipeline
from tailrace.config.problem import Finding, quoted
from tailrace.config.source import is_pattern
from tailrace.formats import FORMATS

_LOST = "loses the types of items (sets become arrays, binary becomes text), so that no copy of a table can be made"


def replica_findings(pipeline: Pipeline) -> Iterator[Finding]:
    """Check the `replica` key against itself and the others."""
    replica = pipeline.replica
    if replica is None:
        return
    path = ("replica",)
    if not pipeline.reads_back or not FORMATS[pipeline.format.type].keeps_types:
        written = "with Connect's converters" if pipeline.connect_properties else pipeline.format.type
        yield path, f"needs DynamoDB's own types, and the format {written} {_LOST}", "set `format: dynamodb-json`"
    if pipeline.parts_streams or any(step.route for step in pipeline.transform):
        remedy = "leave `{stream}` and routes out"
        yield path, "needs one topic a table, and changes of a table go to several, which have no order", remedy
    if any(step.route for step in replica.transform):
        yield (*path, "transform"), "has a route, which only topics have", "leave it out; `tables` names the copies"
    if not replica.is_elsewhere and "{table}" in replica.tables.values():
        remedy = "set `region`, `role_arn` or `profile`, or other names in `tables`, e.g. `{table}-dr`"
        yield path, "would write each table onto itself", remedy
    if replica.external_id is not None and replica.role_arn is None:
        yield (*path, "external_id"), "has no use without a role", "add `role_arn`, or leave it out"
    for pattern, target in replica.tables.items():
        if is_pattern(pattern) and "{table}" not in target:
            remedy = f"write e.g. `{{table}}-{target}`"
            yield (*path, "tables"), f"would put several tables into {quoted(target)}", remedy
    if replica.write == "transaction":
        for name in ("version_attribute", "keep_deleted"):
            field = "keep_deleted_ms" if name == "keep_deleted" else name
            if field in replica.model_fields_set:
                yield (*path, name), "is of `write: version`", "leave it out"
