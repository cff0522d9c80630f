"""Where a field is: a name, or with `field.syntax.version` V2 a path of names with dots (KIP-821)."""

from __future__ import annotations

import re
from typing import Any, Final

from tailrace.connect.data import Schema
from tailrace.connect.options import Options

_STEP: Final = re.compile(r"`((?:[^`\\]|\\.)*)`(?:\.|$)|([^.`]+)(?:\.|$)")


class FieldPath:
    """The names of the fields that lead to one."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def __str__(self) -> str:
        return ".".join(self._names)

    def value(self, holder: Any) -> Any:
        """Return what is there; None when something on the way is missing."""
        for name in self._names:
            if not isinstance(holder, dict):
                return None
            holder = holder.get(name)
        return holder

    def schema(self, holder: Schema) -> Schema | None:
        """Return the schema of what is there; None when the schema has no such field."""
        found = holder
        for name in self._names:
            field = found.field(name)
            if field is None:
                return None
            found = field.schema
        return found


def field_path(options: Options, name: str) -> FieldPath:
    """Return the path that a property has."""
    text = options.text(name)
    if options.choice("field.syntax.version", ("V1", "V2"), "V1") == "V1":
        return FieldPath((text,))
    names, position = [], 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise options.error(
                name, f"`{text}` is not a path of fields", "write a.b, and names with dots in backticks"
            )
        names.append(match[2] if match[1] is None else re.sub(r"\\(.)", r"\1", match[1]))
        position = match.end()
    return FieldPath(tuple(names))
