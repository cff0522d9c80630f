"""A connector whose configuration can be read as a pipeline: its keys, and what becomes of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from tailrace.config.problem import Path, not_one_of, quoted

KeyType = Literal["STRING", "PASSWORD", "INT", "LONG", "BOOLEAN", "LIST", "CLASS"]
"""Types of keys as Connect's REST API names them (org.apache.kafka.common.config.ConfigDef.Type)."""

Importance = Literal["HIGH", "MEDIUM", "LOW"]


class Key(msgspec.Struct, frozen=True):
    """A key of a connector's configuration."""

    name: str
    type: KeyType
    means: str
    """What it does here, or why it does nothing."""
    default: str | None = None
    required: bool = False
    importance: Importance = "MEDIUM"
    choices: tuple[str, ...] = ()
    is_honoured: bool = True


def meaningless(name: str, type_: KeyType, why: str, default: str | None = None) -> Key:
    """Return a key that does nothing here, and why."""
    return Key(name, type_, why, default, importance="LOW", is_honoured=False)


class Draft:
    """The pipeline that a connector's configuration becomes, while it is made.

    `config` is the connector's own; `data` is what a pipeline file would hold, and `names` has the connector's key
    behind each of its places.
    """

    def __init__(self, name: str, config: Mapping[str, str], keys: Mapping[str, Key]) -> None:
        self.name = name
        self.data: dict[str, Any] = {}
        self.names: dict[Path, str] = {}
        self.notes: dict[str, str] = {}
        self.problems: dict[str, tuple[str, str]] = {}
        self.config = config
        self._keys = keys

    def given(self, name: str) -> str | None:
        """Return a key's value; None when it is missing or blank."""
        return self.config.get(name, "").strip() or None

    def text(self, name: str) -> str | None:
        """Return a key's value, or its default. None when there is neither, which is a problem if it is required."""
        key = self._keys[name]
        value = self.given(name) or key.default
        if value is None and key.required:
            self.problem(name, "is missing", key.means)
        return value

    def choice(self, name: str) -> str | None:
        """Return which of its choices a key has, as they are spelled; None when none of them."""
        value, choices = self.text(name), self._keys[name].choices
        found = next((each for each in choices if value is not None and each.lower() == value.lower()), None)
        if value is not None and found is None:
            self.problem(name, *not_one_of(choices, value))
        return found

    def whole(self, name: str, low: int, high: int) -> int | None:
        """Return a key's number; None when it has none, or a wrong one."""
        value = self.text(name)
        if value is None:
            return None
        if not value.isdecimal() or not low <= int(value) <= high:
            self.problem(name, f"must be a whole number from {low} to {high}, not {quoted(value)}")
            return None
        return int(value)

    def items(self, name: str) -> list[str]:
        """Return the entries of a key's list, without blank ones."""
        return [entry.strip() for entry in (self.text(name) or "").split(",") if entry.strip()]

    def put(self, value: Any, *path: str, key: str) -> None:
        """Set what the pipeline file would have at `path`; errors about it name `key`. None sets nothing."""
        if value is None:
            return
        parent = self.data
        for part in path[:-1]:
            parent = parent.setdefault(part, {})
        parent[path[-1]] = value
        self.names[path] = key

    def note(self, key: str, why: str) -> None:
        """Note that a key does nothing here, and why."""
        self.notes[key] = why

    def problem(self, key: str, message: str, hint: str = "") -> None:
        """Refuse a key."""
        self.problems.setdefault(key, (message, hint))


class Connector(msgspec.Struct, frozen=True):
    """A connector that is known."""

    title: str
    classes: tuple[str, ...]
    """Values of `connector.class` that mean it."""
    documentation: str
    keys: tuple[Key, ...]
    build: Callable[[Draft], None]
    """Sets what the keys mean: all of the pipeline but its name, and what every connector's keys mean."""
    managed_formats: tuple[str, str] | None = None
    """Of keys and of values, by default: it runs in Confluent Cloud, where formats are chosen by name."""
    takes_any: bool = False
    """`build` looks at every key, whatever its name."""
