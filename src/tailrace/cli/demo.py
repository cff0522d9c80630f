"""`tailrace demo`: see it work, on this machine, in about a minute."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from tailrace.extras import brought_by

if TYPE_CHECKING:
    from tailrace.local.demo import Demo, DemoResult
    from tailrace.local.demo_lake import LakeResult
    from tailrace.local.demo_view import Times

EXIT_BAD = 1
"""The exit code when something was lost, repeated, out of order or otherwise wrong."""

_HOW_TO_PLAY = """\
Kafka, DynamoDB and the workers stay up until Ctrl-C here. In another terminal:

cd {folder}
{exports}
export AWS_ENDPOINT_URL={endpoint_url}
tailrace status {file}
tailrace tail {file}

In a third one, with the same `cd` and `export`s, change an item with the AWS
command line or with Python, or start another worker:

aws dynamodb put-item --table-name orders --item '{{"id": {{"S": "mine"}}}}'
python -c 'import boto3
boto3.resource("dynamodb").Table("orders").put_item(Item={{"id": "mine"}})'
tailrace run {file}
"""


def demo(
    *,
    seconds: Annotated[float, typer.Option(min=4, max=3600, help="How long to write changes.")] = 30,
    workers: Annotated[int, typer.Option(min=1, max=8, help="Number of workers.")] = 2,
    seed: Annotated[int, typer.Option(help="The seed of the changes.")] = 1,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep everything running after the verdict, until Ctrl-C.")
    ] = False,
    lake: Annotated[
        bool, typer.Option("--lake", help="Write the changes to a data lake too, and query it with DuckDB.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as one JSON object.")] = False,
) -> None:
    """Watch changes arrive while a worker is killed.

    Starts Kafka and DynamoDB Local on free ports (the first time it downloads them, about 80 MB), and writes to five
    tables. One of them holds items from before, which a snapshot loads meanwhile. Kills a worker halfway with SIGKILL,
    compares what is in Kafka with what was written and with the tables, and prints the verdict. The exit code is 0 only
    if nothing is lost, repeated, out of order or other than in its table. Ctrl-C ends all of it at any moment.

    With --lake, `tailrace lake` writes the changes to a folder, which stays. The demo checks that each is there once,
    and prints a query and how to repeat it.

    \b
    Example:
      tailrace demo
      tailrace demo --keep
      tailrace demo --lake
      tailrace demo --seconds 10 --json
    """
    from tailrace.cli.downloads import download_progress

    with brought_by("local"):
        from tailrace.cli.demo_screen import LiveScreen, PlainScreen, show_verdict
        from tailrace.local.demo import Demo, DemoOptions
    if lake:
        with brought_by("lake"):
            from tailrace.local.demo_lake import DemoLake

    is_live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not as_json
    screen = LiveScreen() if is_live else PlainScreen(sys.stderr if as_json else sys.stdout)
    options = DemoOptions(seconds=seconds, workers=workers, seed=seed, keep=keep)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with Demo(options, screen, download_progress, DemoLake() if lake else None) as running:
        try:
            with screen:
                result = running.run()
            if as_json:
                typer.echo(json.dumps(summary(result)))
            else:
                show_verdict(result)
                if result.lake is not None:
                    typer.echo(how_to_query(result.lake))
            if keep:
                _stay_up(how_to_play(result), err=as_json)
        except KeyboardInterrupt:
            _begin_to_end()
            raise
        finally:
            if running.failed:
                _show_logs(running)
    raise typer.Exit(exit_code(result))


def exit_code(result: DemoResult) -> int:
    """Return the exit code of a demo: 0 only if every promise was kept."""
    return 0 if result.good else EXIT_BAD


def summary(result: DemoResult) -> dict[str, Any]:
    """Return what `--json` prints."""
    verdict = result.verdict
    return {
        "good": result.good,
        "made": verdict.made,
        "found": verdict.found,
        "items_to_load": verdict.loaded,
        "items_loaded_by_rows": verdict.loaded_by_rows,
        "lost": verdict.lost,
        "repeated": verdict.repeated,
        "out_of_order": verdict.out_of_order,
        "unexpected": verdict.unexpected,
        "misplaced": verdict.misplaced,
        "without_tombstone": verdict.without_tombstone,
        "stale": verdict.stale,
        "faults": [str(fault) for fault in verdict.examples],
        "write_to_visible_ms": _times(result.times),
        "write_to_visible_ms_while_no_worker_came_or_went": _times(result.calm_times),
        "take_over_s": round(result.take_over_s, 3),
        "exit_codes": result.exit_codes,
        "seed": result.seed,
        "lake": None if result.lake is None else _lake(result.lake),
    }


def how_to_query(lake: LakeResult) -> str:
    """Return the query of a lake, its answer, and how to ask again."""
    return f"""\
{lake.query}
{lake.answer}
The lake stays in {lake.folder}. Change the query and ask again:

{sys.executable} -c 'import duckdb; print(duckdb.sql(open("{lake.query_file}").read()))'
"""


def how_to_play(result: DemoResult) -> str:
    """Return the hint for a demo that keeps running."""
    from tailrace.local.dynamodb import CREDENTIALS

    exports = [f"export {name}={value}" for name, value in CREDENTIALS.items()]
    if not shutil.which("tailrace"):
        exports.append(f'export PATH="{Path(sys.executable).parent}:$PATH"')
    return _HOW_TO_PLAY.format(
        folder=result.pipeline_file.parent,
        file=result.pipeline_file.name,
        exports="\n".join(exports),
        endpoint_url=result.endpoint_url,
    )


def _times(times: Times | None) -> dict[str, float] | None:
    if times is None:
        return None
    return {"p50": round(times.p50_ms, 1), "p99": round(times.p99_ms, 1), "max": round(times.max_ms, 1)}


def _lake(lake: LakeResult) -> dict[str, Any]:
    return {"folder": str(lake.folder), "query": lake.query, "answer": lake.answer, **asdict(lake.verdict)}


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _begin_to_end() -> None:
    """Print that everything is being stopped; this is short and should not be interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.stderr.write("ending the workers and services\n")


def _stay_up(told: str, *, err: bool) -> None:
    """Show the hint and wait for Ctrl-C, which is a clean end from then on."""
    with contextlib.suppress(KeyboardInterrupt):
        typer.echo(told, err=err)
        while True:
            time.sleep(1)
    _begin_to_end()


def _show_logs(running: Demo) -> None:
    if running.fleet is None:
        return
    for worker in running.fleet.workers:
        sys.stderr.write(f"\nthe end of {worker.log_path}:\n{worker.log_end()}\n")
