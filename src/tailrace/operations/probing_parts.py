"""A snapshot worker's parts where no lane says how far a table is published: they look into the stream themselves."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tailrace.config import Pipeline
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.ports import ReadError, Source
from tailrace.errors import WorldError
from tailrace.operations.pending_changes import Ends, PendingChanges
from tailrace.wiring.snapshot_parts import PipelineSnapshotParts
from tailrace.wiring.transformations import Transformations

logger = logging.getLogger("tailrace.snapshot")

_POLL_S = 0.5


class ProbingParts(PipelineSnapshotParts):
    """Those of a worker, but for the barrier: all that the stream held when it was asked for must be published.

    AWS Lambda calls no function for a shard without changes, so its checkpoints do not tell that there are none.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        source: Source,
        transformations: Transformations,
        *,
        probes: Callable[[CheckpointState], bool] = lambda checkpoint_state: checkpoint_state.method != "worker",
    ) -> None:
        """`probes` returns whether to look into the streams; otherwise the lanes' checkpoints tell."""
        super().__init__(pipeline, source.policy, transformations)
        self._probed_pipeline = pipeline
        self._source = source
        self._probes = probes
        self._probed: dict[str, _Probe] = {}

    def published_until_ms(self, checkpoint_state: CheckpointState, table: str, whole_ms: int) -> int:
        """Return until when all changes of a table are surely published."""
        try:
            if not self._probes(checkpoint_state):
                return super().published_until_ms(checkpoint_state, table, whole_ms)
            if table not in self._probed:
                pending = PendingChanges(self._probed_pipeline, self._source, table, self.lane_count)
                self._probed[table] = _Probe(pending)
            return self._probed[table].until_ms(whole_ms)
        except (ReadError, WorldError) as error:
            logger.warning("the stream of table %s could not be read, trying again: %s", table, error)
            return 0

    def close(self) -> None:
        """Close what follows the checkpoint topic for the probes."""
        for probe in self._probed.values():
            probe.close()


class _Probe:
    """Asks what a table's stream holds, and waits until that is published."""

    def __init__(self, pending: PendingChanges) -> None:
        self._pending = pending
        self._asked: tuple[int, Ends] | None = None
        self._until_ms = 0

    def close(self) -> None:
        self._pending.close()

    def until_ms(self, asked_ms: int) -> int:
        if self._asked is None:
            self._asked = asked_ms, self._pending.read(lambda _shard, _changes: None)
        asked_ms, ends = self._asked
        if self._pending.wait_published(ends, _POLL_S):
            self._until_ms, self._asked = asked_ms, None
        return self._until_ms
