"""`tailrace status` of pipelines on a real broker."""

from __future__ import annotations

import itertools
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from support.bench import LANES, Bench
from support.checkpoints import birth, checkpoint, lineage, shard, table, write_topic
from support.cli import CommandLine
from support.kafka_clients import client, create_topic
from support.names import unique
from support.pipeline_file import write_file
from support.waiting import TIMEOUT_S, wait_for
from tailrace.core.shard import lane_of
from tailrace.local.kafka import KafkaBroker


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@pytest.fixture
def file(kafka: KafkaBroker, tmp_path: Path) -> Path:
    """The file of a pipeline of 4 lanes that does not exist yet."""
    return write_file(tmp_path, kafka.client_properties(), unique("status"), lanes=4)


def name_of(file: Path) -> str:
    return file.read_text().splitlines()[0].removeprefix("name: ")


def test_a_pipeline_that_has_never_run_is_refused(run: CommandLine, file: Path) -> None:
    code, out, err = run("status", file)
    name = name_of(file)
    assert (code, out) == (3, "")
    assert err == (
        f"error: {file}:3: kafka.bootstrap.servers: "
        f"the pipeline {name} does not exist yet: Kafka has no topic {name}.checkpoints; "
        "`tailrace run` makes it; if it has run, check kafka.bootstrap.servers\n"
    )


def test_shards_without_a_worker_are_shown_with_nobody_as_owner(
    run: CommandLine, file: Path, kafka: KafkaBroker
) -> None:
    created_ms = int(time.time() * 1000) - 90_000
    writes = [
        birth(4),
        table(),
        *(lineage(shard(number), 4) for number in (1, 2)),
        checkpoint(shard(1), 4, sequence="17", created_ms=created_ms),
        checkpoint(shard(2), 4, state="ended"),
    ]
    write_topic(kafka.client_properties(), name_of(file), 4, writes)
    status = run("status", file, "--json").json()
    assert status["workers"] == []
    (orders,) = status["tables"]
    assert orders["shards_by_state"] == {"open": 1, "ended": 1}
    (only,) = orders["shards"]
    assert (only["shard"], only["sequence"], only["owner"]) == (shard(1).shard_id, "17", None)
    assert 90 <= only["last_change_s"] < 150
    assert only["lag_s"] is None, "it is read to its end, and quiet"
    assert only["lane"] == lane_of(shard(1), 4)
    code, text, _ = run("status", file, "--all")
    assert code == 0
    assert [line.split()[1] for line in text.splitlines() if line.startswith("  shardId")] == ["open", "ended"]
    assert text.count("nobody") == 2


def test_a_pipeline_without_a_file_is_found_by_its_name_and_its_gap_accepted(
    run: CommandLine, file: Path, kafka: KafkaBroker
) -> None:
    servers, name = kafka.client_properties()["bootstrap.servers"], name_of(file)
    gap = checkpoint(shard(1), 4, state="gap", detail="its position is trimmed")
    write_topic(kafka.client_properties(), name, 4, [birth(4), table(), lineage(shard(1), 4), gap])
    flags = ("--name", name, "--bootstrap", servers)
    code, text, _ = run("status", *flags)
    assert code == 0
    assert "table orders  stopped by a gap" in text
    remedy = next(line for line in text.splitlines() if "tailrace accept-gap" in line)
    assert run(*remedy.split("then: tailrace ")[1].split(), "--yes").code == 0
    assert "stopped" not in run("status", *flags).out
    code, out, err = run("status", file, "--name", name)
    assert (code, out, err) == (2, "", "error: a file excludes --name and --bootstrap: it says them\n")
    code, out, err = run("status")
    assert (code, out) == (2, "")
    assert err == "error: give a pipeline file, or the --name and --bootstrap of a run without one\n"


