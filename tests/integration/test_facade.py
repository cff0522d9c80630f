"""`tailrace.open(…)` on a real pipeline: the methods do what the commands do, and fail with the same errors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import msgspec
import pytest

import tailrace
from support.bench import Bench
from support.cli import CommandLine
from support.names import unique
from support.pipeline_file import write_file
from tailrace.local.kafka import KafkaBroker
from tailrace.remedy import RunPipeline


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def test_a_program_does_what_the_commands_do(bench: Callable[..., Bench], run: CommandLine, tmp_path: Path) -> None:
    made = bench(tables=1, rate=20)
    made.worker()
    with made.workload:
        made.wait_published(20)
    made.settle()
    pipeline = tailrace.open(made.file)
    told: list[tailrace.Progress] = []
    plan = pipeline.plan(progress=told.append)
    assert (plan.exists, told[0]) == (True, tailrace.Progress("tables", 0, 1))
    status = pipeline.status()
    assert [(table.table, table.state, table.severity) for table in status.tables] == [
        (plan.tables[0].table, "streaming", "ok")
    ]
    assert set(msgspec.to_builtins(status)) == set(run("status", made.file, "--json").json())
    records = list(islice(pipeline.tail(start="beginning"), 20))
    assert {record.table for record in records} == {plan.tables[0].table}
    exported = pipeline.export(tmp_path / "backup", tables=made.tables)
    assert exported.at_end
    assert exported.topics[made.topic(made.tables[0])].records >= len(records)
    assert (pipeline.method(), pipeline.switch("worker").fenced) == ("worker", 0)
    assert pipeline.redrive(dry_run=True).changes == []
    with pytest.raises(tailrace.WorldError, match="has no gap"):
        pipeline.accept_gap(plan.tables[0].table)


def test_an_error_carries_the_code_of_its_remedy(kafka: KafkaBroker, tmp_path: Path) -> None:
    pipeline = tailrace.open(write_file(tmp_path, kafka.client_properties(), unique("never-run")))
    with pytest.raises(tailrace.WorldError) as error:
        pipeline.status()
    assert error.value.remedy == RunPipeline()
