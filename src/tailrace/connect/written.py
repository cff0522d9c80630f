"""A schema as a registry takes it, with what writes its values: for Avro, JSON Schema and Protobuf alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple, Protocol

SchemaKind = Literal["AVRO", "JSON", "PROTOBUF"]
"""A type of schema, as the registry names it."""

MAGIC: Final = b"\x00"


def prefix_of(schema_id: int) -> bytes:
    """Return what stands before a value in the registry's wire format."""
    return MAGIC + schema_id.to_bytes(4, "big")


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


class Registered(NamedTuple):
    """A version of a subject."""

    id: int
    kind: SchemaKind
    text: str


class SchemaVersions(SchemaIds, Protocol):
    """Knows the versions of subjects, too. Every method may raise `WorldError` as `id_of` does."""

    def versions(self, subject: str) -> list[int]:
        """Return the numbers of a subject's versions; none where there is no such subject."""
        ...

    def version(self, subject: str, number: int) -> Registered:
        """Return a version."""
        ...

    def register(self, subject: str, written: Written) -> None:
        """Register a schema as the newest version, unless one has it. Raises `IncompatibleError`."""
        ...
