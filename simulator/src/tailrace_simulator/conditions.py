"""Condition and filter expressions: what an item must be like.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html
"""

from __future__ import annotations

import operator
from base64 import b64decode
from collections.abc import Callable
from typing import Any, Final

from tailrace_simulator.attribute_values import AttributeValue, Item, sort_key
from tailrace_simulator.expressions import Operand, Path, Placeholders, Tokens, value_at

Condition = Callable[[Item], bool]

_ORDERS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ORDERED: Final = ({"S"}, {"N"}, {"B"})


def parse_condition(text: str, placeholders: Placeholders, kind: str = "ConditionExpression") -> Condition:
    """Parse an expression. Raises `AwsError`. An item that does not exist is the empty one."""
    tokens = Tokens(text, kind, placeholders)
    condition = _either(tokens)
    tokens.end()
    return condition


def _either(tokens: Tokens) -> Condition:
    parts = [_both(tokens)]
    while tokens.take("OR"):
        parts.append(_both(tokens))
    return parts[0] if len(parts) == 1 else lambda item: any(part(item) for part in parts)


def _both(tokens: Tokens) -> Condition:
    parts = [_negation(tokens)]
    while tokens.take("AND"):
        parts.append(_negation(tokens))
    return parts[0] if len(parts) == 1 else lambda item: all(part(item) for part in parts)


def _negation(tokens: Tokens) -> Condition:
    if tokens.take("NOT"):
        inner = _negation(tokens)
        return lambda item: not inner(item)
    if tokens.take("("):
        inner = _either(tokens)
        tokens.expect(")")
        return inner
    if tokens.is_function() and tokens.peek() != "size":
        return _function(tokens)
    return _comparison(tokens)


def _function(tokens: Tokens) -> Condition:
    name = tokens.word()
    if name not in {"attribute_exists", "attribute_not_exists", "attribute_type", "begins_with", "contains"}:
        raise tokens.error(f"Invalid function name; function: {name}")
    tokens.expect("(")
    if name in {"attribute_exists", "attribute_not_exists"}:
        path = tokens.path()
        tokens.expect(")")
        wanted = name == "attribute_exists"
        return lambda item: (value_at(item, path) is not None) is wanted
    first = _operand(tokens)
    tokens.expect(",")
    second = _operand(tokens)
    tokens.expect(")")
    test = {"attribute_type": _is_of_type, "begins_with": _begins_with, "contains": _contains}[name]
    return lambda item: _both_there(test, first(item), second(item))


def _comparison(tokens: Tokens) -> Condition:
    left = _operand(tokens)
    if tokens.take("BETWEEN"):
        low = _operand(tokens)
        tokens.expect("AND")
        high = _operand(tokens)
        return lambda item: _in_order(">=", left(item), low(item)) and _in_order("<=", left(item), high(item))
    if tokens.take("IN"):
        tokens.expect("(")
        choices = [_operand(tokens)]
        while tokens.take(","):
            choices.append(_operand(tokens))
        tokens.expect(")")
        return lambda item: left(item) is not None and left(item) in [choice(item) for choice in choices]
    sign = tokens.take("=", "<>", *_ORDERS)
    if sign is None:
        raise tokens.syntax_error()
    right = _operand(tokens)
    if sign == "=":
        return lambda item: left(item) is not None and left(item) == right(item)
    if sign == "<>":
        return lambda item: left(item) != right(item)
    return lambda item: _in_order(sign, left(item), right(item))


def _operand(tokens: Tokens) -> Operand:
    literal = tokens.literal()
    if literal is not None:
        return lambda _: literal
    if tokens.is_function():
        name = tokens.word()
        if name != "size":
            raise tokens.error(f"Invalid function name; function: {name}")
        tokens.expect("(")
        measured = tokens.path()
        tokens.expect(")")
        return lambda item: _size(item, measured)
    path = tokens.path()
    return lambda item: value_at(item, path)


def _size(item: Item, path: Path) -> AttributeValue | None:
    value = value_at(item, path)
    if value is None:
        return None
    ((kind, content),) = value.items()
    if kind == "B":
        content = b64decode(content)
    return None if kind in {"N", "BOOL", "NULL"} else {"N": str(len(content))}


def _both_there(
    test: Callable[[AttributeValue, AttributeValue], bool], first: AttributeValue | None, second: AttributeValue | None
) -> bool:
    return first is not None and second is not None and test(first, second)


def _in_order(sign: str, left: AttributeValue | None, right: AttributeValue | None) -> bool:
    if left is None or right is None or left.keys() != right.keys() or left.keys() not in _ORDERED:
        return False
    return _ORDERS[sign](sort_key(left), sort_key(right))


def _is_of_type(value: AttributeValue, kind: AttributeValue) -> bool:
    return value.keys() == {kind.get("S")}


def _begins_with(value: AttributeValue, start: AttributeValue) -> bool:
    same = value.keys() == start.keys() and value.keys() in ({"S"}, {"B"})
    return same and sort_key(value).startswith(sort_key(start))


def _contains(value: AttributeValue, part: AttributeValue) -> bool:
    ((kind, content),) = value.items()
    ((part_kind, part_content),) = part.items()
    if kind == "L":
        return part in content
    if kind in {"SS", "NS", "BS"}:
        return kind[0] == part_kind and part_content in content
    return kind == part_kind and kind in {"S", "B"} and sort_key(part) in sort_key(value)
