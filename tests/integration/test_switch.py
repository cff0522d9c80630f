"""`tailrace switch` on a real broker: it asks, and workers end with a sentence that is true."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.bench import Bench
from support.cli import CommandLine
from support.waiting import wait_for


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def test_a_switch_asks_and_workers_say_who_publishes_now(run: CommandLine, bench: Callable[..., Bench]) -> None:
    pipeline = bench(tables=1)
    worker = pipeline.worker()
    wait_for("the table is listed", lambda: pipeline.tables[0] in pipeline.checkpoint_state().tables)
    code, _, err = run("switch", pipeline.file, "--to", "lambda")
    assert code == 2
    assert f"pipeline {pipeline.name} is served by worker, which is fenced" in err
    assert "add --yes to switch" in err
    assert pipeline.checkpoint_state().method == "worker"
    assert run("switch", pipeline.file, "--to", "worker").code == 0, "nothing is done, so nobody need be asked"
    assert run("switch", pipeline.file, "--to", "lambda", "--yes").code == 0
    assert worker.wait() == 3
    assert worker.lines == [
        f"error: the pipeline {pipeline.name} is served by the method lambda, so the worker may not publish; "
        "to go over to this one: tailrace switch FILE --to worker"
    ]
    assert f"pipeline {pipeline.name}: 8 lanes, served by Lambda, workers: none" in run("status", pipeline.file).out
