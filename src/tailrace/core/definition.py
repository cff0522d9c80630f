"""What a pipeline is, and what another file with its name would change. Pure.

The valid definition is in the checkpoint topic (`DefinitionRecord`). A file may add to it at any time. Stopping a
running table, sending its changes elsewhere, or reading a left-out table again is a `Conflict`: refused until an
operator accepts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from tailrace.core.checkpoint import DefinitionRecord, TableState
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.tags import WantedTags, have_all, implies, in_words

_RUNNING: frozenset[TableState] = frozenset({"streaming", "gap", "failed"})
"""Not `off` and `missing`: operators are advised to remove such tables from the file."""


class Conflict(msgspec.Struct, frozen=True):
    """What a new definition would do to a table."""

    table: str
    kind: Literal["stopped", "redirected", "resumed"]
    before: tuple[str, ...] = ()
    """The topics to which its changes go."""
    after: tuple[str, ...] = ()
    unless_tags: WantedTags = ()
    """Of a table that is stopped: the tags with which it continues."""

    def __str__(self) -> str:
        match self.kind:
            case "stopped":
                unless = f" unless it has the tags {in_words(self.unless_tags)}" if self.unless_tags else ""
                return f"table {self.table} would be left out{unless}"
            case "resumed":
                return f"table {self.table}, which was left out, would be read again"
            case "redirected":
                return (
                    f"the changes of table {self.table} would go to {_list(self.after)} instead of {_list(self.before)}"
                )


def wants(definition: DefinitionRecord, table: str, tags: Mapping[str, str] | None = None) -> bool:
    """Return whether a definition names a table and, where its `tags` are known, whether it has those asked for."""
    is_named = _matches(table, definition.tables) and not _matches(table, definition.exclude)
    return is_named and (tags is None or have_all(tags, definition.tags))


def topics_of(definition: DefinitionRecord, table: str) -> tuple[str, ...]:
    """Return the topics that a table's changes may go to, by name."""
    routes = [route for route in definition.routes if not route.tables or _matches(table, route.tables)]
    templates = {topic for route in routes for topic in route.topics} or {definition.topic}
    return tuple(sorted(template.replace("{table}", table).replace("{stream}", table) for template in templates))


def conflicts(checkpoint_state: CheckpointState, definition: DefinitionRecord) -> tuple[Conflict, ...]:
    """Return what `definition`, recorded now, would do to running tables.

    A table runs when the checkpoint state shows it so, or when the recorded definition names it and nobody has listed
    it yet: so two files that start at the same moment do not both count as the first.
    """
    recorded = checkpoint_state.definition
    running = {table for table, record in checkpoint_state.tables.items() if record.state in _RUNNING}
    found = []
    if recorded is not None:
        running |= {
            table for table in recorded.tables if not _is_pattern(table) and table not in checkpoint_state.tables
        }
        running = {table for table in running if wants(recorded, table)}
        left_out = (table for table, record in checkpoint_state.tables.items() if record.state == "left out")
        is_narrower = implies(definition.tags, recorded.tags)
        found = [
            Conflict(table, "resumed")
            for table in left_out
            if wants(definition, table) and not (wants(recorded, table) and is_narrower)
        ]
    keeps_tagged = implies(recorded.tags if recorded is not None else (), definition.tags)
    for table in running:
        before = topics_of(recorded, table) if recorded is not None else ()
        after = topics_of(definition, table)
        if not wants(definition, table) or (recorded and recorded.source_type != definition.source_type):
            found.append(Conflict(table, "stopped", before))
        elif not keeps_tagged:
            found.append(Conflict(table, "stopped", before, unless_tags=definition.tags))
        elif before and before != after:
            found.append(Conflict(table, "redirected", before, after))
    return tuple(sorted(found, key=lambda conflict: conflict.table))


def overruled_by(
    checkpoint_state: CheckpointState, recorded: DefinitionRecord, mine: DefinitionRecord
) -> tuple[Conflict, ...]:
    """Return where a definition recorded after `mine` contradicts it: whoever works by `mine` must stop.

    Mere additions do not, as long as `mine` would send their changes to the same topics.
    """
    found = []
    for table in sorted(checkpoint_state.tables.keys() | {each for each in mine.tables if not _is_pattern(each)}):
        before, after = topics_of(mine, table), topics_of(recorded, table)
        if wants(mine, table) and (not wants(recorded, table) or mine.source_type != recorded.source_type):
            found.append(Conflict(table, "stopped", before))
        elif wants(mine, table) and not implies(mine.tags, recorded.tags):
            found.append(Conflict(table, "stopped", before, unless_tags=recorded.tags))
        elif wants(recorded, table) and before != after:
            found.append(Conflict(table, "redirected", before, after))
    return tuple(found)


def differences(recorded: DefinitionRecord, mine: DefinitionRecord) -> tuple[str, ...]:
    """Return in words how `mine` differs from the recorded definition; empty when they are equal."""
    found = []
    if recorded.source_type != mine.source_type:
        found.append(f"source.type is {mine.source_type} instead of {recorded.source_type}")
    for words, name in (
        *_names_of(mine.source_type),
        ("source.tables", "published"),
        ("source.exclude", "unpublished"),
    ):
        before, after = set(getattr(recorded, name)), set(getattr(mine, name))
        if more := after - before:
            found.append(f"{words} has {_list(sorted(more))} in addition")
        if fewer := before - after:
            found.append(f"{words} lacks {_list(sorted(fewer))}")
    if recorded.tags != mine.tags:
        before_words, after_words = (in_words(each.tags) or "not set" for each in (recorded, mine))
        found.append(f"source.tags is {after_words} instead of {before_words}")
    for words, name in (("topic", "topic"), ("format", "format")):
        if getattr(recorded, name) != getattr(mine, name):
            found.append(f"{words} is {getattr(mine, name)} instead of {getattr(recorded, name)}")
    if recorded.routes != mine.routes or recorded.transform != mine.transform:
        found.append("transform is another")
    return tuple(found)


def _names_of(source_type: str) -> tuple[tuple[str, str], ...]:
    """Return the keys of the file that name what is read, and where the definition has them."""
    if source_type == "kinesis":
        return (("source.streams", "tables"),)
    return (("source.tables", "tables"), ("source.exclude", "exclude"))


def _matches(table: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(table, pattern) for pattern in patterns)


def _is_pattern(table: str) -> bool:
    return bool(set("*?") & set(table))


def _list(texts: Iterable[str]) -> str:
    return ", ".join(texts)
