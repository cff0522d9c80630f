"""Update expressions: SET, REMOVE, ADD and DELETE.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Final

from tailrace_simulator.attribute_values import AttributeValue, Item, sort_key, stored_number
from tailrace_simulator.aws_error import invalid
from tailrace_simulator.expressions import Operand, Path, Placeholders, Tokens, value_at

_Clause = Callable[[Item, Item], None]
"""Changes the second item as the clause says of the first, which is the item before the update."""
_exact: Final = Context(prec=400)


class Update:
    """A parsed update expression; `paths` are the document paths that it changes."""

    def __init__(self, text: str, placeholders: Placeholders) -> None:
        """Parse an expression. Raises `AwsError`."""
        self.paths: list[Path] = []
        self._clauses: list[_Clause] = []
        self._removed: list[Path] = []
        tokens = Tokens(text, "UpdateExpression", placeholders)
        parsers = {"SET": self._set, "REMOVE": self._remove, "ADD": self._add, "DELETE": self._delete}
        seen: set[str] = set()
        while tokens.peek():
            section = tokens.take(*parsers)
            if section is None:
                raise tokens.syntax_error()
            if section in seen:
                raise tokens.error(f'The "{section}" section can only be used once in an update expression;')
            seen.add(section)
            parsers[section](tokens)
            while tokens.take(","):
                parsers[section](tokens)
        self._check_overlap(tokens)

    def apply(self, item: Item) -> Item:
        """Return the item after the update; `item` stays as it is. Raises `AwsError`."""
        after = copy.deepcopy(item)
        for clause in self._clauses:
            clause(item, after)
        for path in sorted(self._removed, key=_place, reverse=True):
            _drop(after, path)
        return after

    def _set(self, tokens: Tokens) -> None:
        path = self._path(tokens)
        tokens.expect("=")
        value = _sum(tokens)

        def clause(before: Item, after: Item) -> None:
            _put(after, path, _there(value(before)))

        self._clauses.append(clause)

    def _remove(self, tokens: Tokens) -> None:
        self._removed.append(self._path(tokens))

    def _add(self, tokens: Tokens) -> None:
        path, value = self._path(tokens), _literal(tokens)
        ((kind, added),) = value.items()
        if kind not in {"N", "SS", "NS", "BS"}:
            raise _wrong_operand(tokens, "ADD", kind)

        def clause(before: Item, after: Item) -> None:
            present = value_at(before, path)
            if present is None:
                _put(after, path, value)
            elif present.keys() != value.keys():
                raise invalid("An operand in the update expression has an incorrect data type")
            elif kind == "N":
                _put(after, path, _add_numbers(present, value))
            else:
                _put(after, path, _set_of(kind, {*present[kind], *added}))

        self._clauses.append(clause)

    def _delete(self, tokens: Tokens) -> None:
        path, value = self._path(tokens), _literal(tokens)
        ((kind, removed),) = value.items()
        if kind not in {"SS", "NS", "BS"}:
            raise _wrong_operand(tokens, "DELETE", kind)

        def clause(before: Item, after: Item) -> None:
            present = value_at(before, path)
            if present is None:
                return
            if present.keys() != value.keys():
                raise invalid("An operand in the update expression has an incorrect data type")
            left = {*present[kind]} - {*removed}
            if left:
                _put(after, path, _set_of(kind, left))
            else:
                _drop(after, path)

        self._clauses.append(clause)

    def _path(self, tokens: Tokens) -> Path:
        path = tokens.path()
        self.paths.append(path)
        return path

    def _check_overlap(self, tokens: Tokens) -> None:
        for number, path in enumerate(self.paths):
            for other in self.paths[:number]:
                shorter = min(len(path), len(other))
                if path[:shorter] == other[:shorter]:
                    raise tokens.error(
                        "Two document paths overlap with each other; must remove or rewrite one of these paths; "
                        f"path one: {_shown(other)}, path two: {_shown(path)}"
                    )


def _place(path: Path) -> int:
    """Return what removals are ordered by: from a list's end, since each moves the elements behind it."""
    return path[-1] if isinstance(path[-1], int) else -1


def _sum(tokens: Tokens) -> Operand:
    left = _operand(tokens)
    sign = tokens.take("+", "-")
    if sign is None:
        return left
    right = _operand(tokens)
    return lambda item: _add_numbers(_there(left(item)), _there(right(item)), sign)


def _operand(tokens: Tokens) -> Operand:
    literal = tokens.literal()
    if literal is not None:
        return lambda _: literal
    if not tokens.is_function():
        path = tokens.path()
        return lambda item: value_at(item, path)
    name = tokens.word()
    tokens.expect("(")
    if name == "if_not_exists":
        wanted = tokens.path()
        tokens.expect(",")
        default = _operand(tokens)
        tokens.expect(")")
        return lambda item: value_at(item, wanted) or default(item)
    if name == "list_append":
        first = _operand(tokens)
        tokens.expect(",")
        second = _operand(tokens)
        tokens.expect(")")
        return lambda item: _joined(_there(first(item)), _there(second(item)))
    raise tokens.error(f"Invalid function name; function: {name}")


def _literal(tokens: Tokens) -> AttributeValue:
    literal = tokens.literal()
    if literal is None:
        raise tokens.syntax_error()
    return literal


def _there(value: AttributeValue | None) -> AttributeValue:
    if value is None:
        raise invalid("The provided expression refers to an attribute that does not exist in the item")
    return value


def _joined(first: AttributeValue, second: AttributeValue) -> AttributeValue:
    if "L" not in first or "L" not in second:
        raise invalid("An operand in the update expression has an incorrect data type")
    return {"L": [*first["L"], *second["L"]]}


def _add_numbers(first: AttributeValue, second: AttributeValue, sign: str = "+") -> AttributeValue:
    if "N" not in first or "N" not in second:
        raise invalid("An operand in the update expression has an incorrect data type")
    compute = _exact.add if sign == "+" else _exact.subtract
    return {"N": stored_number(compute(Decimal(first["N"]), Decimal(second["N"])))}


def _set_of(kind: str, members: set[str]) -> AttributeValue:
    return {kind: sorted(members, key=lambda member: sort_key({kind[0]: member}))}


def _put(item: Item, path: Path, value: AttributeValue) -> None:
    """Set the value at a path; beyond a list's end it is appended."""
    *container_path, last = path
    container = value_at(item, tuple(container_path))
    if container and isinstance(last, str) and "M" in container:
        container["M"][last] = copy.deepcopy(value)
    elif container and isinstance(last, int) and "L" in container:
        container["L"][last : last + 1] = [copy.deepcopy(value)]
    else:
        raise invalid("The document path provided in the update expression is invalid for update")


def _drop(item: Item, path: Path) -> None:
    """Remove what is at a path, if anything is; its container must be there."""
    *container_path, last = path
    container = value_at(item, tuple(container_path))
    if container and isinstance(last, str) and "M" in container:
        container["M"].pop(last, None)
    elif container and isinstance(last, int) and "L" in container:
        del container["L"][last : last + 1]
    else:
        raise invalid("The document path provided in the update expression is invalid for update")


def _wrong_operand(tokens: Tokens, operator: str, kind: str) -> Exception:
    return tokens.error(f"Incorrect operand type for operator or function; operator: {operator}, operand type: {kind}")


def _shown(path: Path) -> str:
    return "[" + ", ".join(f"[{step}]" if isinstance(step, int) else step for step in path) + "]"
