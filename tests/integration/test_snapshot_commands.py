"""`tailrace snapshot` on a real broker and DynamoDB Local: what it writes to the checkpoint topic, and what it shows.

But for the last test no worker runs: what one would write is written here.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from confluent_kafka import Producer

from support.bench import Bench
from support.checkpoints import birth, stream, table, write_topic
from support.cli import CommandLine
from support.kafka_clients import TIMEOUT_S, client
from support.names import unique
from support.pipeline_file import write_file
from support.snapshot_records import result, segment
from support.snapshots import SnapshotTable
from support.waiting import wait_for
from tailrace.config import load
from tailrace.core.checkpoint import SegmentRecord, SnapshotRecord, Write
from tailrace.core.checkpoint_bytes import encode_key, encode_record
from tailrace.core.snapshot_state import SnapshotState
from tailrace.errors import WorldError
from tailrace.kafka.checkpoint_topic import read_checkpoint_state, topic_name
from tailrace.local.dynamodb import DynamoDBLocal
from tailrace.local.kafka import KafkaBroker
from tailrace.operations import snapshot

LANES = 4
TABLE = unique("loaded")
ITEMS = 30


@pytest.fixture(scope="module", autouse=True)
def loaded_table(dynamodb_client: Any) -> Iterator[None]:
    dynamodb_client.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for number in range(ITEMS):
        dynamodb_client.put_item(TableName=TABLE, Item={"id": {"S": str(number)}, "note": {"S": "x" * 100}})
    yield
    dynamodb_client.delete_table(TableName=TABLE)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


class Pipeline:
    """A pipeline whose worker has listed the table, and then stopped."""

    def __init__(self, folder: Path, kafka: KafkaBroker, dynamodb: DynamoDBLocal, **settings: Any) -> None:
        self.name = unique("snapshots")
        self._kafka = kafka.client_properties()
        write_topic(self._kafka, self.name, LANES, [birth(LANES), table(TABLE), table("gone")])
        source = {"endpoint_url": dynamodb.endpoint_url}
        tables = (TABLE, "gone")
        self.file = write_file(folder, self._kafka, self.name, tables=tables, source=source, lanes=LANES, **settings)

    def state(self) -> SnapshotState:
        return read_checkpoint_state(self._kafka, self.name, LANES).snapshots

    def write(self, *writes: Write) -> None:
        """Write what a worker would."""
        producer = Producer(client(self._kafka))
        for each in writes:
            value = encode_record(each.record)
            producer.produce(topic_name(self.name), value, encode_key(each.key), each.partition)
        assert producer.flush(TIMEOUT_S) == 0


@pytest.fixture
def pipeline(tmp_path: Path, kafka: KafkaBroker, dynamodb: DynamoDBLocal, aws_environment: dict[str, str]) -> Pipeline:
    return Pipeline(tmp_path, kafka, dynamodb, snapshot={"segments": 6, "filter": "item.note"})


def test_a_snapshot_is_started_paused_resumed_and_cancelled(run: CommandLine, pipeline: Pipeline) -> None:
    started = run("snapshot", "start", pipeline.file, "--table", TABLE, "--json")
    assert started.code == 0
    assert f"table {TABLE}: all items where item.note, in 6 segments" in started.err
    assert f"reads about {ITEMS} items" in started.err
    snapshot_id = started.json()["id"]
    state = pipeline.state()
    record = state.snapshots[TABLE]
    assert (record.id, record.source, record.reason, record.segments) == (snapshot_id, "scan", "manual", 6)
    assert (record.filter, record.item_count, record.stream) == ("item.note", ITEMS, stream(TABLE))
    assert {segment.name for segment in state.segments_of(TABLE)} == {str(number) for number in range(6)}
    assert all(segment.state == "running" and segment.cursor is None for segment in state.segments_of(TABLE).values())
    assert state.is_running(TABLE)

    for order, is_running in (("pause", False), ("resume", True), ("cancel", False)):
        more = ("--yes",) if order == "cancel" else ()
        ordered = run("snapshot", order, pipeline.file, "--table", TABLE, *more)
        assert (ordered.code, ordered.err) == (0, "")
        assert f"snapshot {snapshot_id} of table {TABLE}" in ordered.out
        assert pipeline.state().is_running(TABLE) == is_running
        refused = run("snapshot", order, pipeline.file, "--table", TABLE, *more)
        assert refused.code == 3, "it is ordered already"
    assert pipeline.state().order_of(TABLE) == "cancel"


def test_an_unfinished_snapshot_keeps_others_away_and_an_ended_one_does_not(
    run: CommandLine, pipeline: Pipeline
) -> None:
    first = run("snapshot", "start", pipeline.file, "--table", TABLE, "--json").json()["id"]
    code, _, err = run("snapshot", "start", pipeline.file, "--table", TABLE)
    assert code == 3
    assert f"table {TABLE} has a snapshot that has not ended: {first}" in err
    assert f"tailrace snapshot cancel FILE --table {TABLE}" in err
    pipeline.write(result(TABLE, id=first))
    second = run("snapshot", "start", pipeline.file, "--table", TABLE, "--json").json()["id"]
    assert pipeline.state().snapshots[TABLE].id == second > first


def test_a_snapshot_by_keys_has_them_in_its_segments(run: CommandLine, pipeline: Pipeline, tmp_path: Path) -> None:
    keys = tmp_path / "keys.jsonl"
    keys.write_text("".join(f'{{"id": "{number}"}}\n' for number in range(1_200)) + '{"id": {"S": "0"}}\n')
    run("snapshot", "start", pipeline.file, "--table", TABLE, "--keys", keys)
    state = pipeline.state()
    record = state.snapshots[TABLE]
    assert (record.source, record.segments, record.item_count) == ("keys", 3, 1_200)
    found = [json.loads(key)["id"]["S"] for each in state.segments_of(TABLE).values() for key in each.keys]
    assert sorted(found, key=int) == [str(number) for number in range(1_200)]


def test_of_two_starts_at_the_same_moment_one_finds_the_snapshot_of_the_other(pipeline: Pipeline) -> None:
    """Each has read that there is no snapshot before the other writes."""
    loaded = load(pipeline.file)
    both_have_read = Barrier(2)
    written = snapshot._write

    def wait_and_write(*args: Any) -> None:
        both_have_read.wait(TIMEOUT_S)
        written(*args)

    def start(number: int) -> str:
        record = SnapshotRecord(id=f"racing-{number}", source="scan", reason="manual", segments=1, at_ms=1)
        try:
            running = SegmentRecord(table=TABLE, state="running", at_ms=1)
            return snapshot.write_snapshot(loaded, TABLE, record, {"0": running}).id
        except WorldError as error:
            return str(error)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(snapshot, "_write", wait_and_write)
        outcomes = list(pool.map(start, range(2)))
    started = pipeline.state().snapshots[TABLE].id
    assert started in outcomes
    (refused,) = set(outcomes) - {started}
    assert refused.startswith(f"table {TABLE} has a snapshot that has not ended: {started}")


def test_nothing_is_started_of_what_is_wrong(run: CommandLine, pipeline: Pipeline, tmp_path: Path) -> None:
    keys = tmp_path / "keys.jsonl"
    keys.write_text('{"id": "1"}\n{"id": 2}\n{"key": "1"}\n')
    for options, code, message in (
        (("--table", TABLE, "--keys", keys), 2, f"{keys}:2: id must be a text, as the key of the table is"),
        (("--table", TABLE, "--keys", tmp_path / "none"), 2, "cannot read"),
        (("--table", TABLE, "--filter", "op == 'c'"), 2, "op of every row is 'r'"),
        (("--table", "users"), 3, "table users is no table of the pipeline"),
        (("--table", "gone"), 3, "there is no table gone"),
    ):
        outcome = run("snapshot", "start", pipeline.file, *options)
        assert (outcome.code, outcome.out) == (code, "")
        assert message in outcome.err
    shown = run("snapshot", "start", pipeline.file, "--table", TABLE, "--dry-run", "--json").json()
    assert (shown["segments"], shown["estimate"]["items"]) == (6, ITEMS)
    assert pipeline.state().snapshots == {}


def test_status_shows_what_workers_write(run: CommandLine, pipeline: Pipeline) -> None:
    assert "has had no snapshot" in run("snapshot", "status", pipeline.file).out
    assert run("snapshot", "status", pipeline.file, "--table", TABLE).code == 3
    started = run("snapshot", "start", pipeline.file, "--table", TABLE, "--json").json()["id"]
    at_ms = pipeline.state().snapshots[TABLE].at_ms + 10_000
    more: dict[str, Any] = {"table": TABLE, "snapshot_id": started, "at_ms": at_ms}
    pipeline.write(
        segment(0, LANES, rows=10, stale=2, size_bytes=2_000, read_units=1.5, state="done", **more),
        segment(1, LANES, state="failed", detail="the table refuses it", **more),
    )
    (shown,) = run("snapshot", "status", pipeline.file, "--json").json()["snapshots"]
    assert (shown["rows"], shown["stale"], shown["segments_done"], shown["segments_failed"]) == (10, 2, 1, 1)
    assert shown["failed"] == [{"segment": "1", "detail": "the table refuses it", "at_ms": at_ms}]
    assert (shown["rows_per_s"], shown["phase"]) == (1.2, "running")
    text = run("snapshot", "status", pipeline.file, "--table", TABLE).out
    assert "! segment 1 failed: the table refuses it" in text
    assert "no worker is there" in text
    whole = run("status", pipeline.file)
    assert f"snapshot {started}  running" in whole.out
    tables = {each["table"]: each["snapshot"] for each in run("status", pipeline.file, "--json").json()["tables"]}
    assert tables["gone"] is None
    assert tables[TABLE]["rows"] == 10
    resumed = run("snapshot", "resume", pipeline.file, "--table", TABLE)
    assert resumed.code == 0, "a segment has failed"
    control = pipeline.state().controls[TABLE]
    assert control.at_ms > at_ms, "so that the segment is tried again"


def test_start_waits_for_the_end_and_shows_a_bar_on_a_terminal(pipeline: Pipeline) -> None:
    ours, its = pty.openpty()
    os.set_blocking(ours, False)
    command = [sys.executable, "-m", "tailrace", "snapshot", "start", str(pipeline.file), "--table", TABLE, "--wait"]
    drawn = bytearray()

    def is_drawn() -> bool:
        with suppress(BlockingIOError):
            drawn.extend(os.read(ours, 65_536))
        return "━" in drawn.decode(errors="ignore")

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=its, text=True) as process:
        try:
            wait_for("the bar is drawn", is_drawn, timeout_s=60)
            pipeline.write(result(TABLE, id=pipeline.state().snapshots[TABLE].id, rows=ITEMS))
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            os.close(ours)
            os.close(its)
    assert (process.returncode, out.startswith("done: snapshot")) == (0, True)
    assert f"{ITEMS} rows published" in out


def test_a_worker_does_what_is_ordered(run: CommandLine, bench: Callable[..., Bench], tmp_path: Path) -> None:
    """Of its two pages the first takes 250 read capacity units: the second waits for 12 s, or to be resumed."""
    pipeline = bench(tables=1, settings={"snapshot": {"read_capacity": 20, "segments": 1}})
    table = SnapshotTable(pipeline, items=400, text_bytes=4_000)

    def shown() -> Any:
        (found,) = run("snapshot", "status", pipeline.file, "--table", table.name, "--json").json()["snapshots"]
        return found

    pipeline.worker()
    wait_for("the table is listed", lambda: table.name in pipeline.checkpoint_state().tables)
    assert run("snapshot", "start", pipeline.file, "--table", table.name).code == 0
    wait_for("rows are published", lambda: pipeline.checkpoint_state().snapshots.progress_of(table.name).rows > 0)
    assert run("snapshot", "pause", pipeline.file, "--table", table.name).code == 0
    paused = shown()
    assert (paused["phase"], paused["ended_ms"]) == ("paused", None)
    assert run("snapshot", "resume", pipeline.file, "--table", table.name).code == 0
    table.wait_done()
    done = shown()
    assert (done["phase"], done["segments_done"], done["share"]) == ("done", 1, 1)
    assert (done["rows"], done["stale"]) == (400, 0)
    assert done["read_units"] > 350

    keys = tmp_path / "keys.jsonl"
    keys.write_text('{"id": "loaded-0000001"}\n{"id": "there is none"}\n')
    only = ("--keys", keys, "--filter", "item.text", "--wait", "--json")
    ended = run("snapshot", "start", pipeline.file, "--table", table.name, *only)
    assert ended.code == 0
    assert (ended.json()["phase"], ended.json()["rows"]) == ("done", 1)
    pipeline.stop_workers()
