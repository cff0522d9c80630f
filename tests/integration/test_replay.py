"""`tailrace replay` on a real broker: everything once more and in item order, whatever breaks it off."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from random import Random
from threading import Thread
from typing import Any

import msgspec
import pytest
from confluent_kafka import Message, Producer

import tailrace
from support.bench import Bench
from support.cli import CommandLine
from support.kafka_clients import TIMEOUT_S, client, create_topic, set_topic
from support.publishing import read_all
from support.waiting import wait_for
from tailrace.config import load
from tailrace.core.lane_messages import ProducerLost, Transaction
from tailrace.core.redrive import Selection
from tailrace.errors import WorldError
from tailrace.kafka.headers import is_replayed
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.local.checker import FoundChange, Verdict, check
from tailrace.local.committed import Interpreter
from tailrace.local.kafka import KafkaBroker
from tailrace.moments import parse_ms
from tailrace.operations.progress import Progress
from tailrace.operations.record_view import header_texts
from tailrace.operations.redrive import redrive
from tailrace.operations.replay import Replayed, replay
from tailrace.operations.switch import switch
from tailrace.remedy import ReplayFrom
from tailrace.snapshot.window import Window
from tailrace.sources.dynamodb.policy import POLICY
from tailrace.sources.dynamodb.streams import DynamoDBStreams
from tailrace_simulator import SimulatedDynamoDB
from tailrace_simulator.actions import parse_script

SPLITTING = {
    "settings": {"shards": 2, "listing_lag_calls": 2, "skew_s": 3, "digit_every": 30, "slow_s": 0.2},
    "rates": {
        "DescribeStream": {"hole": 0.2, "throttle": 0.05, "server_error": 0.05},
        "GetShardIterator": {"throttle": 0.1, "server_error": 0.02, "lost": 0.02},
        "GetRecords": {
            "empty": 0.2,
            "short": 0.2,
            "late_end": 0.5,
            "throttle": 0.2,
            "expired": 0.05,
            "server_error": 0.02,
            "reset": 0.01,
            "garbled": 0.01,
            "slow": 0.02,
        },
        "PutItem": {"split": 0.004, "rollover": 0.02},
        "UpdateItem": {"split": 0.004, "rollover": 0.02},
    },
}
ROLLING = {
    "settings": {"shards": 2},
    "rates": {"PutItem": {"rollover": 0.04}, "UpdateItem": {"rollover": 0.04}},
}
ONE_PARTITION = {"topics": {"partitions": 1}}
"""So that the topic shows the order in which everything was published."""
BREAKING_OFF = """\
import os, signal, sys
from pathlib import Path
from tailrace.config import load
from tailrace.core.lane_messages import Committed
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.operations import replay

file, table, moment = sys.argv[1:]
replay.TRANSACTION_PAGES_MAX = 1
published = 0
commit, produce_all = LaneProducer.commit, LaneProducer._produce_all

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def committed(self, transaction):
    global published
    answer = commit(self, transaction)
    published += isinstance(answer, Committed)
    if published == 2 and moment == "after":
        die()
    return answer

def produced(self, transaction, deadline_s):
    produce_all(self, transaction, deadline_s)
    if published == 1 and moment == "within":
        self._flush(deadline_s)
        die()

LaneProducer.commit, LaneProducer._produce_all = committed, produced
replay.replay(load(Path(file)), table)
"""


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listings of the tests lag by calls, not by seconds, and their shards are at their ends at once."""
    monkeypatch.setattr(DynamoDBStreams, "policy", msgspec.structs.replace(POLICY, second_child_ms=500))
    monkeypatch.setattr("tailrace.core.replay.PAUSE_MS", 20)


