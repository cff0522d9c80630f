"""Java's date patterns (`yyyy-MM-dd'T'HH:mm:ss.SSS`), written and read in UTC.

Source: https://docs.oracle.com/en/java/javase/17/docs/api/java.base/java/text/SimpleDateFormat.html
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from tailrace.connect.errors import DataError
from tailrace.connect.options import Options

_TOKEN: Final = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*")
_LETTERS: Final = frozenset("yMdHhmsSaEzZXuDkKwW")
_SUPPORTED: Final = frozenset("yMdHhmsSaEZXz")


def require_pattern(options: Options, name: str, pattern: str) -> None:
    """Refuse a pattern with letters that are not known here. Raises `OptionError`."""
    for match in _TOKEN.finditer(pattern):
        letter = match[2]
        if letter and letter not in _SUPPORTED:
            raise options.error(name, f"has `{letter}`, which is not supported", f"use {' '.join(sorted(_SUPPORTED))}")


def format_date(at: datetime, pattern: str) -> str:
    """Return a moment by a pattern."""
    return _TOKEN.sub(lambda match: _written(at, match), pattern)


def parse_date(text: str, pattern: str) -> datetime:
    """Return the moment that a text says by a pattern; without a zone it is in UTC. Raises `DataError`."""
    regex, letters, position = "", [], 0
    for match in _TOKEN.finditer(pattern):
        regex += re.escape(pattern[position : match.start()])
        position = match.end()
        if match[2] is None:
            regex += re.escape((match[1] or "'").replace("''", "'"))
            continue
        regex += f"({_READ.get(match[2], '[0-9]+')})" if len(match[0]) == 1 else f"({_width(match[0])})"
        letters.append(match[0])
    regex += re.escape(pattern[position:])
    found = re.fullmatch(regex, text)
    if found is None:
        raise DataError(f"`{text}` is not a time as `{pattern}` writes it")
    return _moment(dict(zip(letters, found.groups(), strict=True)), text, pattern)


_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LONG_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_READ: Final = {"a": "AM|PM", "E": "[A-Za-z]+", "Z": r"[+-][0-9]{4}", "X": r"Z|[+-][0-9:]{2,6}", "z": "UTC|GMT"}


def _width(token: str) -> str:
    letter = token[0]
    if letter in _READ:
        return _READ[letter]
    if letter == "M" and len(token) > 2:
        return "[A-Za-z]+"
    return f"[0-9]{{{len(token)}}}"


def _written(at: datetime, match: re.Match[str]) -> str:  # noqa: PLR0911 - one for each letter
    if match[2] is None:
        return (match[1] or "'").replace("''", "'")
    token = match[0]
    width = len(token)
    match token[0]:
        case "y":
            return f"{at.year % 100:02d}" if width == 2 else f"{at.year:0{width}d}"
        case "M":
            names = _MONTHS if width == 3 else _LONG_MONTHS
            return f"{at.month:0{width}d}" if width < 3 else names[at.month - 1]
        case "E":
            return _DAYS[at.weekday()] if width > 3 else _DAYS[at.weekday()][:3]
        case "a":
            return "AM" if at.hour < 12 else "PM"
        case "z":
            return "UTC"
        case "Z":
            return "+0000"
        case "X":
            return "Z"
        case letter:
            number = {
                "d": at.day,
                "H": at.hour,
                "h": at.hour % 12 or 12,
                "m": at.minute,
                "s": at.second,
                "S": at.microsecond // 1000,
            }[letter]
            return f"{number:0{width}d}"


def _moment(parts: dict[str, str], text: str, pattern: str) -> datetime:
    by_letter = {token[0]: (token, value) for token, value in parts.items()}

    def number(letter: str, default: int) -> int:
        return int(by_letter[letter][1]) if letter in by_letter else default

    year = number("y", 1970)
    if "y" in by_letter and len(by_letter["y"][0]) == 2:
        year += 2000 if year < 70 else 1900
    hour = number("H", number("h", 0) % 12 + (12 if by_letter.get("a", ("", "AM"))[1] == "PM" else 0))
    zone = by_letter.get("X", by_letter.get("Z", ("", "Z")))[1]
    try:
        naive = datetime(
            year, _month(by_letter), number("d", 1), hour, number("m", 0), number("s", 0), number("S", 0) * 1000
        )
        return datetime.fromisoformat(naive.isoformat() + _zone(zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise DataError(f"`{text}` is not a time as `{pattern}` writes it") from None


def _month(by_letter: dict[str, tuple[str, str]]) -> int:
    token, value = by_letter.get("M", ("M", "1"))
    if len(token) < 3:
        return int(value)
    return [each.lower() for each in _MONTHS].index(value[:3].lower()) + 1


def _zone(text: str) -> str:
    if text in {"Z", "UTC", "GMT"}:
        return "+00:00"
    digits = text[1:].replace(":", "").ljust(4, "0")
    return f"{text[0]}{digits[:2]}:{digits[2:]}"
