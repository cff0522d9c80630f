"""Publishes what `verify` found to differ, by the protocol of a snapshot: rows again, and deletes of what is not there.

The snapshot is one by keys. Snapshot workers that run take part in it; this process joins them until it is done, so it
needs none of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Final

from tailrace.config import LoadedPipeline
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.ports import ReadFailure, Source, TableFacts
from tailrace.core.snapshot_state import SnapshotProgress
from tailrace.kafka.owner import new_owner
from tailrace.operations import snapshot
from tailrace.operations.pending_changes import PendingChanges
from tailrace.operations.probing_parts import ProbingParts
from tailrace.operations.progress import OnProgress, Progress
from tailrace.operations.snapshot import SnapshotDraft, parts_of
from tailrace.operations.snapshot_estimate import estimate_keys
from tailrace.process.host import ThreadedHost
from tailrace.snapshot.observer import SnapshotNotice
from tailrace.snapshot.worker import SnapshotWorker
from tailrace.wiring.transformations import Transformations

_LOOK_S: Final = 2.0


class Repair:
    """Repairs one table."""

    def __init__(
        self,
        loaded: LoadedPipeline,
        facts: TableFacts,
        *,
        source: Source,
        transformations: Transformations,
        pending: PendingChanges,
        timeout_s: float,
        progress: OnProgress,
    ) -> None:
        """`timeout_s` is how long nothing may become of it before it gives up."""
        self._loaded = loaded
        self._facts = facts
        self._source = source
        self._transformations = transformations
        self._pending = pending
        self._timeout_s = timeout_s
        self._progress = progress

    def run(self, keys: Sequence[bytes]) -> bool:
        """Publish the items with these keys (DynamoDB JSON); return whether the snapshot has ended.

        Raises WorldError when the table cannot have a snapshot now.
        """
        table = self._facts.table
        texts = tuple(key.decode() for key in keys)
        capacity = self._loaded.pipeline.snapshot.wanted_read_capacity(self._facts)
        draft = SnapshotDraft(
            table=table,
            source="keys",
            filter=None,
            segments=len(parts_of(texts)),
            keys=texts,
            estimate=estimate_keys(self._facts, len(texts), capacity),
        )
        started = snapshot.start(self._loaded, draft, reason="repair")
        watch = _Watch(table, started.id, len(keys), self._timeout_s, self._progress)
        parts = _Parts(self._loaded.pipeline, self._source, self._transformations, probes=_Probes(self._pending))
        with closing(parts):
            SnapshotWorker(parts, _Unheard(), owner=new_owner(), host=ThreadedHost()).run(watch.is_over)
        return watch.has_ended


class _Parts(ProbingParts):
    """Those of a process that starts no other snapshot: that is for the workers."""

    def begins_with_snapshot(self, table: str) -> bool:
        """Start none."""
        del table
        return False

    def resnapshots(self, table: str) -> bool:
        """Repair no gap."""
        del table
        return False


class _Probes:
    """Whether no lane says how far the table is published: another method is active, or no worker runs.

    It is looked up again and again, since a worker that was killed is a member of the group for some seconds.
    """

    def __init__(self, pending: PendingChanges) -> None:
        self._pending = pending
        self._has_workers = False
        self._looked_s = -_LOOK_S

    def __call__(self, checkpoint_state: CheckpointState) -> bool:
        """Return it. Raises WorldError."""
        if checkpoint_state.method != "worker":
            return True
        if time.monotonic() - self._looked_s >= _LOOK_S:
            self._has_workers = self._pending.has_workers()
            self._looked_s = time.monotonic()
        return not self._has_workers


class _Watch:
    """Sees when the snapshot has ended, or gets no further."""

    def __init__(self, table: str, snapshot_id: str, keys: int, timeout_s: float, progress: OnProgress) -> None:
        self.has_ended = False
        self._table = table
        self._id = snapshot_id
        self._keys = keys
        self._timeout_s = timeout_s
        self._progress = progress
        self._last: SnapshotProgress | None = None
        self._moved_s = time.monotonic()

    def is_over(self, checkpoint_state: CheckpointState) -> bool:
        """Return whether to stop."""
        snapshots = checkpoint_state.snapshots
        present, result = snapshots.snapshots.get(self._table), snapshots.results.get(self._table)
        if result is not None and result.id == self._id:
            self.has_ended = True
        elif present is not None and present.id == self._id:
            moved = snapshots.progress_of(self._table)
            if moved != self._last:
                self._last, self._moved_s = moved, time.monotonic()
                self._progress(Progress("repaired", moved.rows + moved.stale + moved.deletes, self._keys))
        return self.has_ended or time.monotonic() - self._moved_s > self._timeout_s


class _Unheard:
    """Nobody listens: the result says what there is to say."""

    def chunk_published(
        self, table: str, *, rows: int, stale: int, deletes: int, size_bytes: int, read_units: float, seconds: float
    ) -> None:
        """Hear nothing."""

    def chunk_aborted(self, table: str, stale: int) -> None:
        """Hear nothing."""

    def read_failed(self, table: str, failure: ReadFailure, seconds: float) -> None:
        """Hear nothing."""

    def notice(self, notice: SnapshotNotice) -> None:
        """Hear nothing."""
