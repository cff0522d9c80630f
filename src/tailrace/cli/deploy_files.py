"""`tailrace deploy-files`: write what deploys a pipeline as a Lambda function, or its lake by Kafka Connect."""

from __future__ import annotations

import json
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailrace.cli.edge import EXIT_INTERRUPTED, ended_by_signals, load, require_pipeline_file
from tailrace.cli.package import Python
from tailrace.extras import brought_by

if TYPE_CHECKING:
    from tailrace.config import LoadedPipeline

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)


class Format(StrEnum):
    """What the files are for."""

    SAM = "sam"
    CLOUDFORMATION = "cloudformation"
    TERRAFORM = "terraform"
    CDK = "cdk"


@app.callback()
def deploy_files() -> None:
    """Write the files that deploy a pipeline."""


@app.command("lambda")
def deploy_files_lambda(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)],
    form: Annotated[Format, typer.Option("--format", help="What the files are for.", show_default=False)],
    *,
    output: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write to.")] = Path("build/lambda"),
    lookup: Annotated[bool, typer.Option("--lookup", help="Look up tables and streams in AWS.")] = False,
    location: Annotated[
        str | None,
        typer.Option("--pipeline", metavar="ssm:NAME|s3:BUCKET/KEY", help="Where FILE will be, if not in the package."),
    ] = None,
    python: Annotated[Python, typer.Option(help="The function's Python.")] = Python.PYTHON_3_13,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that were edited.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Write the files that deploy a pipeline as a Lambda function.

    For AWS SAM, CloudFormation, Terraform or the AWS CDK (Python): the function, an event source mapping for each
    table, the least permissions, alarms and a log group. Read the files before you use them. Nothing is sent to AWS.
    Without --force an edited file is not overwritten.

    \b
    Example:
      tailrace deploy-files lambda pipeline.yaml --format sam
    """
    with brought_by("deploy"):
        from tailrace.deploy.deployment import describe
        from tailrace.deploy.files import write_files

    require_pipeline_file(file)
    loaded = load(file, with_secrets=False)
    streams = _look_up(loaded) if lookup else None
    deployment = describe(loaded, python.value, location, streams)
    written = write_files(deployment, form.value, output, force=force)
    if as_json:
        shown = {"function": deployment.name, "files": [str(path) for path in written]}
        typer.echo(json.dumps(shown))
        return
    for path in written:
        typer.echo(f"wrote {path}")
    if streams is None:
        typer.echo("the ARNs of the streams are parameters; with --lookup they are filled in")


class LakeFormat(StrEnum):
    """What the files of a lake are for."""

    CONNECT = "connect"


@app.command("lake")
def deploy_files_lake(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)],
    form: Annotated[LakeFormat, typer.Option("--format", help="What the files are for.", show_default=False)],
    *,
    output: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write to.")] = Path("build/lake"),
    target: Annotated[
        str | None, typer.Option(metavar="NAME", help="The lake, if FILE has several.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that were edited.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Write sink connectors for the topics of a lake.

    For Kafka Connect: Confluent's S3 sink connector and Apache Iceberg's, for the topics that exist now. README.md says
    what differs from `tailrace lake`. Nothing is sent to Connect.

    \b
    Example:
      tailrace deploy-files lake pipeline.yaml --format connect
    """
    del form  # there is one
    with brought_by("deploy"):
        from tailrace.deploy.files import write_contents
        from tailrace.deploy.lake_connect import connect_files
    from tailrace.errors import FileError
    from tailrace.operations.lake_targets import require_targets
    from tailrace.sinks.topics import Topics

    with ended_by_signals(EXIT_INTERRUPTED):
        targets = require_targets(load(file), target)
        if len(targets) > 1:
            raise FileError("the file has several lakes", path="--target", hint="name one of them")
        lake = targets[0]
        with lake.telling():
            places = Topics(lake.kafka).find(lambda topic: lake.table_of(topic) is not None)
            contents = connect_files(lake, sorted({place.topic for place in places}))
    written = write_contents(contents, output, force=force)
    if as_json:
        typer.echo(json.dumps({"lake": lake.lake.name, "files": [str(path) for path in written]}))
        return
    for path in written:
        typer.echo(f"wrote {path}")


def _look_up(loaded: LoadedPipeline) -> dict[str, str]:
    from tailrace.deploy.deployment import look_up
    from tailrace.wiring.sources import make_source

    with ended_by_signals(EXIT_INTERRUPTED), loaded.telling("source"):
        source = make_source(loaded.pipeline)
        with closing(source):
            return look_up(loaded.pipeline, source)
