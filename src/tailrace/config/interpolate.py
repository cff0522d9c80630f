"""`${env:NAME}`, `${file:PATH}`, `${file:PATH:KEY}` and `${secret:NAME}` inside a text value; `$${` stands for `${`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from tailrace.config import aws_text
from tailrace.config.problem import InvalidError
from tailrace.errors import excerpt
from tailrace.kafka import java_file

_REFERENCE = re.compile(r"\$(\$\{)|\$\{(?:(env|file|secret):([^}]*)\}|)")
_SECRET_NAME = re.compile(r"[A-Za-z0-9/_+=.@:!-]{1,2048}(#.+)?")
"""A name or ARN of Secrets Manager, and the key inside its JSON object."""
_FILE_BYTES_MAX = 1 << 20

UNREAD_SECRET = "secret-that-is-not-read-here"
"""Stands for a secret where only the shape of the file matters. As long as any key asks for."""

LookUp = Callable[[str, str, Path], str]
"""Returns what a reference stands for, by its kind and name; relative paths start at the folder."""


class Interpolated(str):
    """A text that came, whole or in part, from outside the file; `pieces` are the parts that did."""

    __slots__ = ("pieces",)
    pieces: tuple[str, ...]


def interpolate(text: str, folder: Path, look_up: LookUp) -> str:
    """Fill in what `text` refers to; relative paths start at `folder`. Raises `InvalidError` for what is missing."""
    pieces: list[str] = []

    def fill(reference: re.Match[str]) -> str:
        escaped, kind, name = reference.groups()
        if escaped:
            return "${"
        if not name:
            raise InvalidError(
                "has a `${` that is none of `${env:NAME}`, `${file:PATH}` and `${secret:NAME}`",
                "write `$${` for the two characters",
            )
        pieces.append(look_up(kind, name, folder))
        return pieces[-1]

    filled = _REFERENCE.sub(fill, text)
    if not pieces:
        return filled
    interpolated = Interpolated(filled)
    interpolated.pieces = tuple(pieces)
    return interpolated


def look_up_without_secrets(kind: str, name: str, folder: Path) -> str:
    """Return what a reference stands for, a simulator for a secret: AWS is not asked. Raises `InvalidError`."""
    if kind != "secret":
        return look_up(kind, name, folder)
    if not _SECRET_NAME.fullmatch(name):
        raise InvalidError(
            f"names no secret: {excerpt(name)}", "write `${secret:NAME}`, or `${secret:NAME#KEY}` for one of its keys"
        )
    return UNREAD_SECRET


def look_up(kind: str, name: str, folder: Path) -> str:
    """Return what a reference stands for. Raises `InvalidError` when it is missing."""
    match kind:
        case "env":
            return _variable(name)
        case "file":
            path, _, key = name.rpartition(":")
            if path and not (folder / name).exists():
                return _property(path, key, folder)
            return _content(name, folder / name)
        case _:
            return aws_text.secret(name)


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise InvalidError(
            f"needs the environment variable {excerpt(name)}, which is not set",
            f"export {excerpt(name)}, or write the value",
        )
    return value


def _property(name: str, key: str, folder: Path) -> str:
    """Return a property of a file of Java properties, as Connect's FileConfigProvider does."""
    found = {each.name: each.value for each in java_file.parse(_content(name, folder / name))}
    if key not in found:
        raise InvalidError(
            f"needs {excerpt(key)} of the file {excerpt(name)}, which does not have it",
            "add it there, or correct its name",
        )
    return found[key]


def _content(name: str, path: Path) -> str:
    shown = excerpt(name)
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        remedy = f"it is looked for at {excerpt(str(path))}; put it there, or correct the path"
        raise InvalidError(f"needs the file {shown}, which cannot be read: {reason}", remedy) from None
    except ValueError:
        raise InvalidError("needs a file whose path holds a NUL character", "correct the path") from None
    if len(content) > _FILE_BYTES_MAX:
        raise InvalidError(f"needs the file {shown}, which is larger than 1 MiB", "name one that holds the value alone")
    try:
        return re.sub(r"\r?\n\Z", "", content.decode())
    except UnicodeDecodeError:
        raise InvalidError(f"needs the file {shown}, which is not UTF-8 text", "use a file of text") from None