def test_dead_letters_are_told_until_they_expire(run: CommandLine, file: Path, kafka: KafkaBroker) -> None:
    write_topic(kafka.client_properties(), name_of(file), 4, [birth(4), table()])
    assert run("status", file, "--json").json()["dead_letters_at_most"] == 0
    producer = Producer(client(kafka.client_properties()))
    producer.produce(create_topic(kafka.client_properties(), f"{name_of(file)}.dead-letters"), b"{}")
    assert producer.flush(TIMEOUT_S) == 0
    assert run("status", file, "--json").json()["dead_letters_at_most"] == 1
    assert "! there are dead letters, 1 at most; `tailrace redrive FILE --dry-run`" in run("status", file).out


def test_an_unfinished_rescale_is_told_instead_of_a_wrong_picture(
    run: CommandLine, file: Path, kafka: KafkaBroker
) -> None:
    write_topic(kafka.client_properties(), name_of(file), 4, [birth(2)])
    code, out, err = run("status", file)
    assert (code, out) == (3, "")
    assert "run `tailrace rescale` again" in err


def test_a_pipeline_is_read_to_its_end_while_one_lane_is_written_all_the_time(
    run: CommandLine, file: Path, kafka: KafkaBroker
) -> None:
    write_topic(kafka.client_properties(), name_of(file), 4, [birth(4), table(), lineage(shard(1), 4)])
    stopped = threading.Event()

    def keep_writing() -> None:
        for number in itertools.count():
            if stopped.wait(0.02):
                return
            change = checkpoint(shard(1), 4, sequence=str(number))
            write_topic(kafka.client_properties(), name_of(file), 4, [change])

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        began_s = time.monotonic()
        assert run("status", file).code == 0
        assert time.monotonic() - began_s < 10
    finally:
        stopped.set()
        writer.join()


def test_watching_as_json_prints_a_line_again_and_again_until_ctrl_c(file: Path, kafka: KafkaBroker) -> None:
    write_topic(kafka.client_properties(), name_of(file), 4, [birth(4), table()])
    command = [sys.executable, "-m", "tailrace", "status", str(file), "--watch", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
    assert first["tables"] == second["tables"]
    assert 2_000 <= second["at_ms"] - first["at_ms"] < 10_000


def test_on_a_terminal_watching_redraws_until_ctrl_c(file: Path, kafka: KafkaBroker) -> None:
    write_topic(kafka.client_properties(), name_of(file), 4, [birth(4), table(), lineage(shard(1), 4)])
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "tailrace", "status", str(file), "--watch"]
    try:
        with subprocess.Popen(command, stdin=its, stdout=its, stderr=subprocess.PIPE) as process:
            shown = b""
            while shown.count(b"table orders") < 2:
                shown += os.read(ours, 4096)
            os.kill(process.pid, signal.SIGINT)
            assert process.wait(10) == 0
            assert process.stderr is not None
            assert process.stderr.read() == b""
    finally:
        os.close(ours)
        os.close(its)
    assert b"\x1b[" in shown


def test_a_running_pipeline_shows_its_workers_and_how_far_they_are(
    run: CommandLine, bench: Callable[..., Bench]
) -> None:
    pipeline = bench(tables=3)
    with pipeline.workload:
        worker = pipeline.worker()
        wait_for("a change of each table is published", lambda: _published(pipeline) == set(pipeline.tables))
        status = run("status", pipeline.file, "--json").json()
    (owner,) = status["workers"]
    assert owner.split(":")[1] == str(worker.pid)
    assert status["lanes"] == LANES
    assert [each["table"] for each in status["tables"]] == sorted(pipeline.tables)
    for each in status["tables"]:
        (only,) = each["shards"]
        assert (each["state"], only["state"], only["owner"]) == ("streaming", "open", owner)
        assert int(only["sequence"]) > 0
        assert 0 <= each["last_change_s"] < 90  # DynamoDB Local rounds creation times down to the minute
    assert f"workers: {owner}" in run("status", pipeline.file).out
    pipeline.settle()
    wait_for("the group is empty", lambda: not run("status", pipeline.file, "--json").json()["workers"])


def _published(pipeline: Bench) -> set[str]:
    """Return the tables of which a checkpoint tells that a change is published."""
    return {checkpoint.table for checkpoint in pipeline.checkpoint_state().checkpoints.values() if checkpoint.sequence}
