"""A schema registry in memory, with a hook for what happens between a look and a registration."""

from __future__ import annotations

from collections.abc import Callable

from tailrace.connect.data import Schema
from tailrace.connect.errors import IncompatibleError
from tailrace.connect.schema_reading import read_schema
from tailrace.connect.written import Registered, Written


class Versions:
    """Takes every schema that `check`, of the newest version and the next, lets through."""

    def __init__(self, check: Callable[[Schema, Schema], bool] = lambda _older, _newer: True) -> None:
        self._check = check
        self._subjects: dict[str, list[Registered]] = {}
        self._texts: list[str] = []
        self.calls: list[str] = []
        self.before_register: Callable[[], object] | None = None

    def id_of(self, subject: str, written: Written) -> int:
        self.register(subject, written)
        return next(each.id for each in self._subjects[subject] if each.text == written.text)

    def versions(self, subject: str) -> list[int]:
        self.calls.append("versions")
        return list(range(1, len(self._subjects.get(subject, [])) + 1))

    def version(self, subject: str, number: int) -> Registered:
        self.calls.append("version")
        return self._subjects[subject][number - 1]

    def register(self, subject: str, written: Written) -> None:
        if hook := self.before_register:
            self.before_register = None
            hook()
        self.calls.append("register")
        held = self._subjects.setdefault(subject, [])
        if any(each.text == written.text for each in held):
            return
        if held and not self._check(*(read_schema(each.kind, each.text) for each in (held[-1], written))):
            raise IncompatibleError(f"the schema of {subject} is not compatible")
        self._texts.append(written.text)
        held.append(Registered(len(self._texts), written.kind, written.text))

    def schemas(self, subject: str) -> list[Schema]:
        """Return a subject's versions."""
        return [read_schema(each.kind, each.text) for each in self._subjects.get(subject, [])]

    def text(self, schema_id: int) -> str:
        """Return a schema."""
        return self._texts[schema_id - 1]
