"""`tailrace local`: Kafka and DynamoDB Local on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tailrace.local import state

app = typer.Typer(
    help="Kafka and DynamoDB Local on this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


@app.command()
def up(
    kafka_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Kafka's port.", show_default="a free one")
    ] = None,
    dynamodb_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="DynamoDB's port.", show_default="a free one")
    ] = None,
    as_json: Json = False,
) -> None:
    """Start both services, empty, and leave them running.

    The first time they are downloaded into the cache (about 80 MB).

    \b
    Example:
      tailrace local up --kafka-port 9092 --dynamodb-port 8000
    """
    from tailrace.cli.downloads import download_progress
    from tailrace.local import state

    with download_progress() as progress:
        services, started = state.up(kafka_port=kafka_port, dynamodb_port=dynamodb_port, progress=progress)
    _show(services, "started" if started else "already running", as_json)


@app.command()
def down(as_json: Json = False) -> None:
    """Stop both services and drop their data.

    \b
    Example:
      tailrace local down
    """
    from tailrace.local import state

    stopped = state.down()
    typer.echo(json.dumps({"stopped": stopped}) if as_json else "stopped" if stopped else "not running")


@app.command()
def status(as_json: Json = False) -> None:
    """Show whether both services run, and where.

    \b
    Example:
      tailrace local status
    """
    from tailrace.local import state

    _show(state.status(), "running", as_json)


def _show(services: state.RunningServices | None, word: str, as_json: bool) -> None:
    from tailrace.local.dynamodb import CREDENTIALS

    if as_json:
        found = {
            "running": services is not None,
            "bootstrap.servers": services and services.bootstrap_servers,
            "endpoint_url": services and services.endpoint_url,
            "environment": CREDENTIALS,
            "folder": services and services.folder,
        }
        typer.echo(json.dumps(found))
    elif services is None:
        typer.echo("not running; `tailrace local up` starts it")
    else:
        environment = " ".join(f"{name}={value}" for name, value in CREDENTIALS.items())
        typer.echo(
            f"{word}\n"
            f"  bootstrap.servers  {services.bootstrap_servers}\n"
            f"  endpoint_url       {services.endpoint_url}\n"
            f"  logs and data      {services.folder}\n"
            "\n"
            "DynamoDB Local keeps tables in memory and accepts any credentials. To stream a table of it:\n"
            f"  export {environment}\n"
            f"  tailrace run --table orders --bootstrap {services.bootstrap_servers} "
            f"--endpoint-url {services.endpoint_url}\n"
            "To stop: tailrace local down"
        )
