"""`tailrace lake` for a lake with `engine: flink`: runs its job here, or prints it for a cluster."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING

import typer

from tailrace.cli.edge import EXIT_INTERRUPTED
from tailrace.errors import FileError

if TYPE_CHECKING:
    from tailrace.cli.lake_script import Script
    from tailrace.config import AnyLoaded
    from tailrace.operations.lake_targets import LakeTarget


def flink_target(loaded: AnyLoaded, name: str | None, *, with_script: bool) -> LakeTarget | None:
    """Return the lake that Flink is to write; None when Tailrace is to. Raises FileError when it cannot be told."""
    from tailrace.operations.lake_targets import require_targets

    targets = require_targets(loaded, name)
    by_flink = [each for each in targets if each.lake.engine == "flink"]
    if not by_flink:
        if with_script:
            hint = "set `engine: flink`, or leave --script out"
            raise FileError("the lake is not written by Flink, so that there is no script", path="--script", hint=hint)
        return None
    if len(targets) > 1:
        named = ", ".join(each.lake.name for each in by_flink)
        raise FileError(
            f"Flink writes {named}, and a process runs one job of Flink and nothing else",
            hint="choose the lake with --target",
        )
    return by_flink[0]


def run_flink(
    target: LakeTarget,
    stopping: Sized,
    *,
    script: Script | None,
    once: bool,
    metrics_port: int | None,
    as_json: bool,
) -> None:
    """Run the job of a lake until `stopping` has something, or print it. Raises TailraceError."""
    import msgspec

    from tailrace.cli.downloads import download_progress
    from tailrace.flink.environment import install
    from tailrace.flink.lake_job import LakeJob
    from tailrace.flink.lake_script import script_of

    with target.telling():
        if script is not None:
            typer.echo(script_of(target, script.value), nl=False)
            return
        if metrics_port is not None:
            raise FileError(
                "Flink has metrics of its own", path="--metrics-port", hint="leave it out, or leave `engine: flink` out"
            )
        job = LakeJob(target)
        with download_progress("jars of Apache Flink") as progress:
            environment = install(lambda text: typer.echo(text, err=True), progress)
        report = job.run(environment, lambda: bool(stopping), once=once)
    if as_json:
        typer.echo(msgspec.json.encode(report).decode())
    else:
        typer.echo(f"{report.location}: the job of Flink is stopped, its state is {report.state}")
        if report.at_end:
            typer.echo(f"{report.location} has all that the topics held at the start")
    if once and not report.at_end:
        raise typer.Exit(EXIT_INTERRUPTED)
