"""Turns what pydantic says of a value into a sentence for the user."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from tailrace.config.model import Pipeline
from tailrace.config.problem import InvalidError, Path, dotted, kind_of, nearest, quoted

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_OF_A_KEY = "[key]"
"""What pydantic puts behind the path of a mapping's key when the key itself is wrong."""


def explain(error: ValidationError) -> Iterator[tuple[Path, str, str]]:
    """Return for each error its path, what is wrong there, and how to fix it."""
    for detail in error.errors(include_url=False):
        path = tuple(part for part in detail["loc"] if part != _OF_A_KEY)
        yield (path, *_sentence(detail["type"], path, detail["input"], detail.get("ctx", {})))


def _sentence(  # noqa: PLR0911 - one for each kind of error
    kind: str, path: Path, value: Any, context: dict[str, Any]
) -> tuple[str, str]:
    reason = context.get("error")
    if isinstance(reason, InvalidError):
        return reason.message, reason.hint
    if kind == "missing":
        return "is missing", _example(path) or "add it"
    if kind == "extra_forbidden":
        keys = [name for name, _ in _keys(path[:-1])]
        parent = f"of `{dotted(path[:-1])}`" if len(path) > 1 else "of a pipeline"
        return f"is not a key {parent}", nearest(str(path[-1]), keys) or f"its keys are {', '.join(keys)}"
    if kind == "literal_error":
        choices = context["expected"].replace("'", "")
        return f"must be {choices}, not {_shown(value)}", nearest(str(value), choices.replace(" or ", ", ").split(", "))
    if kind in {"greater_than_equal", "less_than_equal"}:
        bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        return f"must be {bound}, not {value}", ""
    if kind in {"string_too_short", "string_too_long", "too_short"}:
        return (
            ("is too long", "shorten it")
            if kind.endswith("long")
            else ("is empty or too short", _example(path) or "give a longer one")
        )
    wanted = _WANTED[kind]
    return f"must be {wanted}, not {_shown(value)}", _remedy(wanted, value)


def _shown(value: Any) -> str:
    """Name a value of a wrong kind: itself when that helps, else its kind."""
    if value == "":
        return "empty"
    return quoted(value) if isinstance(value, str | float) else kind_of(value)


def _remedy(wanted: str, value: Any) -> str:
    if value is None:
        return "give a value, or leave the key out"
    if wanted == "text" and not isinstance(value, list | dict):
        return f'put it in quotes: "{str(value).lower() if isinstance(value, bool) else value}"'
    if (
        wanted in {"a whole number", "true or false"}
        and isinstance(value, str)
        and re.fullmatch("[0-9]+|true|false", value)
    ):
        return "take off the quotes"
    if wanted == "a list":
        return f"write [{value}]" if isinstance(value, str) else "write it as [a, b]"
    return ""


def _keys(path: Path) -> list[tuple[str, Any]]:
    """Return the keys of the mapping at `path` with their fields."""
    model: type[BaseModel] = Pipeline
    for part in path:
        if isinstance(part, int):
            continue  # the annotation of a list names its members' model
        annotation = next((field.annotation for name, field in _fields(model) if name == part), None)
        below = _model_in(annotation)
        if below is None:
            return []
        model = below
    return _fields(model)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Find the model of a field: itself, that of a list's members, or the one that may be left out."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)


def _fields(model: type[BaseModel]) -> list[tuple[str, Any]]:
    return [(field.alias or name, field) for name, field in model.model_fields.items()]


def _example(path: Path) -> str:
    """Return the hint that shows a missing key with a value."""
    examples: dict[Path, str] = {
        ("name",): "name: shop",
        ("kafka",): "kafka: {bootstrap.servers: localhost:9092}",
        ("source",): "source: {type: dynamodb-streams, tables: [orders]}",
        ("source", "type"): "type: dynamodb-streams",
        ("source", "tables"): "tables: [orders]",
    }
    return f"add e.g. `{examples[path]}`" if path in examples else ""
