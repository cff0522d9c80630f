"""A schema as a registry takes it, with what writes its values: for Avro, JSON Schema and Protobuf alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

SchemaKind = Literal["AVRO", "JSON", "PROTOBUF"]
"""A type of schema, as the registry names it."""


class Written(NamedTuple):
    """A schema as the registry takes it."""

    kind: SchemaKind
    text: str
    name: str | None
    """Its full name, by which record subjects are named; None: it has none."""
    encode: Callable[[Any], bytes]
    """Returns what follows the schema's id in a record; raises `DataError`."""


class SchemaIds(Protocol):
    """Knows the ids of schemas. Safe for many threads."""

    def id_of(self, subject: str, written: Written) -> int:
        """Return the id of a schema below a subject; the answer is kept.

        Raises `WorldError`, `UnreachableError` when asking again may help.
        """
        ...
