"""The properties of a converter, a transform or a predicate, as Kafka Connect's configurations hold them: text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

ABOUT_RECORDS: Final = re.compile(r"(key|value|header)\.converter(\..+)?|transforms(\..+)?|predicates(\..+)?")
"""Names of Connect's properties for what it does with records: converters, transforms and predicates."""
_JAVA_GROUP: Final = re.compile(r"\(\?<(?![=!])")
_TRUE_OR_FALSE: Final = {"true": True, "false": False}


class OptionError(ValueError):
    """A property that is missing, unknown or wrong: its name, what is wrong, and how to fix it."""

    def __init__(self, name: str, message: str, hint: str = "") -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message
        self.hint = hint


class Options:
    """Properties below a prefix. Each that is asked for is known; `refuse_unknown` refuses the rest.

    Every method raises `OptionError` for a value that cannot be.
    """

    def __init__(self, properties: Mapping[str, str], prefix: str) -> None:
        self.prefix = prefix
        self._properties = {
            name.removeprefix(prefix): value for name, value in properties.items() if name.startswith(prefix)
        }
        self._known: set[str] = set()

    def given(self, name: str) -> str | None:
        """Return a property; None when it is missing or empty."""
        self._known.add(name)
        return self._properties.get(name, "").strip() or None

    def text(self, name: str, default: str | None = None) -> str:
        """Return a property, or its default; one without a default must be there."""
        value = self.given(name)
        if value is None:
            value = default
        if value is None:
            raise self.error(name, "is missing")
        return value

    def choice(self, name: str, choices: Sequence[str], default: str | None = None) -> str:
        """Return a property that is one of `choices`, in whatever case it is written."""
        value = self.text(name, default)
        found = next((each for each in choices if each.lower() == value.lower()), None)
        if found is None:
            raise self.error(name, f"must be one of {', '.join(choices)}, not `{value}`")
        return found

    def flag(self, name: str, default: bool) -> bool:
        """Return a property that is true or false."""
        value = self.text(name, str(default)).lower()
        if value not in _TRUE_OR_FALSE:
            raise self.error(name, f"must be true or false, not `{value}`")
        return _TRUE_OR_FALSE[value]

    def names(self, pattern: re.Pattern[str]) -> list[str]:
        """Return the names of the properties that match."""
        return [name for name in self._properties if pattern.fullmatch(name)]

    def entries(self, name: str) -> list[str]:
        """Return the entries of a list, without blank ones; none when it is missing."""
        return [entry.strip() for entry in (self.given(name) or "").split(",") if entry.strip()]

    def pairs(self, name: str) -> dict[str, str]:
        """Return the entries of a list of `from:to`."""
        pairs: dict[str, str] = {}
        for entry in self.entries(name):
            left, colon, right = entry.partition(":")
            if not (left and colon and right):
                raise self.error(name, f"has `{entry}`, which is not two names with a colon between them")
            pairs[left] = right
        return pairs

    def pattern(self, name: str, default: str | None = None) -> re.Pattern[str]:
        """Return a regular expression. Java's are read as Python's, which are the same but for rare constructs."""
        text = self.text(name, default)
        try:
            return re.compile(_JAVA_GROUP.sub("(?P<", text))
        except re.error as error:
            raise self.error(name, f"is not a regular expression: {error}") from None

    def ignore(self, *names: str) -> None:
        """Let properties be there that have no effect."""
        self._known.update(names)

    def refuse_unknown(self) -> None:
        """Refuse what nobody asked for."""
        for name in self._properties:
            if name not in self._known:
                raise self.error(name, "is not known", f"known are: {', '.join(sorted(self._known)) or 'none'}")

    def error(self, name: str, message: str, hint: str = "") -> OptionError:
        """Return the error of one of the properties."""
        return OptionError(self.prefix + name, message, hint)
