"""`tailrace simulate`: a simulator of DynamoDB, its streams and Kinesis, for testing consumers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tailrace.cli.simulate_kinesis import simulate_kinesis
from tailrace.cli.simulate_lambda import simulate_lambda
from tailrace.cli.simulator_process import environment_of, started, until_signal

app = typer.Typer(rich_markup_mode=None)
app.command("kinesis")(simulate_kinesis)
app.command("lambda")(simulate_lambda)


@app.callback(invoke_without_command=True)
def simulate(
    context: typer.Context,
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0: a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    seed: Annotated[int, typer.Option(help="The seed of shard names, numbers and faults.")] = 0,
    faults: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What goes wrong, and when: YAML or JSON.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Simulate DynamoDB and Kinesis, or run a Lambda function.

    Without a command it simulates DynamoDB, its streams and Kinesis, with shard splits and faults, for any AWS client
    with any credentials. It keeps everything in memory. SIGTERM or Ctrl-C ends it.

    \b
    Example:
      tailrace simulate --port 8000 --seed 7
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    stopped = until_signal()
    with started(port=port, host=host, seed=seed, faults=faults) as simulated:
        _show(simulated.endpoint_url, seed, as_json)
        stopped.wait()


def _refuse_options(context: typer.Context) -> None:
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(
                f"it is the simulator's, not that of `{context.invoked_subcommand}`, whose options follow its name",
                param_hint=option.opts[0],
            )


def _show(endpoint_url: str, seed: int, as_json: bool) -> None:
    environment = environment_of(endpoint_url)
    control_url = f"{endpoint_url}/_tailrace"
    if as_json:
        shown = {"endpoint_url": endpoint_url, "control_url": control_url, "seed": seed, "environment": environment}
        typer.echo(json.dumps(shown))
        return
    exports = " ".join(f"{name}={value}" for name, value in environment.items())
    typer.echo(
        f"simulating DynamoDB and Kinesis, seed {seed}\n"
        f"  endpoint_url  {endpoint_url}\n"
        f"  control       {control_url}/state\n"
        "\n"
        "Any credentials work; nothing is kept when it stops. To use it:\n"
        f"  export {exports}\n"
        "  aws dynamodb list-tables\n"
        f'  curl {control_url}/split -d \'{{"table": "orders"}}\''
    )
