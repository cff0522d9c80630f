"""The JSON Schema of the pipeline file, for editors; made of the model."""

from __future__ import annotations

from typing import Any

from tailrace.config.model import Pipeline

_REFERENCE = {"type": "string", "pattern": r"\$\{(env|file|secret):[^}]+\}"}
_OUTER = ("description", "default", "examples")
_RESTRICTED = ("integer", "boolean")


def json_schema() -> dict[str, Any]:
    """Return the schema, JSON Schema draft 2020-12. A value may be `${env:…}`, `${file:…}` or `${secret:…}`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tailrace pipeline",
        **_for_editors(Pipeline.model_json_schema()),
    }


def _for_editors(schema: Any) -> Any:
    """Leave out pydantic's titles, and let references stand for restricted values."""
    if isinstance(schema, list):
        return [_for_editors(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    clean = {key: _for_editors(value) for key, value in schema.items() if not (key == "title" and _is_name(value))}
    if clean.get("type") in _RESTRICTED or {"enum", "const", "pattern"} & clean.keys():
        outer = {key: clean.pop(key) for key in _OUTER if key in clean}
        return {**outer, "anyOf": [clean, _REFERENCE]}
    return clean


def _is_name(value: object) -> bool:
    """Return whether `title` is a schema's title, and not the schema of a property of that name."""
    return isinstance(value, str)
