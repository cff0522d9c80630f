"""What a command asks of a pipeline first: that it exists, and that it has the tables which the command names."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from tailrace.config import Pipeline
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.errors import WorldError
from tailrace.kafka import checkpoint_topic, clients
from tailrace.kafka.client_factory import ClientFactory


def count_lanes(pipeline: Pipeline, factory: ClientFactory = clients) -> int:
    """Return the number of lanes of a pipeline that exists. Raises WorldError when it does not."""
    return checkpoint_topic.existing_lanes(factory.admin(pipeline.kafka), pipeline.kafka, pipeline.name)


def require_pipeline(pipeline: Pipeline, tables: Collection[str] = ()) -> None:
    """Raise WorldError unless the pipeline exists and has a table for each name or pattern of `tables`.

    A table that the file names counts, although no worker may have listed it yet.
    """
    lanes = count_lanes(pipeline)
    if tables:
        checkpoint_state = checkpoint_topic.read_checkpoint_state(pipeline.kafka, pipeline.name, lanes)
        require_tables(checkpoint_state, tables, pipeline.source.named_tables)


def require_tables(checkpoint_state: CheckpointState, tables: Iterable[str], named: Iterable[str] = ()) -> None:
    """Raise WorldError unless each name or pattern matches a table that the checkpoint state knows, or one that is
    `named`."""
    require_known(checkpoint_state.table_names.union(named, checkpoint_state.snapshots.snapshots), tables)


def require_known(known: Iterable[str], tables: Iterable[str]) -> None:
    """Raise WorldError unless each name or pattern of `tables` matches a known table."""
    known = sorted(known)
    for each in tables:
        if not any(fnmatchcase(table, each) for table in known):
            raise WorldError(
                f"the pipeline has no table {each}", hint=f"its tables are: {', '.join(known) or 'none yet'}"
            )
