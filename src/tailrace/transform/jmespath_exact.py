"""JMESPath as Tailrace speaks it: exact numbers (int and Decimal, never a float), in literals and in functions."""

from __future__ import annotations

import json
from base64 import b64encode
from decimal import Context, Decimal, localcontext
from typing import Any, Final

from jmespath import functions, lexer, parser, visitor

_DIGITS: Final = 38
"""What DynamoDB's numbers have; sums and averages keep as many."""
_INTEGER_DIGITS_MAX: Final = 130
"""DynamoDB's largest number has 126 digits; an integer of a function's own making may not fill the memory."""
_SIGNS: Final = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}

Node = dict[str, Any]
"""A node of a parsed expression: `type`, and with most types `value` and `children`."""


class UnfitError(ValueError):
    """A value is of a type that the expression cannot work with; the text says so without the value."""


def parse(text: str) -> Node:
    """Return the tree of an expression.

    Raises JMESPathError, ValueError, ArithmeticError or RecursionError.
    """
    tree: Node = _Parser().parse(text).parsed
    return tree


def evaluate(tree: Node, document: dict[str, Any]) -> Any:
    """Return the value of a tree for a document of JSON values with exact numbers.

    Raises JMESPathError, and `UnfitError` or another error of Python where a value does not fit.
    """
    with localcontext(_CONTEXT):
        return _interpreter.visit(tree, document)


def is_true(value: object) -> bool:
    """Return whether a value is true for JMESPath: not false, null, empty text, an empty array or object."""
    return not (value is None or value is False or (isinstance(value, str | list | dict) and not value))


def plain(value: Any) -> Any:
    """Return a Python value as the format debezium shows it: sets as sorted arrays, binary as base64."""
    match value:
        case Decimal():
            return _number(value)
        case dict():
            return {name: plain(member) for name, member in value.items()}
        case list() | tuple():
            return [plain(member) for member in value]
        case set() | frozenset():
            try:
                return [plain(member) for member in sorted(value)]
            except TypeError:
                raise UnfitError("a set holds values of several types") from None
        case bytes():
            return b64encode(value).decode()
    return value


def _number(value: Decimal) -> int | Decimal:
    if value.adjusted() > _INTEGER_DIGITS_MAX:
        return value
    whole = int(value)
    return whole if whole == value else value


class _Lexer(lexer.Lexer):  # type: ignore[misc]  # the base has no annotations
    """The library's own, but a literal's fraction keeps its digits."""

    def _consume_literal(self) -> dict[str, Any]:
        start: int = self._position  # type: ignore[has-type]  # as above
        lexeme = self._consume_until("`").replace("\\`", "`")
        try:
            value = json.loads(lexeme, parse_float=lambda digits: _number(Decimal(digits)), parse_constant=_no_number)
        except json.JSONDecodeError:  # a text without quotes, or a mistake: the library knows what to say
            self._position, self._current = start, self._chars[start]
            token: dict[str, Any] = super()._consume_literal()
            return token
        return {"type": "literal", "value": value, "start": start, "end": self._position - start}


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a number")


class _Parser(parser.Parser):  # type: ignore[misc]  # as above
    """The library's own, on another lexer."""

    _CACHE: dict[str, Any] = {}  # noqa: RUF012 - as in the base, whose trees have inexact literals

    def _parse(self, expression: str) -> parser.ParsedResult:
        self._tokens = list(_Lexer().tokenize(expression))
        self._index = 0
        tree = self._expression()
        if self._current_token() != "eof":
            self._raise_parse_error_for_token(self._lookahead_token(0), "unexpected")
        return parser.ParsedResult(expression, tree)


class _Functions(functions.Functions):  # type: ignore[misc]  # as above
    """JMESPath's own functions, for which a Decimal is a number too."""

    def _get_allowed_pytypes(self, types: Any) -> tuple[list[str], list[tuple[str, ...]]]:
        allowed, members = super()._get_allowed_pytypes(types)
        numbers = ("Decimal",)
        return (
            [*allowed, *(numbers if "int" in allowed else ())],
            [(*some, *numbers) if "int" in some else some for some in members],
        )

    def _convert_to_jmespath_type(self, pyobject: str) -> str:
        return "number" if pyobject == "Decimal" else str(super()._convert_to_jmespath_type(pyobject))

    @functions.signature({"types": []})  # type: ignore[untyped-decorator]  # as above
    def _func_type(self, arg: Any) -> str:
        return "number" if isinstance(arg, Decimal) else str(super()._func_type(arg))

    @functions.signature({"types": []})  # type: ignore[untyped-decorator]  # as above
    def _func_to_string(self, arg: Any) -> str:
        return str(arg if isinstance(arg, Decimal) else super()._func_to_string(arg))

    @functions.signature({"types": []})  # type: ignore[untyped-decorator]  # as above
    def _func_to_number(self, arg: Any) -> int | Decimal | None:
        if isinstance(arg, str):
            try:
                number = Decimal(arg)
            except ArithmeticError:
                return None
            is_of_dynamodb = number.is_finite() and number.adjusted() <= _INTEGER_DIGITS_MAX
            return _number(number) if is_of_dynamodb else None
        return arg if isinstance(arg, int | Decimal) and not isinstance(arg, bool) else None


class _Interpreter(visitor.TreeInterpreter):  # type: ignore[misc]  # as above
    """The library's own, but a text compared by size with a number is an error in our words."""

    def visit_comparator(self, node: Node, value: Any) -> Any:
        """Compare two values."""
        sign = _SIGNS.get(node["value"])
        if sign is not None:
            sides = [self.visit(child, value) for child in node["children"]]
            if len({isinstance(side, str) for side in sides if _has_size(side)}) > 1:
                raise UnfitError(f"`{sign}` compares a string with a number")
        return super().visit_comparator(node, value)


def _has_size(value: object) -> bool:
    return isinstance(value, str | int | Decimal) and not isinstance(value, bool)


FUNCTIONS: Final = _Functions.FUNCTION_TABLE
"""The functions by name, with their signatures."""
_CONTEXT: Final = Context(prec=_DIGITS)
_interpreter: Final = _Interpreter(visitor.Options(custom_functions=_Functions()))
