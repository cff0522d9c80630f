"""Two files of one name on a real broker: nothing that runs is stopped or sent elsewhere until it is accepted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.bench import Bench
from support.cli import CommandLine
from support.kafka_clients import create_topic
from support.names import unique
from support.pipeline_file import write_file
from support.waiting import wait_for
from tailrace.config import LoadedPipeline, Pipeline, load
from tailrace.config.definition import definition_of
from tailrace.core.definition import differences
from tailrace.errors import WorldError
from tailrace.kafka.checkpoint_topic import read_checkpoint_state
from tailrace.local.kafka import KafkaBroker
from tailrace.operations import claims
from tailrace.operations.definition import define
from tailrace.remedy import AcceptChanges
from tailrace.remedy_sentences import sentence as words


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def test_a_second_file_of_the_same_name_is_refused_and_once_accepted_ends_the_first_ones_workers(
    bench: Callable[..., Bench], run: CommandLine
) -> None:
    pipeline = bench(tables=2)
    source: dict[str, Any] = pipeline.settings["source"]
    mine, others = pipeline.tables
    first = pipeline.write_file(source=source | {"tables": [mine]})
    second = pipeline.write_file(source=source | {"tables": [others]}, topic="{pipeline}.other.{table}")
    worker = pipeline.worker(first)
    wait_for("the table is listed", lambda: mine in pipeline.checkpoint_state().tables)
    refused = pipeline.worker(second, ready=False)
    assert refused.wait(60) == 3
    (sentence,) = refused.lines
    assert f"table {mine} would be left out" in sentence
    assert "give it another `name`" in sentence
    assert words(AcceptChanges("worker")) in sentence
    shown = run("plan", second)
    assert shown.code == 3
    assert f"table {mine} would be left out" in shown.out
    assert pipeline.checkpoint_state().tables[mine].state == "streaming"
    assert worker.exit_code is None

    accepted = pipeline.worker(second, "--accept-changes")
    assert worker.wait(30) == 3
    assert f"table {mine} would be left out" in worker.lines[-1]
    wait_for("the table is left out", lambda: pipeline.checkpoint_state().tables[mine].state == "left out")
    wait_for("the other runs", lambda: others in pipeline.checkpoint_state().tables)
    old = pipeline.worker(first, ready=False)
    assert old.wait(60) == 3, "a worker that is started again with the old file does not undo it"
    assert accepted.exit_code is None


def test_adding_a_table_is_a_rolling_restart_that_stops_nothing(bench: Callable[..., Bench]) -> None:
    """The worker with the old file is the enumerator all the while."""
    pipeline = bench(tables=2)
    source: dict[str, Any] = pipeline.settings["source"]
    kept, added = pipeline.tables
    with pipeline.workload:
        old = pipeline.worker(pipeline.write_file(source=source | {"tables": [kept]}))
        wait_for("the table is listed", lambda: kept in pipeline.checkpoint_state().tables)
        new = pipeline.worker()
        old.wait_logged(f"another worker runs with another definition: source.tables has {added} in addition")
        new.wait_logged(f"the pipeline's definition is changed: source.tables has {added} in addition")
        old.terminate()
        assert old.wait() == 0
        wait_for("the added table is listed", lambda: added in pipeline.checkpoint_state().tables)
        again = pipeline.worker(pipeline.write_file(source=source | {"tables": [kept]}), ready=False)
        assert again.wait(60) == 3, "it would leave the added table out"
    pipeline.settle()


def test_of_two_first_starts_at_the_same_moment_one_is_refused(
    kafka: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have seen that nothing is recorded; then they record at once."""
    name = unique("twice")
    pipelines = [_pipeline(kafka, tmp_path, name, table) for table in ("orders", "users")]
    create_topic(kafka.client_properties(), f"{name}.checkpoints", partitions=4, config={"cleanup.policy": "compact"})
    both = threading.Barrier(2)
    claim = claims.claim_first_lane
    waited = set[int]()

    def claim_at_once(*arguments: Any, **options: Any) -> Any:
        if threading.get_ident() not in waited:
            waited.add(threading.get_ident())
            both.wait(30)
        return claim(*arguments, **options)

    monkeypatch.setattr(claims, "claim_first_lane", claim_at_once)
    outcomes: list[str] = []

    def start(pipeline: Pipeline) -> None:
        try:
            define(LoadedPipeline(pipeline), unique("worker"), accept_changes=False)
            outcomes.append(pipeline.source.named_tables[0])
        except WorldError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=start, args=(pipeline,)) for pipeline in pipelines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorded = read_checkpoint_state(kafka.client_properties(), name, 4).definition
    assert recorded is not None
    (winner,) = recorded.tables
    (loser,) = {"orders", "users"} - {winner}
    assert winner in outcomes
    assert loser not in outcomes
    assert any(f"table {winner} would be left out" in outcome for outcome in outcomes)


def test_the_definition_is_the_files_and_holds_no_secret(kafka: KafkaBroker, tmp_path: Path) -> None:
    steps = [{"hash": {"attributes": ["mail"], "key": "s" * 32}}]
    one = _pipeline(kafka, tmp_path, "shop", "orders", transform=steps)
    other = _pipeline(kafka, tmp_path, "shop", "orders", transform=[{"exclude": ["mail"]}])
    assert differences(definition_of(one), definition_of(other)) == ("transform is another",)
    assert "s" * 32 not in repr(definition_of(one))


def _pipeline(kafka: KafkaBroker, folder: Path, name: str, table: str, **settings: Any) -> Pipeline:
    return load(write_file(folder, kafka.client_properties(), name, tables=[table], lanes=4, **settings)).pipeline
