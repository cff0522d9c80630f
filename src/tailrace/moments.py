"""Moments as people write them: ISO 8601, milliseconds since the epoch, or how long ago."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Final

UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
"""The units of a duration."""
FORMS: Final = "2026-01-31T12:00:00Z (UTC without an offset), 2h for two hours ago, or milliseconds since the epoch"
_MILLISECONDS: Final = re.compile(r"[0-9]{11,15}")
_AGO: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_DAY_MS: Final = 24 * 3_600_000


def parse_ms(text: str, now_ms: int | None = None) -> int:
    """Return a moment in milliseconds since the epoch, not before it; `2h` counts back from `now_ms`, or from now.

    Raises ValueError.
    """
    if _MILLISECONDS.fullmatch(text):
        return int(text)
    if ago := _AGO.fullmatch(text):
        now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        return max(0, now - int(ago[1]) * {**UNITS_MS, "d": _DAY_MS}[ago[2]])
    try:
        moment = datetime.fromisoformat(text)
        return max(0, round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000))
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time; write {FORMS}") from None


def utc(moment_ms: int) -> str:
    """Return a moment as ISO 8601 in UTC, to the millisecond where it is not a whole second."""
    try:
        moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(moment_ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}{f'.{moment_ms % 1000:03}' if moment_ms % 1000 else ''}Z"
