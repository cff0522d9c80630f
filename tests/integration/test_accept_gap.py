"""`tailrace accept-gap` on a real broker: it asks, it is refused without a gap, and the table goes on."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.bench import LANES, Bench
from support.checkpoints import BORN_MS, birth, checkpoint, lineage, shard, table, write_topic
from support.cli import CommandLine
from support.names import unique
from support.pipeline_file import write_file
from support.waiting import wait_for
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.kafka.checkpoint_topic import read_checkpoint_state
from tailrace.local.kafka import KafkaBroker

GAP = [
    birth(4),
    table(),
    lineage(shard(1), 4),
    checkpoint(shard(1), 4, state="gap", sequence="17", detail="the position is trimmed"),
]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@pytest.fixture
def name() -> str:
    return unique("gap")


@pytest.fixture
def file(kafka: KafkaBroker, tmp_path: Path, name: str) -> Path:
    """The file of a pipeline with a gap in its table orders."""
    write_topic(kafka.client_properties(), name, 4, GAP)
    return write_file(tmp_path, kafka.client_properties(), name, lanes=4)


def on_terminal(answer: str, *arguments: str | Path) -> int:
    """Run a command with a terminal as its input, and type an answer."""
    ours, its = pty.openpty()
    try:
        command = [sys.executable, "-m", "tailrace", *arguments]
        with subprocess.Popen(command, stdin=its, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            os.write(ours, f"{answer}\n".encode())
            process.communicate(timeout=30)
        return process.returncode
    finally:
        os.close(ours)
        os.close(its)


def checkpoint_state(kafka: KafkaBroker, name: str) -> CheckpointState:
    return read_checkpoint_state(kafka.client_properties(), name, 4)


def test_the_loss_is_told_and_accepted(run: CommandLine, file: Path, kafka: KafkaBroker, name: str) -> None:
    code, out, err = run("accept-gap", file, "--table", "orders", "--yes")
    assert code == 0
    assert err == (
        f"lost: what was changed in shard {shard(1).shard_id} after sequence number 17 "
        "up to the oldest change that its stream still has (the position is trimmed)\n"
    )
    assert out == f"accepted: table orders goes on; `tailrace status {file}` shows it\n"
    assert not checkpoint_state(kafka, name).is_stopped("orders")
    assert run("accept-gap", file, "--table", "orders", "--yes").code == 3


def test_json_names_what_is_lost(run: CommandLine, file: Path) -> None:
    outcome = run("accept-gap", file, "--table", "orders", "--yes", "--json").json()
    assert [(loss["shard"], loss["sequence"]) for loss in outcome["lost"]] == [(shard(1).shard_id, "17")]


def test_nothing_is_accepted_where_nobody_can_be_asked(
    run: CommandLine, file: Path, kafka: KafkaBroker, name: str
) -> None:
    code, _, err = run("accept-gap", file, "--table", "orders")
    assert code == 2
    assert "add --yes to accept the loss" in err
    assert checkpoint_state(kafka, name).is_stopped("orders")


@pytest.mark.parametrize(("answer", "accepts"), [("y", True), ("n", False), ("", False)])
def test_on_a_terminal_the_operator_is_asked(
    answer: str, accepts: bool, file: Path, kafka: KafkaBroker, name: str
) -> None:
    code = on_terminal(answer, "accept-gap", file, "--table", "orders")
    assert code == (0 if accepts else 1)
    assert checkpoint_state(kafka, name).is_stopped("orders") != accepts


@pytest.mark.parametrize("table", ["users", "order"])
def test_a_table_without_a_gap_is_refused(run: CommandLine, file: Path, table: str) -> None:
    code, _, err = run("accept-gap", file, "--table", table, "--yes")
    assert (code, err) == (3, f"error: the pipeline has no table {table}; its tables are: orders\n")


def test_a_table_that_stands_at_a_gap_goes_on_without_a_restart(run: CommandLine, bench: Callable[..., Bench]) -> None:
    """The gap is made: the checkpoint of a stopped pipeline says that its position is trimmed."""
    pipeline = bench(tables=2)
    stopped, other = pipeline.tables
    with pipeline.workload:
        pipeline.worker()
        ref = pipeline.shard_of(stopped)
        wait_for("changes are published", lambda: ref in pipeline.checkpoint_state().checkpoints)
        pipeline.stop_workers()
        before = pipeline.checkpoint_state().checkpoints[ref]
        gap = checkpoint(
            ref, LANES, table=stopped, state="gap", sequence=before.sequence, created_ms=before.created_ms,
            at_ms=BORN_MS, detail="made by the test",
        )  # fmt: skip
        write_topic(pipeline.kafka, pipeline.name, LANES, [gap])
        began_ms = int(time.time() * 1000)
        pipeline.worker()
        ref_of_other = pipeline.shard_of(other)

        def other_goes_on() -> bool:
            found = pipeline.checkpoint_state().checkpoints.get(ref_of_other)
            return found is not None and found.at_ms > began_ms

        wait_for("the other goes on", other_goes_on)
        assert pipeline.checkpoint_state().checkpoints[ref].state == "gap"
        assert run("accept-gap", pipeline.file, "--table", stopped, "--yes").code == 0
        wait_for("the table goes on", lambda: pipeline.checkpoint_state().checkpoints[ref].state == "open")
    pipeline.settle()
