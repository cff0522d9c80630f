"""`tailrace simulate lambda`: run a function locally as AWS Lambda would, fed from a table's stream."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from tailrace.cli.simulator_errors import simulator_errors
from tailrace.errors import FileError
from tailrace.extras import brought_by

if TYPE_CHECKING:
    from tailrace_simulator.event_source import Discard, Outcome
    from tailrace_simulator.event_source_runner import Invoked

_HOSTILE_RATE = 0.1
_NOT_LOADED = {"Runtime.ImportModuleError", "Runtime.HandlerNotFound", "Runtime.UserCodeSyntaxError"}
"""What AWS's runtime client calls code that fails in every sandbox alike."""


class StartingPosition(StrEnum):
    """Where the mapping begins."""

    TRIM_HORIZON = "TRIM_HORIZON"
    LATEST = "LATEST"


def _environment(pairs: list[str]) -> dict[str, str]:
    """Read `--env`: NAME=VALUE, or NAME to pass on what is set here."""
    environment = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator and name not in os.environ:
            raise typer.BadParameter(f"{name} is not set here", param_hint="--env")
        environment[name] = value if separator else os.environ[name]
    return environment


def simulate_lambda(
    handler: Annotated[str, typer.Argument(metavar="HANDLER", help="module:function", show_default=False)],
    table: Annotated[
        str, typer.Option(help="The table whose stream is read, or the ARN of its stream or of one of Kinesis.")
    ],
    *,
    package: Annotated[
        Path | None,
        typer.Option(exists=True, help="The function's package, zip or folder; without it, what this Python imports."),
    ] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(help="An endpoint of the stream other than AWS's.", show_default=False)
    ] = None,
    region: Annotated[str | None, typer.Option(help="The AWS region.", show_default=False)] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=VALUE]", help="A variable of the function; repeatable."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=900, help="The function's timeout in seconds.")] = 3,
    memory: Annotated[int, typer.Option(min=128, max=10240, help="The memory that it sees, in MB.")] = 128,
    concurrency: Annotated[int, typer.Option(min=1, max=100, help="Invocations at once.")] = 10,
    batch_size: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    batching_window: Annotated[int, typer.Option(min=0, max=300, help="Seconds to gather a batch.")] = 0,
    tumbling_window: Annotated[int, typer.Option(min=0, max=900, help="Seconds of a window; 0: none.")] = 0,
    parallelization_factor: Annotated[int, typer.Option(min=1, max=10, help="Batches of a shard at once.")] = 1,
    starting_position: Annotated[StartingPosition, typer.Option()] = StartingPosition.TRIM_HORIZON,
    report_batch_item_failures: Annotated[
        bool, typer.Option("--report-batch-item-failures", help="Let the function report single records.")
    ] = False,
    bisect: Annotated[bool, typer.Option("--bisect", help="Split a failed batch in two.")] = False,
    retries: Annotated[int, typer.Option(min=-1, max=10_000, help="-1: until the records expire.")] = -1,
    record_age: Annotated[int, typer.Option(min=-1, max=604_800, help="Seconds; -1: the stream's 24 h.")] = -1,
    on_failure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append what the destination (SQS) receives, as lines of JSON.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed of the hostilities.")] = 0,
    hostile: Annotated[bool, typer.Option("--hostile", help="Do often what AWS does rarely.")] = False,
    until_idle: Annotated[
        float | None, typer.Option(min=0.1, metavar="SECONDS", help="End when nothing came for this many seconds.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each invocation.")] = False,
) -> None:
    """Run a function as AWS Lambda would, fed from a table's stream.

    The function runs in separate processes, with AWS's runtime client. Its output goes to stderr.
    SIGTERM or Ctrl-C ends it.

    \b
    Example:
      tailrace simulate lambda my_function:handler --table orders --endpoint-url http://localhost:8000
    """
    import tempfile

    with brought_by("simulator"):
        from tailrace_simulator.event_source import EventSourceMapping, Hostility, Mapper
        from tailrace_simulator.event_source_runner import Runner, find_stream
        from tailrace_simulator.function import Function, load_code
        from tailrace_simulator.streams_client import client_of

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        mapping = EventSourceMapping(
            batch_size=batch_size,
            maximum_batching_window_s=batching_window,
            tumbling_window_s=tumbling_window,
            parallelization_factor=parallelization_factor,
            starting_position=starting_position.value,
            report_batch_item_failures=report_batch_item_failures,
            bisect_batch_on_function_error=bisect,
            maximum_retry_attempts=retries,
            maximum_record_age_s=record_age,
            on_failure="sqs" if on_failure else None,
        )
    except ValueError as error:
        raise FileError(str(error)) from error
    rates = dict.fromkeys(Hostility.__struct_fields__, _HOSTILE_RATE if hostile else 0.0)
    variables = _environment(env or [])
    with simulator_errors(), ExitStack() as opened:
        code = load_code(handler, package, Path(opened.enter_context(tempfile.TemporaryDirectory())))
        client = client_of(table, region=region, endpoint_url=endpoint_url)
        opened.callback(client.close)
        stream_arn = find_stream(client, table)
        destination = opened.enter_context(on_failure.open("ab")) if on_failure else None
        function = opened.enter_context(
            Function(
                code,
                name=handler.replace(":", "-").replace(".", "-").replace("/", "-"),
                region=client.region,
                timeout_s=timeout,
                memory_mb=memory,
                concurrency=concurrency,
                environment=variables,
                log=sys.stderr.fileno(),
            )
        )
        mapper = Mapper(
            mapping,
            stream_arn=stream_arn,
            function_arn=function.arn,
            seed=seed,
            hostility=Hostility(**rates),
            lost_after_ms=round(timeout * 1000),
        )
        told = _Told(as_json, destination)
        runner = Runner(mapper, client, function, stream_arn, concurrency=concurrency, tell=told)
        told.begin(stream_arn)
        runner.run(stopped, idle_s=until_idle)
        told.end(function.cold_starts)
    if told.counts["discarded"] and until_idle is not None:
        raise typer.Exit(1)


