"""A snapshot worker that is stopped begins nothing more that waits for Kafka or AWS."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tailrace.process.host import ThreadedHost
from tailrace.snapshot.beside import SnapshotsBeside
from tailrace.snapshot.lane import SnapshotLane
from tailrace.snapshot.observer import SnapshotObserver
from tailrace.snapshot.parts import SnapshotParts
from tailrace.snapshot.worker import SnapshotWorker

TIMEOUT_S = 30.0


class Client:
    """A follower, a member of the group and a window, that read nothing; the member is given two lanes."""

    whole_s = None

    def __init__(self, assign: Callable[[list[int]], None] = lambda _: None) -> None:
        self.is_closed = False
        self._assign = assign

    def join(self) -> None:
        self._assign([0, 1])

    def poll(self, _timeout_s: float) -> list[Any]:
        return []

    def follow(self, _topics: object) -> None:
        """Follow nothing."""

    def close(self) -> None:
        self.is_closed = True

    leave = close


class Parts(SimpleNamespace):
    """Makes such clients, and remembers them."""

    def __init__(self) -> None:
        super().__init__(name="shop", lane_count=2, reader_count=1, parallel_tables=None, producer=None)
        self.made: list[Client] = []

    def follower(self, _on_replaced: object) -> Client:
        return self._make(Client())

    def window(self, _on_replaced: object) -> Client:
        return self._make(Client())

    def membership(self, _owner: str, on_assigned: Callable[[list[int]], None], *_: object) -> Client:
        return self._make(Client(on_assigned))

    def _make(self, client: Client) -> Client:
        self.made.append(client)
        return client


def test_no_lane_is_claimed_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts()
    worker = SnapshotWorker(cast(SnapshotParts, parts), cast(SnapshotObserver, None), owner="mine", host=ThreadedHost())
    claimed: list[int] = []

    def claim(lane: SnapshotLane) -> None:
        claimed.append(lane.number)
        worker.stop()

    monkeypatch.setattr(worker, "_hold_or_close", claim)
    worker.run()
    assert claimed == [0]
    assert [client.is_closed for client in parts.made] == [True] * 3


def test_an_engine_that_has_ended_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Event()

    def ask(_question: object) -> Future[bool]:
        asked.set()
        return Future()

    beside = SnapshotsBeside(
        cast(SnapshotParts, Parts()), cast(SnapshotObserver, None), owner="mine", host=ThreadedHost(), ask=ask
    )
    monkeypatch.setattr("tailrace.snapshot.beside.LOOK_S", 0.01)
    thread = Thread(target=beside.run, daemon=True)
    thread.start()
    assert asked.wait(TIMEOUT_S)
    beside.stop()
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()
