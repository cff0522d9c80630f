"""`tailrace local`: Kafka and DynamoDB Local on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.entry import unwinding
from tailrace.extras import brought_by

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
    sample: Annotated[
        bool,
        typer.Option(
            "--sample", help="Also create a table with a few changes, and write a pipeline.yaml that streams it."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Start both services, empty, and leave them running.

    The first time it downloads them into the cache (about 80 MB).

    \b
    Example:
      tailrace local up --sample
      tailrace local up --kafka-port 9092 --dynamodb-port 8000
    """
    from tailrace.cli.downloads import download_progress

    with brought_by("local"):
        from tailrace.local import state

    with unwinding(), download_progress() as progress:
        services, started = state.up(kafka_port=kafka_port, dynamodb_port=dynamodb_port, progress=progress)
    word = "started" if started else "already running"
    if sample:
        _make_sample(services, word, as_json)
    else:
        _show(services, word, as_json)


@app.command()
def down(as_json: Json = False) -> None:
    """Stop both services and delete their data.

    \b
    Example:
      tailrace local down
    """
    with brought_by("local"):
        from tailrace.local import state

    with unwinding():
        stopped = state.down()
    typer.echo(json.dumps({"stopped": stopped}) if as_json else "stopped" if stopped else "not running")


@app.command()
def status(as_json: Json = False) -> None:
    """Show whether both services are running, and where.

    \b
    Example:
      tailrace local status
    """
    with brought_by("local"):
        from tailrace.local import state

    _show(state.status(), "running", as_json)


def _make_sample(services: state.RunningServices, word: str, as_json: bool) -> None:
    """Create the sample, and show the next commands."""
    from tailrace.local import sample

    sample.write_file(sample.pipeline_text(services.bootstrap_servers, services.endpoint_url))
    seeded = sample.seed(services.endpoint_url)
    if as_json:
        _show(services, word, as_json)
        return
    typer.echo(
        f"{word}: Kafka at {services.bootstrap_servers}, DynamoDB Local at {services.endpoint_url}\n"
        f"wrote {sample.FILE}; table {sample.TABLE} "
        + (f"has a stream with {sample.CHANGES} changes\n" if seeded else "was there already\n")
        + "\n"
        "Next, to stream the table until Ctrl-C:\n"
        f"  export {_environment()}\n"
        f"  tailrace run {sample.FILE}\n"
        "In another terminal, to see what is in Kafka:\n"
        f"  tailrace tail {sample.FILE} --from beginning\n"
        "To stop both services and delete their data: tailrace local down"
    )


def _environment() -> str:
    """Return the variables that AWS clients need here, as a shell takes them."""
    from tailrace.local.dynamodb import CREDENTIALS

    return " ".join(f"{name}={value}" for name, value in CREDENTIALS.items())


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
        from tailrace.local.sample import pipeline_text

        file = pipeline_text(services.bootstrap_servers, services.endpoint_url)
        typer.echo(
            f"{word}\n"
            f"  bootstrap.servers  {services.bootstrap_servers}\n"
            f"  endpoint_url       {services.endpoint_url}\n"
            f"  logs and data      {services.folder}\n"
            "\n"
            "DynamoDB Local keeps tables in memory and accepts any credentials. A pipeline file for a table of it:\n"
            "\n"
            f"{file}"
            "\n"
            "To stream it:\n"
            f"  export {_environment()}\n"
            "  tailrace run pipeline.yaml\n"
            "A table with a few changes, and this file: tailrace local up --sample\n"
            "To stop: tailrace local down"
        )
