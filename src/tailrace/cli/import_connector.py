"""`tailrace import`: write the pipeline file that a connector's configuration is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.edge import KafkaOption, load


def import_connector(
    file: Annotated[
        Path, typer.Argument(metavar="CONNECTOR", help="The connector's JSON or properties.", show_default=False)
    ],
    *,
    kafka: KafkaOption = None,
) -> None:
    """Write a connector's configuration as a pipeline file.

    It goes to stdout, with comments. Each key says which key of the connector it came from; those that do nothing here
    are listed at the end, with the reason. A secret is not repeated: an environment variable stands for it. `tailrace
    run` takes the connector's file as it is, too.

    \b
    Example:
      tailrace import connector.json --kafka client.properties > pipeline.yaml
    """
    from tailrace.config import import_text

    load(file, kafka=kafka, with_secrets=False)  # tells what is wrong
    typer.echo(import_text(file, kafka), nl=False)
