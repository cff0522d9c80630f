"""`tailrace schema`: print the JSON Schema of the pipeline file."""

from __future__ import annotations

import json

import typer


def schema() -> None:
    """Print the JSON Schema of the pipeline file, for editors.

    \b
    Example:
      tailrace schema > pipeline.schema.json

    Then write as the first line of the pipeline file:

    \b
      # yaml-language-server: $schema=pipeline.schema.json
    """
    from tailrace.config import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
