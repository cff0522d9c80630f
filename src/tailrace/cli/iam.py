"""`tailrace iam`: print the least AWS policy of a pipeline."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.edge import KafkaOption, load_lake
from tailrace.errors import FileError


class Identity(StrEnum):
    """Whose policy."""

    HOST = "host"
    SOURCE_ROLE = "source-role"
    LAKE_ROLE = "lake-role"
    KAFKA_ROLE = "kafka-role"


def iam(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The pipeline file.", show_default=False)],
    *,
    kafka: KafkaOption = None,
    identity: Annotated[
        Identity, typer.Option(help="Who gets it: the host, or a role of FILE that the host assumes.")
    ] = Identity.HOST,
    lake: Annotated[
        bool, typer.Option("--lake", help="The policy of `tailrace lake`, which needs nothing of the tables.")
    ] = False,
    account: Annotated[
        str,
        typer.Option(metavar="ID", help="The account of the tables and secrets. Without it, any.", show_default=False),
    ] = "*",
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ARN", help="The MSK cluster. Without it, any of the account and region.", show_default=False
        ),
    ] = None,
    snapshots: Annotated[
        bool, typer.Option("--snapshots", help="Also allow snapshots that are started by hand, and `verify`.")
    ] = False,
) -> None:
    """Print the least AWS policy of a pipeline, as JSON.

    Made from FILE alone: reading the streams, snapshots, secrets, and Kafka on MSK with IAM. For AWS Lambda,
    `deploy-files` writes the function's own role. Connects to nothing.

    \b
    Example:
      tailrace iam pipeline.yaml --account 123456789012
    """
    from tailrace.config import LoadedLakeFile
    from tailrace.operations.aws_rights import lake_policy, policy

    loaded = load_lake(file, kafka=kafka, with_secrets=False)
    if lake or isinstance(loaded, LoadedLakeFile):
        if snapshots:
            raise FileError("--snapshots is for the tables, which a lake does not read", hint="leave it out")
        made = lake_policy(loaded, identity=identity.value, account=account, cluster=cluster)
    else:
        made = policy(loaded, identity=identity.value, account=account, cluster=cluster, snapshots=snapshots)
    typer.echo(json.dumps(made, indent=2))
