"""The words of DynamoDB's expressions: tokens, placeholders, document paths and operands.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from tailrace_simulator.attribute_values import AttributeValue, Item, normal_value
from tailrace_simulator.aws_error import AwsError, invalid

Path = tuple[str | int, ...]
"""A document path: names of attributes and of map entries, numbers of list elements."""
Operand = Callable[[Item], AttributeValue | None]
"""What an operand is for an item; None when the item does not have it."""

_TOKEN: Final = re.compile(r"\s*(?:([#:]?\w+)|(<>|<=|>=|[=<>(),.\[\]+-]))")


class Placeholders:
    """The `#names` and `:values` of one request; each that is given must be used by one of its expressions."""

    def __init__(self, names: dict[str, str] | None, values: dict[str, Any] | None) -> None:
        self._names = names or {}
        self._values = {name: normal_value(value) for name, value in (values or {}).items()}
        self._unused = {*self._names, *self._values}

    def name(self, placeholder: str, kind: str) -> str:
        """Return the attribute that `#name` stands for."""
        if placeholder not in self._names:
            raise invalid(
                f"Invalid {kind}: An expression attribute name used in the document path is not defined; "
                f"attribute name: {placeholder}"
            )
        self._unused.discard(placeholder)
        return self._names[placeholder]

    def value(self, placeholder: str, kind: str) -> AttributeValue:
        """Return the value that `:value` stands for."""
        if placeholder not in self._values:
            raise invalid(
                f"Invalid {kind}: An expression attribute value used in expression is not defined; "
                f"attribute value: {placeholder}"
            )
        self._unused.discard(placeholder)
        return self._values[placeholder]

    def check_used(self) -> None:
        """Raise `AwsError` when something was given and not used."""
        for start, what in (
            (":", "Value provided in ExpressionAttributeValues"),
            ("#", "Value provided in ExpressionAttributeNames"),
        ):
            if left := sorted(name for name in self._unused if name.startswith(start)):
                raise invalid(f"{what} unused in expressions: keys: {{{', '.join(left)}}}")


class Tokens:
    """An expression, read token by token. `kind` is its parameter's name (`ConditionExpression`)."""

    def __init__(self, text: str, kind: str, placeholders: Placeholders) -> None:
        self.kind = kind
        self.placeholders = placeholders
        self._tokens: list[str] = []
        if not text.strip():
            raise invalid(f"Invalid {kind}: The expression can not be empty;")
        position = 0
        text = text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.error(f'Syntax error; token: "{text[position:].strip()[:1]}"')
            self._tokens.append(match[1] or match[2])
            position = match.end()
        self._next = 0

    def peek(self, ahead: int = 0) -> str:
        """Return a coming token without taking it; "" at the end."""
        place = self._next + ahead
        return self._tokens[place] if place < len(self._tokens) else ""

    def take(self, *wanted: str) -> str | None:
        """Take the next token if it is one of `wanted`, words in any case; give it as wanted."""
        token = self.peek().upper()
        if token in wanted:
            self._next += 1
            return token
        return None

    def expect(self, wanted: str) -> None:
        """Take the next token, which must be this one."""
        if self.take(wanted) is None:
            raise self.syntax_error()

    def word(self) -> str:
        """Take the next token, which must be a word."""
        token = self.peek()
        if not re.match(r"[#:]?\w", token):
            raise self.syntax_error()
        self._next += 1
        return token

    def end(self) -> None:
        """Refuse whatever is left."""
        if self.peek():
            raise self.syntax_error()

    def error(self, message: str) -> AwsError:
        """Return an error about this expression."""
        return invalid(f"Invalid {self.kind}: {message}")

    def syntax_error(self) -> AwsError:
        """Return the error for a token that does not fit."""
        near = " ".join(self._tokens[max(0, self._next - 1) : self._next + 2])
        return self.error(f'Syntax error; token: "{self.peek() or "<EOF>"}", near: "{near}"')

    def path(self) -> Path:
        """Take a document path: `a`, `#a.b`, `a[0].c`."""
        steps: list[str | int] = [self._name()]
        while True:
            if self.take("."):
                steps.append(self._name())
            elif self.take("["):
                number = self.word()
                if not number.isdecimal():
                    raise self.syntax_error()
                steps.append(int(number))
                self.expect("]")
            else:
                return tuple(steps)

    def _name(self) -> str:
        word = self.word()
        if word.startswith(":"):
            raise self.error(f'Syntax error; token: "{word}"')
        return self.placeholders.name(word, self.kind) if word.startswith("#") else word

    def literal(self) -> AttributeValue | None:
        """Take a `:value`, if one comes."""
        return self.placeholders.value(self.word(), self.kind) if self.peek().startswith(":") else None

    def is_function(self) -> bool:
        """Return whether a call of a function comes."""
        return self.peek(1) == "(" and self.peek()[:1] not in "#:("


def value_at(item: Item, path: Path) -> AttributeValue | None:
    """Return the value at a path; None when there is none."""
    value: AttributeValue | None = {"M": item}
    for step in path:
        container = value.get("M" if isinstance(step, str) else "L") if value else None
        if isinstance(container, dict) and isinstance(step, str):
            value = container.get(step)
        elif isinstance(container, list) and isinstance(step, int) and step < len(container):
            value = container[step]
        else:
            return None
    return value