class _Told:
    """Reports each invocation to the user, and writes what the destination receives."""

    def __init__(self, as_json: bool, destination: IO[bytes] | None) -> None:
        self.counts: Counter[str] = Counter()
        self._as_json = as_json
        self._destination = destination

    def begin(self, stream_arn: str) -> None:
        self._say({"event": "reading", "stream": stream_arn}, f"reading {stream_arn}")

    def end(self, cold_starts: int) -> None:
        counted = {name: self.counts[name] for name in ("invocations", "failed", "records", "discarded")}
        text = ", ".join(f"{count} {name}" for name, count in counted.items())
        self._say({"event": "ended", **counted, "cold_starts": cold_starts}, f"{text}, {cold_starts} cold starts")

    def __call__(self, happened: Invoked | Discard) -> None:
        """Report what happened. Raises FileError when the function cannot be loaded: Lambda would retry for a day."""
        from tailrace_simulator.event_source import Answered, Discard, Errored

        if isinstance(happened, Discard):
            count = len(happened.sequences)
            self.counts["discarded"] += count
            if self._destination is not None and happened.message is not None:
                self._destination.write(happened.message + b"\n")
                self._destination.flush()
            fields = {"shard": happened.shard_id, "records": count, "condition": happened.condition}
            text = f"{happened.shard_id}  {_counted(count)} discarded: {happened.condition}"
            self._say({"event": "discarded", **fields}, text)
            return
        if isinstance(happened.outcome, Errored) and happened.outcome.error_type in _NOT_LOADED:
            raise FileError(happened.outcome.message, hint="correct HANDLER, --package, or the code that it names")
        outcome = _outcome(happened.outcome)
        is_answered = isinstance(happened.outcome, Answered)
        self.counts.update(invocations=1, failed=int(not is_answered), records=happened.records if is_answered else 0)
        duration_ms = round(happened.duration_s * 1000)
        fields = {
            "shard": happened.shard_id,
            "records": happened.records,
            "window_end": happened.is_window_end,
            "outcome": outcome,
            "duration_ms": duration_ms,
        }
        what = _counted(happened.records) + (", end of window" if happened.is_window_end else "")
        self._say({"event": "invoked", **fields}, f"{happened.shard_id}  {what}  {duration_ms} ms  {outcome}")

    def _say(self, fields: dict[str, Any], text: str) -> None:
        now = datetime.now().astimezone()
        typer.echo(json.dumps(fields) if self._as_json else f"{now:%H:%M:%S}  {text}")


def _counted(records: int) -> str:
    return f"{records} record{'s' * (records != 1)}"


def _outcome(outcome: Outcome) -> str:
    """Return how an invocation ended."""
    from tailrace_simulator.event_source import Answered, Errored, NotInvoked

    match outcome:
        case Answered():
            return f"answered {outcome.payload[:200].decode(errors='replace')}"
        case Errored():
            return f"failed {outcome.error_type}: {outcome.message}"
        case NotInvoked():
            return f"not invoked: {outcome.reason}"
        case _:
            return "unknown"
