"""`tailrace run a.yaml b.yaml`: several pipelines in one process, on a real broker."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from support.bench import Bench
from support.cli import CommandLine
from support.waiting import wait_for
from support.worker_process import STOP_TIMEOUT_S


def test_each_publishes_everything_and_is_named_in_logs_metrics_and_probes(bench: Callable[..., Bench]) -> None:
    shop, bank = bench(tables=2), bench(tables=1, seed=2)
    with shop.workload, bank.workload:
        worker = shop.worker(shop.file, str(bank.file), ready=False)
        for each in (shop, bank):
            worker.wait_logged("lanes assigned", pipeline=each.name)
            for table in each.tables:
                worker.wait_logged("streaming", pipeline=each.name, table=table)
        wait_for("both are ready", lambda: not worker.unready())
        shop.wait_published(50)
        bank.wait_published(30)
        for each in (shop, bank):
            assert worker.metric("tailrace_changes_published_total", pipeline=each.name) > 0
            assert worker.metric("tailrace_info", pipeline=each.name) == 1
        assert worker.metric("tailrace_kafka_up") == 2
        assert worker.unhealthy() == ""
    bank.wait_complete()
    shop.settle()
    verdict = bank.verdict()
    assert verdict.good, verdict
    unnamed = {line["event"] for line in worker.logged_by("tailrace.worker") if "pipeline" not in line}
    assert unnamed == set()


def test_a_pipeline_that_ends_stops_the_others_cleanly_and_is_named(bench: Callable[..., Bench]) -> None:
    shop, bank = bench(tables=2), bench(tables=1)
    worker = shop.worker(shop.file, str(bank.file), ready=False)
    for each in (shop, bank):
        worker.wait_logged("lanes assigned", pipeline=each.name)
    wait_for("shop is listed", lambda: set(shop.tables) <= set(shop.checkpoint_state().tables))
    source = shop.settings["source"]
    other = shop.worker(shop.write_file(source=source | {"tables": shop.tables[:1]}), "--accept-changes")
    assert worker.wait(60) == 3
    assert worker.lines[-1].startswith(f"error: pipeline {shop.name}: the pipeline {shop.name} was given another")
    worker.wait_logged("this pipeline has ended; the others are stopped", pipeline=shop.name)
    began_s = time.monotonic()
    bank.worker()
    wait_for("its lanes are free at once", lambda: bank.owners() != {} and not bank.running()[-1].unready())
    assert time.monotonic() - began_s < STOP_TIMEOUT_S
    assert other.exit_code is None


def test_two_files_of_one_name_are_refused(bench: Callable[..., Bench], capsys: pytest.CaptureFixture[str]) -> None:
    shop = bench(tables=1)
    again = shop.write_file(lanes=4)
    refused = CommandLine(capsys)("run", shop.file, again)
    assert refused.code == 2
    assert f"{shop.name} is the name of the pipeline in {shop.file}, too" in refused.err
    assert str(again) in refused.err
