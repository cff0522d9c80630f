"""Moments as people write them, and as they are shown."""

from __future__ import annotations

import pytest

from tailrace.moments import parse_ms, utc

NOW_MS = 1_769_860_800_000
NOON_MS = 1_769_860_800_000
"""2026-01-31T12:00:00Z."""


@pytest.mark.parametrize(
    ("text", "moment_ms"),
    [
        ("2026-01-31T12:00:00Z", NOON_MS),
        ("2026-01-31T12:00:00", NOON_MS),
        ("2026-01-31T13:00:00.250+01:00", NOON_MS + 250),
        ("2026-01-31 12:00", NOON_MS),
        ("20260131T120000Z", NOON_MS),
        ("2026-01-31", NOON_MS - 12 * 3_600_000),
        ("1769860800000", NOON_MS),
        ("0s", NOON_MS),
        ("90m", NOON_MS - 90 * 60_000),
        ("2h", NOON_MS - 2 * 3_600_000),
        ("7d", NOON_MS - 7 * 24 * 3_600_000),
        ("999999999d", 0),
        ("0001-01-01", 0),
    ],
)
def test_a_time_is_read_in_each_of_its_forms(text: str, moment_ms: int) -> None:
    assert parse_ms(text, NOW_MS) == moment_ms


@pytest.mark.parametrize("text", ["", "yesterday", "2w", "-2h", "2 h", "1769860800", "2026-13-01", "12:00", "1" * 16])
def test_what_is_no_time_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="is no time; write 2026-01-31T12:00:00Z"):
        parse_ms(text, NOW_MS)


@pytest.mark.parametrize(
    ("moment_ms", "text"),
    [
        (NOON_MS, "2026-01-31T12:00:00Z"),
        (NOON_MS + 5, "2026-01-31T12:00:00.005Z"),
        (10**18, "1000000000000000000"),
    ],
)
def test_a_time_is_shown_in_utc(moment_ms: int, text: str) -> None:
    assert utc(moment_ms) == text
