"""Writes values whose schemas grow: each subject of a registry has one schema that takes every value so far.

A registry has no conditional writes, so workers agree by its versions: their order is everyone's. A version counts if
it extends the last one that counts; one that does not lost a race, or is someone else's, and nobody writes with it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from tailrace.connect.data import Schema
from tailrace.connect.errors import DataError, IncompatibleError
from tailrace.connect.inference import ConflictError, merge
from tailrace.connect.registered import SubjectOf
from tailrace.connect.schema_reading import read_schema
from tailrace.connect.written import SchemaKind, SchemaVersions, Written, prefix_of
from tailrace.errors import WorldError

FIELDS_MAX: Final = 1_000
"""Fields of one schema, nested ones included: more are data in the place of names."""
VERSIONS_PER_MINUTE_MAX: Final = 60
"""Versions that a process asks one subject to take."""

_ATTEMPTS: Final = 10
_SHAPES_MAX: Final = 1_000
_LOOKED_UP_FOR_S: Final = 30.0
"""How long a version that is missing, and is not to be registered here, counts as missing."""


class Version(NamedTuple):
    """A version of a subject that values are written with."""

    schema: Schema
    """As it is read back: what the language cannot say is lost."""
    prefix: bytes
    encode: Callable[[Any], bytes]


class EvolvingConverter:
    """Writes values with a version of their subject that holds them. Safe for many threads."""

    def __init__(
        self,
        write: Callable[[Schema], Written],
        subject_of: SubjectOf,
        registry: SchemaVersions,
        *,
        auto_register: bool,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._subject_of = subject_of
        self._registry = registry
        self._auto_register = auto_register
        self._now_s = now_s
        self._subjects: dict[tuple[str, str | None], _Subject] = {}

    def encode(self, schema: Schema | None, value: Any, topic: str = "") -> bytes | None:
        """Return the bytes; None is a null.

        Raises `DataError` for a value that no schema can hold together with those before it, or whose schema the
        registry refuses, and `WorldError` while the registry cannot be asked.
        """
        if value is None:
            return None
        if schema is None:
            raise DataError("the value has no schema, and the converter needs one")
        version = self._subject(topic, schema.name).version_for(schema)
        return version.prefix + version.encode(value)

    def _subject(self, topic: str, name: str | None) -> _Subject:
        found = self._subjects.get((topic, name))
        if found is None:
            made = _Subject(
                self._subject_of(topic, name), self._write, self._registry, self._auto_register, self._now_s
            )
            found = self._subjects.setdefault((topic, name), made)
        return found


class _Subject:
    """What is known of one subject."""

    def __init__(
        self,
        name: str,
        write: Callable[[Schema], Written],
        registry: SchemaVersions,
        auto_register: bool,
        now_s: Callable[[], float],
    ) -> None:
        self._name = name
        self._write = write
        self._registry = registry
        self._auto_register = auto_register
        self._now_s = now_s
        self._lock = threading.Lock()
        self._held: set[Schema] = set()
        """Shapes that the latest version holds, so that it need not be asked again."""
        self._latest: Version | None = None
        self._last_number = 0
        self._looked_up_s = float("-inf")
        self._asked_s: deque[float] = deque(maxlen=VERSIONS_PER_MINUTE_MAX)

    def version_for(self, schema: Schema) -> Version:
        """Return a version that holds all values of `schema`, registered if none does."""
        if self._latest is not None and schema in self._held:
            return self._latest
        with self._lock:
            written = self._write(schema)
            latest = self._holding(read_schema(written.kind, written.text), written.kind)
            if len(self._held) >= _SHAPES_MAX:
                self._held.clear()
            self._held.add(schema)
            return latest

    def _holding(self, schema: Schema, kind: SchemaKind) -> Version:
        """Return the latest version, after it has been made to hold a schema."""
        refusal: tuple[Version | None, IncompatibleError] | None = None
        for _ in range(_ATTEMPTS):
            # What is known only ever grows: what conflicts with it does so for good, without asking the registry.
            if self._latest is not None and self._merged(schema) == self._latest.schema:
                return self._latest
            self._look_up(kind)
            latest, merged = self._latest, self._merged(schema)
            if latest is not None and merged == latest.schema:
                return latest
            if refusal is not None and refusal[0] is latest:
                raise refusal[1]
            if not self._auto_register:
                raise self._missing(latest, merged)
            self._count()
            try:
                self._registry.register(self._name, self._write(merged))
            except IncompatibleError as error:
                refusal = latest, error  # unless another worker was faster: then this merge is older than its version
        raise WorldError(
            f"the versions of the subject {self._name} change faster than this process can read them",
            hint="it is asked again",
        )

    def _merged(self, schema: Schema) -> Schema:
        if self._latest is None:
            merged = schema
        else:
            known = self._latest.schema
            if (known.type, known.name) != (schema.type, schema.name):
                raise self._foreign(
                    f"it is the schema of {known.name or known.type}, not of {schema.name or schema.type}"
                )
            merged = merge(known, schema)
        if (count := _fields(merged)) > FIELDS_MAX:
            raise DataError(
                f"the schema of {self._name} would have {count} fields, and may have {FIELDS_MAX}: where names of "
                "attributes are data, drop the map that has them with a step of `transform`, or use the mode document"
            )
        return merged

    def _look_up(self, kind: SchemaKind) -> None:
        """Read the versions that are new since the last time."""
        if not self._auto_register and self._now_s() - self._looked_up_s < _LOOKED_UP_FOR_S:
            return
        for number in sorted(self._registry.versions(self._name)):
            if number <= self._last_number:
                continue
            registered = self._registry.version(self._name, number)
            if registered.kind != kind:
                raise self._foreign(f"version {number} is in {registered.kind}, not in {kind}")
            try:
                schema = read_schema(registered.kind, registered.text)
                written = self._write(schema)
            except DataError as error:
                raise self._foreign(f"version {number}: {error}") from None
            if self._latest is None or _extends(self._latest.schema, schema):
                self._latest = Version(schema, prefix_of(registered.id), written.encode)
            self._last_number = number
        self._looked_up_s = self._now_s()

    def _foreign(self, why: str) -> WorldError:
        return WorldError(
            f"the subject {self._name} of the schema registry has a schema that Tailrace cannot extend: {why}",
            hint="choose another `subject_name_strategy` or topic, or delete the subject if its records are gone; "
            "then start the workers again",
        )

    def _missing(self, latest: Version | None, merged: Schema) -> Exception:
        text = self._write(merged).text
        if latest is None:
            return WorldError(
                f"the schema registry has no schema for {self._name}, and none is to be registered here",
                hint=f"register it, or set `auto_register` to true; the schema is {text}",
            )
        names = ", ".join(_new_fields(latest.schema, merged)) or "an attribute that is missing now"
        return DataError(
            f"the latest schema of {self._name} does not take {names}, and none is to be registered here; "
            "register one that does, or set `auto_register` to true, then redrive"
        )

    def _count(self) -> None:
        now_s = self._now_s()
        if len(self._asked_s) == VERSIONS_PER_MINUTE_MAX and now_s - self._asked_s[0] < 60:
            raise WorldError(
                f"the schema of {self._name} changed {VERSIONS_PER_MINUTE_MAX} times within a minute, which is "
                "as fast as it may",
                hint="it goes on by itself; where names of attributes are data, use the mode document",
            )
        self._asked_s.append(now_s)


def _extends(one: Schema, other: Schema) -> bool:
    """Whether `other` takes all values of `one`, with its fields in the same places."""
    try:
        return merge(one, other) == other
    except ConflictError:
        return False


def _fields(schema: Schema | None) -> int:
    if schema is None:
        return 0
    return _fields(schema.values) + sum(1 + _fields(each.schema) for each in schema.fields)


def _new_fields(one: Schema, other: Schema, path: str = "") -> list[str]:
    """Return the paths of the fields that only `other` has."""
    found: list[str] = []
    if one.values is not None and other.values is not None:
        found += _new_fields(one.values, other.values, f"{path}[]")
    for each in other.fields:
        inside = f"{path}.{each.name}" if path else each.name
        known = one.field(each.name)
        found += [inside] if known is None else _new_fields(known.schema, each.schema, inside)
    return found
