"""What can be wrong with one value of the pipeline file, told in a user's words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from tailrace.errors import FileError

_PLAIN_KEY = re.compile(r"^[\w.-]+$")

Path = tuple[str | int, ...]
"""Where a value is: `("source", "tables", 0)`."""
Finding = tuple[Path, str, str]
"""A path, what is wrong there, and how to fix it."""


class InvalidError(ValueError):
    """A value that a key cannot have: what is wrong, and how to fix it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class FileErrors(FileError):  # noqa: N818 - it holds many errors
    """Everything that is wrong with a pipeline file, in the order of its lines; `str` gives one sentence a line."""

    def __init__(self, errors: Iterable[FileError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        super().__init__(first.message, file=first.file, path=first.path, line=first.line, hint=first.hint)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


def dotted(path: Path) -> str:
    """Write a path as people do: `source.tables[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _PLAIN_KEY.match(part) else quoted(part))
    return text


def as_in_file(path: Path, data: object) -> Path:
    """Return a path without the index of what the file holds as a mapping where it could hold a list."""
    found: list[str | int] = []
    for part in path:
        if isinstance(part, int) and isinstance(data, Mapping):
            continue
        found.append(part)
        if isinstance(data, Mapping):
            data = data.get(part)
        else:
            data = data[part] if isinstance(data, list) and isinstance(part, int) and part < len(data) else None
    return tuple(found)


def quoted(value: object) -> str:
    """Show a value inside a sentence: on one line, and not too long."""
    text = value if isinstance(value, str) else str(value)
    escaped = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return f"`{escaped[:57]}...`" if len(escaped) > 60 else f"`{escaped}`"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the hint that names the nearest known word, or nothing when none is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {quoted(close[0])}?" if close else ""


def shown(value: object) -> str:
    """Name a value of a wrong kind: itself when that helps, else its kind."""
    if value == "":
        return "empty"
    return quoted(value) if isinstance(value, str | float) else kind_of(value)


def not_one_of(choices: Sequence[str], value: object) -> tuple[str, str]:
    """Return what is wrong with a value that is none of `choices`, and how to fix it."""
    *others, last = choices
    listed = f"{', '.join(others)} or {last}" if others else last
    return f"must be {listed}, not {shown(value)}", nearest(str(value), choices)


def kind_of(value: object) -> str:
    """Name the kind of a value as the file holds it."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a mapping" if isinstance(value, Mapping) else "a list"
