"""What snapshots a pipeline would take, and what stands in their way. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from tailrace.config import Pipeline
from tailrace.core.checkpoint import Method
from tailrace.core.ports import TableFacts
from tailrace.errors import TopicError
from tailrace.formats import FORMATS
from tailrace.operations.snapshot_estimate import Estimate, estimate_scan


class SnapshotPlan(msgspec.Struct, frozen=True):
    """What the workers would read of a table as soon as they stream it."""

    segments: int
    filter: str | None
    estimate: Estimate


def snapshot_plan(pipeline: Pipeline, facts: TableFacts) -> SnapshotPlan:
    """Return what the first snapshot of a table would read."""
    snapshot = pipeline.snapshot
    return SnapshotPlan(
        snapshot.segment_count(facts, pipeline.lanes),
        snapshot.filter,
        estimate_scan(facts, snapshot.wanted_read_capacity(facts)),
    )


def snapshot_notes(pipeline: Pipeline, method: Method) -> Iterator[str]:
    """Return, as sentences, what an operator should know of a pipeline's snapshots before it runs."""
    if pipeline.snapshot.mode == "never":
        yield (
            "snapshot: never, so the topics will hold changes only, not the items that the tables hold now; "
            "`snapshot: initial` reads those once, and one can be started by hand at any time"
        )
        return
    if method == "lambda":
        yield "Lambda publishes changes only: beside it, snapshots need workers that do nothing else"
    if (tables_max := pipeline.snapshot.tables_max) is not None:
        together = "one table after the other is" if tables_max == 1 else f"{tables_max} tables at the same time are"
        yield f"{together} read for snapshots, and the others wait"


def why_not_read(pipeline: Pipeline, table: str, others: Iterable[str]) -> str | None:
    """Return, as a sentence, why no snapshot of a table can be taken beside `others`; None when one can.

    In a topic of several tables a row must be told from the changes of items with the same key in other tables.
    """
    if pipeline.parts_streams:
        return (
            f"no snapshot of table {table} can be taken: `topic` has {{stream}}, and a row comes with no stream; name "
            "one stream in source.streams, or leave {stream} out"
        )
    if FORMATS[pipeline.format.type].names_table:
        return None
    topics = _topics_of(pipeline, table)
    for other in sorted(others):
        if other != table and (shared := topics & _topics_of(pipeline, other)):
            return (
                f"no snapshot of table {table} can be taken: its topic {min(shared)} is one of table {other} as well, "
                f"and records of the format {pipeline.format.type} do not name their table; give it a topic of its "
                "own, or choose the format debezium"
            )
    return None


def _topics_of(pipeline: Pipeline, table: str) -> set[str]:
    try:
        return set(pipeline.topics_of(table))
    except TopicError:
        return set()  # which is told where topics are checked
