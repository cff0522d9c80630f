"""The worker's clock never goes back."""

from __future__ import annotations

import time

import pytest

from tailrace.process.clock import Clock


def test_time_goes_on_from_where_it_was_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    wall_ns, monotonic_ns = 5_000_000_000_000, 7_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: wall_ns)
    monkeypatch.setattr(time, "monotonic_ns", lambda: monotonic_ns)
    now_ms = Clock()
    assert now_ms() == 5_000_000
    wall_ns -= 3_600_000_000_000
    monotonic_ns += 20_000_000
    assert now_ms() == 5_000_020


def test_it_follows_the_wall_forwards(monkeypatch: pytest.MonkeyPatch) -> None:
    wall_ns = 5_000_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: wall_ns)
    now_ms = Clock()
    now_ms()
    wall_ns += 3_600_000_000_000
    assert now_ms() == 5_000_000 + 3_600_000
