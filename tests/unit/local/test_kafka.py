"""What a broker is made with."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tailrace.local.kafka import new_cluster_id


def test_a_clusters_id_is_never_taken_for_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: Iterator[uuid.UUID] = iter([uuid.UUID(int=0xF8 << 120), uuid.UUID(int=0xF9 << 120), uuid.UUID(int=1)])
    monkeypatch.setattr(uuid, "uuid4", lambda: next(drawn))
    assert new_cluster_id() == "AAAAAAAAAAAAAAAAAAAAAQ"
