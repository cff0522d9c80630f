"""The command line's entry: lists the commands, and catches every error once, here."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from tailrace._version import __version__
from tailrace.cli import (
    accept_gap,
    demo,
    deploy_files,
    export,
    iam,
    import_connector,
    lake,
    local,
    package,
    plan,
    redrive,
    replay,
    replicate,
    rescale,
    run,
    schema,
    serve,
    simulate,
    snapshot,
    status,
    switch,
    tail,
    transform,
    validate,
    verify,
    version,
)
from tailrace.cli.edge import edge, report
from tailrace.remedy import speak_as
from tailrace.remedy_sentences import sentence

app = typer.Typer(
    name="tailrace",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tailrace {__version__}")
        raise typer.Exit


@app.callback()
def tailrace(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Also show the details of an error.")] = False,
) -> None:
    """Carry the changes of DynamoDB tables into Apache Kafka: exactly once, in item order."""
    edge.debug = debug
    logging.getLogger("tailrace").addHandler(logging.NullHandler())  # logs are for commands that configure them


# One line a command. A command's module imports what is heavy inside its function, so that `--help` stays quick.
app.command()(demo.demo)
app.command()(run.run)
app.command()(serve.serve)
app.command()(plan.plan)
app.command()(iam.iam)
app.command()(status.status)
app.command()(validate.validate)
app.command("import")(import_connector.import_connector)
app.command()(transform.transform)
app.command()(schema.schema)
app.command()(tail.tail)
app.command()(export.export)
app.command()(lake.lake)
app.command()(replicate.replicate)
app.command()(verify.verify)
app.command()(redrive.redrive)
app.command()(replay.replay)
app.command()(accept_gap.accept_gap)
app.command()(rescale.rescale)
app.command("relane", hidden=True, help="Rescale (alias of `tailrace rescale`).")(rescale.rescale)
app.command()(switch.switch)
app.command()(version.version)
app.add_typer(snapshot.app, name="snapshot")
app.add_typer(package.app, name="package")
app.add_typer(deploy_files.app, name="deploy-files")
app.add_typer(simulate.app, name="simulate")
app.add_typer(local.app, name="local")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    The exit code is 0 for done, 2 for a wrong file or usage, 3 for a problem in the environment, 70 for a defect in
    Tailrace, 130 for Ctrl-C.
    """
    speak_as(sentence)
    try:
        app(arguments)
    except Exception as error:
        sys.exit(report(error))
