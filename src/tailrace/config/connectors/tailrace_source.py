"""Our own connector: the keys of a pipeline file, flattened with dots."""

from __future__ import annotations

from typing import Any, Final

from tailrace.config.connectors.connector import Connector, Draft
from tailrace.config.document import plain

_VERBATIM: Final = (
    "kafka",
    "connect",
    "topics.properties",
    "schema.registry",
    "schema.declared",
    "schema.declared_versions",
)
"""Mappings whose own keys may have dots, and whose values stay text."""
_PROPERTIES: Final = (*_VERBATIM, "source.tags", "lambda.environment")
"""All whose own keys may have dots."""
_LISTS: Final = ("source.tables", "source.exclude", "source.streams")
"""Lists that are written as Connect's are: with commas between."""


def _build(draft: Draft) -> None:
    for key, value in draft.config.items():
        path = _path(key)
        try:
            draft.put(_value(key, value), *path, key=key)
        except (TypeError, AttributeError):
            draft.problem(key, "is below a key that has a value of its own", "keep one of them")


def _path(key: str) -> tuple[str, ...]:
    for parent in _PROPERTIES:
        if key.startswith(f"{parent}."):
            return (*parent.split("."), key.removeprefix(f"{parent}."))
    return tuple(key.split("."))


def _value(key: str, value: str) -> Any:
    if key in {"name", "topic"} or key.startswith(tuple(f"{each}." for each in _VERBATIM)):
        return value
    if key in _LISTS and not value.lstrip().startswith("["):
        return [each.strip() for each in value.split(",") if each.strip()]
    return plain(value)


CONNECTOR: Final = Connector(
    "Tailrace's own",
    ("io.tailrace.TailraceSource", "TailraceSource"),
    "configuration.md",
    (),
    _build,
    takes_any=True,
)
