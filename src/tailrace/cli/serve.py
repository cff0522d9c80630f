"""`tailrace serve`: Kafka Connect's REST API over pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tailrace.errors import FileError

_LOCAL = {"127.0.0.1", "localhost", "::1"}


def serve(
    *,
    kafka: Annotated[
        Path,
        typer.Option(
            "--kafka",
            envvar="TAILRACE_KAFKA",
            metavar="PROPERTIES",
            help="Properties of Kafka clients, or of a Connect worker.",
            show_default=False,
        ),
    ],
    group: Annotated[str, typer.Option(help="Processes with the same group share the connectors.", show_default=False)],
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen at; 0: a free one.")] = 8083,
    auth: Annotated[Path | None, typer.Option(help="Users and certificates; needed off localhost.")] = None,
) -> None:
    """Serve Kafka Connect's REST API over pipelines.

    It runs the connectors that are created with it. They are kept in Kafka and run by all processes of the group: start
    as many as you like, on any hosts. Existing clients of Kafka Connect work as they are.

    \b
    Example:
      tailrace serve --kafka client.properties --group shop
      tailrace serve --kafka client.properties --group shop --host 0.0.0.0 --auth users.yaml
    """
    if host not in _LOCAL and auth is None:
        raise FileError(
            f"--host {host} can be reached by others, who could change connectors",
            hint='give --auth users.yaml, with e.g. users: [{name: olga, role: operator, password: "${env:OLGA}"}]',
        )
    from tailrace import logs
    from tailrace.cli.edge import edge
    from tailrace.extras import brought_by

    with brought_by("serve"):
        from tailrace.serve.process import run_process
    logs.configure("info", edge.redact)
    run_process(kafka, group, host=host, port=port, auth_file=auth)
