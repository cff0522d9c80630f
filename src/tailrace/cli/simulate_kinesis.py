"""`tailrace simulate kinesis`: tables whose changes go to a simulated Kinesis stream, and somebody who changes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tailrace.cli.simulator_process import environment_of, started, until_signal
from tailrace.errors import WorldError

if TYPE_CHECKING:
    from tailrace_simulator import SimulatedDynamoDB

_HOSTILE_RATES = {
    "replication": {"repeat": 0.05, "delay": 0.05, "split": 0.002, "merge": 0.002},
    "kinesis:GetRecords": {
        "empty": 0.05,
        "short": 0.05,
        "late_end": 0.2,
        "throttle": 0.02,
        "expired": 0.01,
        "server_error": 0.01,
        "reset": 0.005,
    },
    "kinesis:GetShardIterator": {"throttle": 0.05},
    "kinesis:ListShards": {"throttle": 0.05},
}


def simulate_kinesis(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0: a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    stream: Annotated[str, typer.Option(help="The Kinesis stream.")] = "shop-cdc",
    shards: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000, help="Shards of a provisioned stream; without it, on-demand.", show_default=False
        ),
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option(help="A table whose changes go there; repeatable. [default: orders]")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=10_000, help="Changes per second.")] = 10,
    changes: Annotated[
        int | None, typer.Option(min=0, help="Make only so many changes, and run on.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed of the changes, numbers and faults.")] = 0,
    faults: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What goes wrong, and when: YAML or JSON.")
    ] = None,
    hostile: Annotated[bool, typer.Option("--hostile", help="Do often what AWS does rarely.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Simulate Kinesis with the changes of tables.

    Items of the tables are created, updated and deleted all the time. SIGTERM or Ctrl-C ends it.

    \b
    Example:
      tailrace simulate kinesis --port 8000 --rate 100 --hostile
    """
    from botocore.exceptions import BotoCoreError, ClientError

    from tailrace.local.workload import TableSpec, Workload, connect

    stopped = until_signal()
    with started(port=port, host=host, seed=seed, faults=faults) as simulated:
        client = connect(simulated.endpoint_url)
        workload = Workload(client, [TableSpec(name) for name in table or ["orders"]], seed=seed, rate=rate)
        try:
            workload.create_tables()
            arn = _create_stream(simulated.endpoint_url, stream, shards)
            for spec in workload.tables:
                client.enable_kinesis_streaming_destination(TableName=spec.name, StreamArn=arn)
            if hostile:
                _make_hostile(simulated)
            workload.start(changes)
            _show(simulated.endpoint_url, arn, [spec.name for spec in workload.tables], as_json=as_json)
            stopped.wait()
            workload.stop()
        except (BotoCoreError, ClientError) as error:
            raise WorldError(
                f"the simulator refuses what this command does: {error}", hint="let FILE fail fewer of such calls"
            ) from error


def _make_hostile(simulated: SimulatedDynamoDB) -> None:
    """Add the hostile rates; those of a file of faults stay."""
    rates: dict[str, dict[str, float]] = simulated.state()["rates"]
    simulated.act("rates", rates=_HOSTILE_RATES | rates)


def _create_stream(endpoint_url: str, name: str, shards: int | None) -> str:
    """Create the stream and return its ARN."""
    import boto3

    from tailrace.local.dynamodb import CREDENTIALS, REGION

    client: Any = boto3.client(
        "kinesis",
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    mode = {"ShardCount": shards} if shards else {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}
    client.create_stream(StreamName=name, **mode)
    arn = str(client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"])
    client.close()
    return arn


def _show(endpoint_url: str, arn: str, tables: list[str], *, as_json: bool) -> None:
    environment = environment_of(endpoint_url)
    control_url = f"{endpoint_url}/_tailrace"
    if as_json:
        shown = {"endpoint_url": endpoint_url, "control_url": control_url, "stream_arn": arn, "tables": tables}
        typer.echo(json.dumps(shown | {"environment": environment}))
        return
    exports = " ".join(f"{name}={value}" for name, value in environment.items())
    name = arn.rpartition("/")[2]
    typer.echo(
        f"simulating Kinesis: the changes of {', '.join(tables)} go to the stream {name}\n"
        f"  endpoint_url  {endpoint_url}\n"
        f"  control       {control_url}/state\n"
        "\n"
        "Any credentials work; nothing is kept when it stops. To use it:\n"
        f"  export {exports}\n"
        f"  aws kinesis list-shards --stream-name {name}\n"
        f'  curl {control_url}/split -d \'{{"stream": "{name}"}}\''
    )
