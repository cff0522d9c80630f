"""The JSON Schema of the pipeline file, for editors; made of the model."""

from __future__ import annotations

from typing import Any

from tailrace.config.model import Pipeline


def json_schema() -> dict[str, Any]:
    """Give the schema, JSON Schema draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tailrace pipeline",
        **{key: value for key, value in Pipeline.model_json_schema().items() if key != "title"},
    }
