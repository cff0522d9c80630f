"""Paths to attributes: `email`, `address.street`, `lines[*].price`, `"a.b".c`; and what is done at their ends.

Nothing is changed in place: two images may share a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from tailrace.transform.change import Item


class _Mark(Enum):
    EACH = "[*]"
    REMOVED = "removed"


EACH: Final = _Mark.EACH
"""A step of a path: every member of a list."""
REMOVED: Final = _Mark.REMOVED
"""What an edit gives for a value that is to go."""

Path = tuple[str | _Mark, ...]
Tree = dict[str | _Mark, "Tree | None"]
"""Several paths in one; None stands for all that is below."""

_STEP = re.compile(r'(?:"((?:[^"\\]|\\.)+)"|([^."\[\]\\\s](?:[^."\[\]\\]*[^."\[\]\\\s])?))((?:\[\*\])*)(?:\.(?=.)|$)')
_ESCAPED = re.compile(r"\\(.)")


def parse(text: str) -> Path:
    """Read a path. Raises ValueError with what is wrong."""
    path: list[str | _Mark] = []
    position = 0
    while position < len(text):
        step = _STEP.match(text, position)
        if step is None:
            raise ValueError(f"cannot be read from character {position + 1} on")
        quoted, plain, each = step.groups()
        path.append(plain if quoted is None else _ESCAPED.sub(r"\1", quoted))
        path += [EACH] * (len(each) // len(EACH.value))
        position = step.end()
    if not path:
        raise ValueError("is empty")
    return tuple(path)


def edited(value: Any, path: Path, edit: Callable[[Any], Any]) -> Any:
    """Return the value with `edit` done wherever `path` leads to; itself when that is nowhere."""
    if not path:
        return edit(value)
    step, rest = path[0], path[1:]
    if step is EACH:
        if not isinstance(value, list | tuple):
            return value
        members = [edited(member, rest, edit) for member in value]
        return [member for member in members if member is not REMOVED]
    if not isinstance(value, dict) or step not in value:
        return value
    inner = edited(value[step], rest, edit)
    if inner is REMOVED:
        return {name: member for name, member in value.items() if name != step}
    return value if inner is value[step] else {**value, step: inner}


def tree(paths: list[Path]) -> Tree:
    """Put paths together."""
    root: Tree = {}
    for path in paths:
        below: Tree | None = root
        for step in path[:-1]:
            assert below is not None
            below = below.setdefault(step, {})
            if below is None:
                break  # a shorter path takes all of it already
        else:
            assert below is not None
            below[path[-1]] = None
    return root


def kept(item: Item, wanted: Tree) -> Item:
    """Return an item with nothing but what `wanted` leads to."""
    found = _kept(item, wanted)
    return found if isinstance(found, dict) else {}


def _kept(value: Any, wanted: Tree | None) -> Any:
    if wanted is None:
        return value
    if isinstance(value, dict):
        members = {name: _kept(member, wanted[name]) for name, member in value.items() if name in wanted}
        return {name: member for name, member in members.items() if member is not REMOVED}
    if isinstance(value, list | tuple) and EACH in wanted:
        return [member for member in (_kept(each, wanted[EACH]) for each in value) if member is not REMOVED]
    return REMOVED
