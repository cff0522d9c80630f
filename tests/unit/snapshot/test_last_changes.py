"""The last change of each key is found again, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailrace.errors import WorldError
from tailrace.snapshot import last_changes
from tailrace.snapshot.last_changes import SpilledChanges


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> Iterator[SpilledChanges]:
    monkeypatch.setattr(last_changes, "_WRITTEN_AT_ONCE", 10)
    spilled = SpilledChanges()
    yield spilled
    spilled.close()


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=2), st.integers(0, 2**63 - 1)), max_size=100))
def test_it_is_a_dictionary(puts: list[tuple[bytes, int]]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(last_changes, "_WRITTEN_AT_ONCE", 7)
        changes, expected = SpilledChanges(), dict(puts)
        for key, at in puts:
            changes[key] = at

        assert {key: changes.get(key) for key in expected} == expected
        assert changes.get(b"never") is None
        changes.close()


def test_few_keys_are_in_memory(changes: SpilledChanges) -> None:
    for number in range(1000):
        changes[b"%d" % number] = number
        assert len(changes) < 10

    assert all(changes.get(b"%d" % number) == number for number in range(1000))


def test_a_full_disk_is_told(changes: SpilledChanges) -> None:
    changes._database.query("PRAGMA max_page_count=2", ())

    def fill() -> None:
        for number in range(1000):
            changes[b"%d" % number] = number

    with pytest.raises(WorldError, match=r"cannot be kept in a temporary file: .* full; free space"):
        fill()
