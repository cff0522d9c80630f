"""Java's `.properties` files: their text as names, values and lines.

Source: https://docs.oracle.com/en/java/javase/17/docs/api/java.base/java/util/Properties.html#load(java.io.Reader)
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_BLANK: Final = " \t\f"
_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ENTRY: Final = re.compile(r"((?:[^\\=: \t\f]|\\.)*)[ \t\f]*(?:[=:][ \t\f]*)?(.*)", re.DOTALL)


class JavaProperty(NamedTuple):
    """One property, and the line where it begins."""

    name: str
    value: str
    line: int


def parse(text: str) -> list[JavaProperty]:
    """Return the properties in the order of the text; a name may come twice, and Java takes the last."""
    found = []
    for line, joined in _logical_lines(text):
        match = _ENTRY.fullmatch(joined)
        if match is not None:
            found.append(JavaProperty(_unescaped(match[1]), _unescaped(match[2]), line))
    return found


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Return the lines that hold a property, each with those that continue it after a backslash."""
    lines: list[tuple[int, str]] = []
    is_open = False
    for number, natural in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        part = natural.lstrip(_BLANK)
        if not is_open and (not part or part[0] in "#!"):
            continue
        slashes = len(part) - len(part.rstrip("\\"))
        continues = slashes % 2 == 1
        body = part[:-1] if continues else part
        if is_open:
            first, before = lines[-1]
            lines[-1] = first, before + body
        else:
            lines.append((number, body))
        is_open = continues
    return lines


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    escape = match[1]
    if len(escape) == 5:
        return chr(int(escape[1:], 16))
    return _ESCAPES.get(escape, escape)
