"""When a repair looks into the streams itself: as soon as no worker says any more how far a table is published."""

from __future__ import annotations

from typing import cast

import pytest

from tailrace.core.checkpoint_state import CheckpointState
from tailrace.operations import verify_repair
from tailrace.operations.pending_changes import PendingChanges
from tailrace.operations.verify_repair import _Probes


class Group:
    """A worker that was killed: Kafka takes it for a member at the first looks."""

    def __init__(self) -> None:
        self.looks = 0

    def has_workers(self) -> bool:
        self.looks += 1
        return self.looks < 3


def test_a_worker_that_is_gone_is_noticed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_repair, "_LOOK_S", 0.0)
    probes = _Probes(cast(PendingChanges, Group()))
    assert [probes(CheckpointState(1)) for _ in range(4)] == [False, False, True, True]


def test_the_group_is_looked_up_only_now_and_then() -> None:
    group = Group()
    probes = _Probes(cast(PendingChanges, group))
    assert [probes(CheckpointState(1)) for _ in range(4)] == [False] * 4
    assert group.looks == 1
