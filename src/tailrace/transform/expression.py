"""JMESPath expressions over a change: small, without side effects, documented (https://jmespath.org/specification.html).

Two things are ours: numbers are exact (int and Decimal, never a float), and a name that a change does not have is an
error when the file is read, not a null when it runs.
"""

from __future__ import annotations

import difflib
import math
from base64 import b64encode
from collections.abc import Iterator
from decimal import Context, Decimal, localcontext
from typing import Any, Final

import jmespath
from jmespath import exceptions, functions, visitor

from tailrace.core.change import ViewType
from tailrace.errors import RecordError
from tailrace.transform.change import Change

STAGE: Final = "TRANSFORMATION"
"""Kafka Connect's name for where a transformation's errors arise."""

ROOT: Final = ("op", "table", "keys", "before", "after", "item", "created_ms", "expired")
"""The members of the document that an expression sees."""
_CARRIED: Final[dict[ViewType, frozenset[str]]] = {
    "NEW_AND_OLD_IMAGES": frozenset({"before", "after", "item"}),
    "NEW_IMAGE": frozenset({"after", "item"}),
    "OLD_IMAGE": frozenset({"before", "item"}),
    "KEYS_ONLY": frozenset(),
}
_IMAGES: Final = _CARRIED["NEW_AND_OLD_IMAGES"]
_LITERALS: Final = {"null", "true", "false"}
_AROUND_NOT: Final = {
    "not_expression",
    "and_expression",
    "or_expression",
    "comparator",
    "pipe",
    "function_expression",
    "multi_select_list",
    "key_val_pair",
}
"""Where JMESPath's `!` may stand at the left."""
_DIGITS: Final = 38
"""What DynamoDB's numbers have; sums and averages keep as many."""
_INTEGER_DIGITS_MAX: Final = 130
"""DynamoDB's largest number has 126 digits; an integer of a function's own making may not fill the memory."""


class Expression:
    """One expression. Safe for many threads."""

    def __init__(self, text: str) -> None:
        """Raise ValueError, whose text says what is wrong, for what is no expression over a change."""
        try:
            parsed = jmespath.compile(text).parsed
        except exceptions.JMESPathError as error:
            raise ValueError(f"it cannot be parsed: {_reason(error)}") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it cannot be parsed: {error}") from None
        self.text = text
        self._tree = _exact(parsed)
        self.names = frozenset(_root_names(self._tree))
        """The members of the document that it looks at."""
        images = self.names & _IMAGES
        self._lacking = {each for each, carried in _CARRIED.items() if images and not images & carried}
        _check(self._tree)
        for name in sorted(self.names - set(ROOT)):
            raise ValueError(_unknown(name))

    def value(self, change: Change) -> Any:
        """Evaluate: JSON values, numbers as int or Decimal.

        Raises `RecordError` when a function does not fit, and when the stream does not carry what it looks at: null for
        every item would drop them all in silence.
        """
        if change.view_type in self._lacking:
            raise RecordError(self.lack(change.view_type), stage=STAGE)
        hint = ""
        try:
            with localcontext(_CONTEXT):
                return _interpreter.visit(self._tree, {name: _plain(getattr(change, name)) for name in self.names})
        except exceptions.JMESPathTypeError as error:
            reason = f"{error.function_name}() does not take a value of type {error.actual_type}"
            hint = "look first whether it is there: `item.tags && contains(item.tags, 'x')`"
        except exceptions.JMESPathError as error:
            reason = _reason(error)
        except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
            reason = str(error)
        raise RecordError(f"the expression {self.text}: {reason}", stage=STAGE, hint=hint)

    def is_true(self, change: Change) -> bool:
        """Tell whether the value is true for JMESPath: not false, null, empty text, an empty array or object."""
        found = self.value(change)
        return not (found is None or found is False or (isinstance(found, str | list | dict) and not found))

    def lack(self, view_type: ViewType) -> str:
        """Say that it looks at images and a stream of this view type carries none of those; empty when it does not."""
        if view_type not in self._lacking:
            return ""
        return f"the expression {self.text} needs an image that a stream of view type {view_type} does not carry"


class _Functions(functions.Functions):  # type: ignore[misc]  # the base has no annotations
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


def text_of(value: object) -> str | None:
    """Give a scalar as text: true, 12, 1.5; None for null, an array or an object."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | Decimal) else None


_CONTEXT: Final = Context(prec=_DIGITS)
_interpreter: Final = visitor.TreeInterpreter(visitor.Options(custom_functions=_Functions()))


def _plain(value: Any) -> Any:
    """Give a value as the format debezium shows it: sets as sorted arrays, binary as base64."""
    match value:
        case Decimal():
            return _number(value)
        case dict():
            return {name: _plain(member) for name, member in value.items()}
        case list() | tuple():
            return [_plain(member) for member in value]
        case set() | frozenset():
            return [_plain(member) for member in sorted(value)]
        case bytes():
            return b64encode(value).decode()
    return value


def _number(value: Decimal) -> int | Decimal:
    if value.adjusted() > _INTEGER_DIGITS_MAX:
        return value
    whole = int(value)
    return whole if whole == value else value


def _exact(node: Any) -> Any:
    """Copy a tree with its literals exact: a decimal fraction of up to 15 digits is what was written."""
    if isinstance(node, dict):
        return {name: _exact(part) for name, part in node.items()}
    if isinstance(node, list):
        return [_exact(part) for part in node]
    if isinstance(node, float) and math.isfinite(node):
        return Decimal(repr(node))
    return node


def _root_names(node: dict[str, Any]) -> Iterator[str]:
    """Give the names that are looked up in the document itself."""
    children = node.get("children", [])
    match node["type"]:
        case "field":
            yield node["value"]
        case "current":
            yield from ROOT
        case "subexpression" | "index_expression" | "pipe" | "projection" | "value_projection" | "flatten":
            yield from _root_names(children[0])
        case "filter_projection":
            yield from _root_names(children[0])
        case "literal" | "slice" | "index":
            return
        case "identity":
            yield from ROOT
        case "function_expression":
            for child in children:
                if child["type"] != "expref":
                    yield from _root_names(child)
        case _:
            for child in children:
                yield from _root_names(child)


def _check(node: dict[str, Any]) -> None:
    """Raise ValueError for what the library would find out, or silently get wrong, only when it runs."""
    children = [child for child in node.get("children", []) if isinstance(child, dict)]
    if node["type"] not in _AROUND_NOT and any(child["type"] == "not_expression" for child in children[:1]):
        raise ValueError("`!a.b` would be read as `(!a).b`: write `!(a.b)`")
    if node["type"] == "function_expression":
        name, known = node["value"], _Functions.FUNCTION_TABLE
        if name not in known:
            raise ValueError(f"there is no function {name}(){_nearest(name, known)}")
        signature = known[name]["signature"]
        is_variadic = bool(signature and signature[-1].get("variadic"))
        if len(children) < len(signature) or (len(children) > len(signature) and not is_variadic):
            raise ValueError(f"{name}() takes {len(signature)} values, not {len(children)}")
    for child in children:
        _check(child)


def _unknown(name: str) -> str:
    if name in _LITERALS:
        return f"a literal is written in backquotes: `{name}`"
    mend = _nearest(name, ROOT) or f": write item.{name} for the attribute, {name!r} for a text"
    return f"a change has no {name}{mend}"


def _nearest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f": did you mean {close[0]}?" if close else ""


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(":").partition(": ")[2]
