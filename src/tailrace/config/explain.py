"""Turns what pydantic says of a value into a sentence for the user."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from tailrace.config.by_type import ByType
from tailrace.config.fields import Part
from tailrace.config.problem import InvalidError, Path, as_in_file, dotted, nearest, not_one_of, shown

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


Node = type[BaseModel] | ByType | None
"""What has the keys at a place: a model, one of several by its type, or nothing that has any."""


def explain(error: ValidationError, model: type[BaseModel], data: object = None) -> Iterator[tuple[Path, str, str]]:
    """Return for each error of a model its path in `data`, what is wrong there, and how to fix it."""
    for detail in error.errors(include_url=False):
        path, node = _located(model, detail["loc"])
        path = as_in_file(path, data)
        if isinstance(node, ByType) and detail["type"] in {"union_tag_not_found", "union_tag_invalid"}:
            yield (*path, "type"), *_of_type(node, detail["type"] == "union_tag_not_found", detail["input"])
            continue
        parent = _located(model, detail["loc"][:-1])[1]
        yield (path, *_sentence(detail["type"], path, parent, detail["input"], detail.get("ctx", {})))


def _located(model: type[BaseModel], location: tuple[str | int, ...]) -> tuple[Path, Node]:
    """Return the path in the file of a place that pydantic names, and what has the keys there.

    Pydantic puts in what no file holds: the type of a mapping that has kinds, and a mark of a mapping's keys.
    """
    path: list[str | int] = []
    node: Node = model
    for part in location:
        if part == _OF_A_KEY:
            continue
        if isinstance(node, ByType) and isinstance(part, str):
            node = node.kind(part)
            continue
        path.append(part)
        if isinstance(part, str):
            field = _fields(node).get(part)
            node = None if field is None else _node_of(field)
    return tuple(path), node


def _of_type(union: ByType, is_missing: bool, value: Any) -> tuple[str, str]:
    """Return the sentence about the `type` of a mapping that has kinds."""
    if is_missing:
        return "is missing", f"add e.g. `type: {union.types[0]}`"
    return not_one_of(union.types, value["type"])


def _sentence(  # noqa: PLR0911 - one for each kind of error
    kind: str, path: Path, parent: Node, value: Any, context: dict[str, Any]
) -> tuple[str, str]:
    reason = context.get("error")
    if isinstance(reason, InvalidError):
        return reason.message, reason.hint
    if kind == "missing":
        return "is missing", _example(parent, path) or "add it"
    if kind == "extra_forbidden":
        keys = list(_fields(parent))
        of = f"of `{dotted(path[:-1])}`" if len(path) > 1 else f"of {getattr(parent, 'called', Part.called)}"
        return f"is not a key {of}", nearest(str(path[-1]), keys) or f"its keys are {', '.join(keys)}"
    if kind == "literal_error":
        return not_one_of(context["expected"].replace("'", "").replace(" or ", ", ").split(", "), value)
    if kind in {"greater_than_equal", "less_than_equal"}:
        bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        return f"must be {bound}, not {value}", ""
    if kind in {"string_too_short", "string_too_long", "too_short", "too_long"}:
        return (
            ("is too long", "shorten it")
            if kind.endswith("long")
            else ("is empty or too short", _example(parent, path) or "give a longer one")
        )
    wanted = _WANTED[kind]
    return f"must be {wanted}, not {shown(value)}", _remedy(wanted, value)


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


def _node_of(field: FieldInfo) -> Node:
    """Find what has the keys of a field; pydantic keeps the outermost annotations of it apart."""
    return next((part for part in field.metadata if isinstance(part, ByType)), None) or _node_in(field.annotation)


def _node_in(annotation: Any) -> Node:
    """Find it in an annotation: itself, that of a list's members, or of what may be left out."""
    parts = get_args(annotation)
    if union := next((part for part in parts if isinstance(part, ByType)), None):
        return union
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((node for part in parts if (node := _node_in(part))), None)


def _fields(node: Node) -> dict[str, FieldInfo]:
    if node is None or isinstance(node, ByType):
        return {}
    return {field.alias or name: field for name, field in node.model_fields.items()}


def _example(parent: Node, path: Path) -> str:
    """Return the hint that shows a missing key with a value."""
    if isinstance(parent, type) and issubclass(parent, Part) and (line := parent.examples.get(str(path[-1]))):
        return f"add e.g. `{line}`"
    return ""