class Table:
    """The only table of a pipeline under test, and what its topic holds."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        (self.name,) = bench.tables

    def replay(self, **options: Any) -> Replayed:
        return replay(load(self.bench.file), self.name, **options)

    def publish(self, changes: int) -> None:
        """Let workers publish changes, and stop them."""
        self.bench.worker()
        with self.bench.workload:
            self.bench.wait_published(changes)
        self.bench.settle()

    @property
    def messages(self) -> list[Message]:
        return read_all(load(self.bench.file).pipeline, self.bench.topic(self.name))

    def replayed(self) -> list[FoundChange]:
        """What replays published."""
        interpret = Interpreter()
        return [interpret(each, 0) for each in self.messages if is_replayed(each)]

    def verdict(self) -> Verdict:
        """Compare what replays published with all that was written."""
        return check(list(self.bench.workload.history), self.replayed())

    def must_end_with_the_present_state(self) -> None:
        """The last change of each item in the topic, replayed or not, is its last change in the table."""
        interpret = Interpreter()
        last = {
            each.key: (each.op, each.version)
            for each in (interpret(message, 0) for message in self.messages)
            if each.op != "tombstone"
        }
        written = {each.key: (each.op, each.version) for each in self.bench.workload.history}
        assert {key: version for key, version in last.items() if written[key] != version} == {}
        assert last.keys() == written.keys()


def test_while_shards_split_and_workers_publish_everything_comes_once_more_in_order(
    bench: Callable[..., Bench],
) -> None:
    with SimulatedDynamoDB(seed=3, script=parse_script(SPLITTING)) as simulated:
        table = Table(bench(endpoint_url=simulated.endpoint_url, tables=1))
        table.bench.worker()
        told: list[Replayed] = []
        with table.bench.workload:
            table.bench.wait_published(300)
            running = Thread(target=lambda: told.append(table.replay()))
            running.start()
            table.bench.wait_published(100)
        running.join(120)
        table.bench.settle()  # without the replayed records, everything is there once
        (report,) = told
        assert (report.complete, report.trimmed_shards, report.dead_letters) == (True, (), 0)
        assert report.shards > 5
        assert report.changes >= 300
        verdict = table.verdict()
        assert (verdict.repeated, verdict.out_of_order, verdict.unexpected) == (0, 0, 0), verdict
        assert verdict.found == report.changes
        table.must_end_with_the_present_state()


@pytest.mark.parametrize("moment", ["within", "after"])
def test_a_replay_that_is_killed_can_be_run_again(bench: Callable[..., Bench], moment: str) -> None:
    with SimulatedDynamoDB(seed=1, script=parse_script(ROLLING)) as simulated:
        table = Table(bench(endpoint_url=simulated.endpoint_url, tables=1, settings=ONE_PARTITION))
        table.publish(200)
        command = [sys.executable, "-c", BREAKING_OFF, str(table.bench.file), table.name, moment]
        killed = subprocess.run(command, timeout=120, check=False, capture_output=True, text=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        report = table.replay()
        begun = len(table.replayed()) - report.records
        assert begun > 0
        assert check(list(table.bench.workload.history), table.replayed()[begun:]).good
        assert table.bench.verdict().good
        table.must_end_with_the_present_state()


def test_a_replay_that_another_one_overtakes_ends_and_says_where_to_go_on(bench: Callable[..., Bench]) -> None:
    with SimulatedDynamoDB(seed=1, script=parse_script(ROLLING)) as simulated:
        table = Table(bench(endpoint_url=simulated.endpoint_url, tables=1, settings=ONE_PARTITION))
        table.publish(200)
        overtaking: list[Replayed] = []

        def overtake(event: Progress) -> None:
            if event.done > 0 and not overtaking:
                overtaking.append(table.replay())

        with pytest.raises(WorldError, match=r"another replay of .* has begun") as ended:
            table.replay(progress=overtake)
        assert isinstance(ended.value.remedy, ReplayFrom)
        assert (ended.value.remedy.from_ms or 0) < table.bench.workload.history[0].time_ns // 1_000_000
        (report,) = overtaking
        assert report.complete
        begun = len(table.replayed()) - report.records
        assert begun > 0
        assert check(list(table.bench.workload.history), table.replayed()[begun:]).good, "nothing is mixed into it"


def test_an_answer_that_is_lost_repeats_nothing(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    with SimulatedDynamoDB(seed=1, script=parse_script(ROLLING)) as simulated:
        table = Table(bench(endpoint_url=simulated.endpoint_url, tables=1))
        table.publish(200)
        commit, commits = LaneProducer.commit, list[object]()

        def losing(self: LaneProducer, transaction: Transaction) -> object:
            """The second is committed and the fourth is not, and nobody is told."""
            commits.append(None if len(commits) == 3 else commit(self, transaction))
            return commits[-1] if len(commits) not in {2, 4} else ProducerLost(0, fenced=False, reason="no answer")

        monkeypatch.setattr(LaneProducer, "commit", losing)
        monkeypatch.setattr("tailrace.operations.replay.TRANSACTION_PAGES_MAX", 1)
        assert table.replay().complete
        assert len(commits) > 4
        assert table.verdict().good, table.verdict()


def test_a_replay_that_cannot_commit_breaks_off(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(bench(tables=1))
    table.publish(50)
    lost = ProducerLost(0, fenced=False, reason="no answer")
    monkeypatch.setattr(LaneProducer, "commit", lambda *_: lost)
    with pytest.raises(WorldError, match="broke off after 0 changes: no answer"):
        table.replay()
    assert table.replayed() == []


def test_a_stopped_replay_goes_on_from_the_time_that_it_says(bench: Callable[..., Bench]) -> None:
    """Stopped by a signal while its source is throttled; what is replayed twice is not older than a minute."""
    with SimulatedDynamoDB(seed=1, script=parse_script(ROLLING)) as simulated:
        table = Table(bench(endpoint_url=simulated.endpoint_url, tables=1))
        table.publish(100)
        simulated.act("rates", rates={"GetRecords": {"throttle": 0.5, "short": 0.5}})
        command = [sys.executable, "-m", "tailrace", "replay", str(table.bench.file), "--table", table.name, "--yes"]
        with subprocess.Popen(
            [*command, "--from", "trim_horizon"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            wait_for("it has begun", lambda: bool(table.replayed()))
            process.terminate()
            out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        told = re.search(r"go on with: tailrace replay \S+ --table \S+ --from (\S+)$", out.strip())
        assert told, out
        before = len(table.replayed())
        assert 0 < before < len(table.bench.workload.history)
        simulated.act("rates", rates={})
        from_ms = None if told[1] == "trim_horizon" else parse_ms(told[1])  # a shard may not have been read yet
        report = tailrace.open(table.bench.file).replay(table.name, from_ms=from_ms)
        assert report.complete
        assert table.verdict().lost == 0
        table.must_end_with_the_present_state()


def test_a_replay_converts_as_the_file_says_now_and_leaves_checkpoints_alone(
    bench: Callable[..., Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    """With DynamoDB Local, for a pipeline that Lambda serves."""
    table = Table(bench(tables=1, settings=ONE_PARTITION))
    worker = table.bench.worker()
    for number, size in enumerate((10, 300_000, 10, 10)):
        item = {"id": {"S": f"{number}"}, "body": {"S": Random(number).randbytes(size // 2).hex()}}
        table.bench.dynamodb.put_item(TableName=table.name, Item=item)
    topic = table.bench.topic(table.name)
    wait_for("all are published", lambda: topic in table.bench.existing_topics() and len(table.messages) == 4)
    worker.terminate()
    worker.wait()
    shard = table.bench.shard_of(table.name)
    file = table.bench.write_file(transform=[{"filter": "item.id != '3'"}])
    switch(load(file), "lambda")
    set_topic(table.bench.kafka, topic, "max.message.bytes", "100000")
    checkpoints = table.bench.end_offsets(table.bench.checkpoints_topic)

    run = CommandLine(capsys)
    arguments = ["--table", table.name, "--yes", "--json"]
    assert run("replay", file, *arguments, "--from", "3h", "--to", "2h").json()["changes"] == 0
    done = run("replay", file, *arguments, "--from", "2h").json()
    counts = {name: done[name] for name in ("changes", "records", "dropped", "dead_letters", "complete")}
    assert counts == {"changes": 4, "records": 3, "dropped": 1, "dead_letters": 1, "complete": True}
    pipeline = load(file).pipeline
    replayed = [each for each in table.messages if is_replayed(each)]
    assert [each.key() for each in replayed] == [b'{"id":"0"}', b'{"id":"2"}']
    told = header_texts(replayed[0].headers())
    original = table.messages[0]
    assert (told["tailrace.stream"], told["tailrace.shard"]) == shard
    assert told["tailrace.sequence"] == json.loads(replayed[0].value() or b"")["source"]["sequence"]
    assert replayed[0].timestamp() == original.timestamp()
    (letter,) = read_all(pipeline, pipeline.dead_letters_topic)
    told = header_texts(letter.headers())
    assert (told["tailrace.replayed"], told["__connect.errors.stage"]) == ("true", "PRODUCE")
    assert [each.outcome for each in redrive(load(file), Selection()).changes] == ["present"], "the topic has it"
    assert table.bench.end_offsets(table.bench.checkpoints_topic) == checkpoints


def test_with_errors_fail_a_replay_breaks_off_where_a_worker_stops(bench: Callable[..., Bench]) -> None:
    table = Table(bench(tables=1, settings=ONE_PARTITION))
    table.publish(20)
    set_topic(table.bench.kafka, table.bench.topic(table.name), "max.message.bytes", "100000")
    item = {"id": {"S": "large"}, "body": {"S": Random(1).randbytes(150_000).hex()}}
    table.bench.dynamodb.put_item(TableName=table.name, Item=item)
    table.bench.file = table.bench.write_file(errors="fail")
    with pytest.raises(WorldError, match=r"broke off after .* changes: .* too large") as ended:
        table.replay()
    assert isinstance(ended.value.remedy, ReplayFrom)
    assert table.verdict().good, "all before it are published"
    assert read_all(load(table.bench.file).pipeline, table.bench.dead_letters_topic) == []


def test_what_there_is_nothing_to_replay_of_is_refused(bench: Callable[..., Bench]) -> None:
    table = Table(bench(tables=1))
    with pytest.raises(WorldError, match="does not exist yet"):
        table.replay()
    table.publish(1)
    with pytest.raises(WorldError, match="the file leaves table other out"):
        replay(load(table.bench.file), "other")
    table.bench.dynamodb.update_table(TableName=table.name, StreamSpecification={"StreamEnabled": False})
    with pytest.raises(WorldError, match=f"table {table.name} has no stream"):
        table.replay()


def test_for_a_snapshot_what_a_replay_repeats_is_no_change(kafka: KafkaBroker) -> None:
    properties = kafka.client_properties()
    topic = create_topic(properties)
    window = Window(properties)
    window.follow([topic])
    mark = window.mark([topic])
    producer = Producer(client(properties))
    producer.produce(topic, b"1", b"changed")
    producer.produce(topic, b"1", b"replayed", headers=[("tailrace.replayed", b"true")])
    assert producer.flush(TIMEOUT_S) == 0
    window.read_to_end([topic], TIMEOUT_S)
    assert window.changed([(topic, b"changed"), (topic, b"replayed")], mark) == {(topic, b"changed")}
    window.close()
