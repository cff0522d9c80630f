"""Writes pipeline files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml


def write_file(
    folder: Path,
    kafka: Mapping[str, Any],
    name: str,
    *,
    tables: Sequence[str] = ("orders",),
    source: Mapping[str, Any] | None = None,
    only_source: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Path:
    """Write `pipeline.yaml`, a key or an item a line, in the order of the arguments.

    `source` is added to that of DynamoDB Streams, `only_source` takes its place.
    """
    pipeline = {
        "name": name,
        "kafka": dict(kafka),
        "source": only_source
        or {"type": "dynamodb-streams", "region": "us-east-1", "tables": list(tables), **(source or {})},
        **settings,
    }
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump(pipeline, sort_keys=False))
    return file
