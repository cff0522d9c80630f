"""`tailrace tail` on a real broker: committed changes of every topic of the pipeline, and nothing left behind."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from support.kafka_clients import TIMEOUT_S, client, create_topic, transactional_producer
from support.names import unique
from support.waiting import wait_for
from tailrace.core.change import Change, Op
from tailrace.formats import FormatName, make_format
from tailrace.local.kafka import KafkaBroker

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start `tailrace tail` with the given arguments; all are ended after the test."""
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **more: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from tailrace.cli.main import main; main()", "tail", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


CREATED_MS = 1_700_000_000_000


def change(op: Op, item_id: str, table: str = "orders", *, after_s: int = 0) -> Change:
    image = b'{"id":{"S":"%s"},"n":{"N":"1.50"}}' % item_id.encode()
    return Change(
        op=op,
        table=table,
        keys=b'{"id":{"S":"%s"}}' % item_id.encode(),
        before=None if op == "c" else image,
        after=None if op == "d" else image,
        created_ms=CREATED_MS + after_s * 1000,
        event_id="e",
        sequence="1" * 21,
        shard_id="shardId-1",
        stream_arn=f"arn:aws:dynamodb:us-east-1:000000000000:table/{table}/stream/1",
        region="us-east-1",
        view_type="NEW_AND_OLD_IMAGES",
    )


def publish(
    kafka: KafkaBroker,
    topic: str,
    *changes: Change,
    format_name: FormatName = "debezium",
    commit: bool = True,
    more_headers: Sequence[tuple[str, bytes]] = (),
) -> None:
    """Write changes in one transaction; each delete of an envelope is followed by its tombstone."""
    encode = make_format(format_name, pipeline="shop", numbers="exact").encode
    producer = transactional_producer(kafka.client_properties())
    producer.begin_transaction()
    for each in changes:
        message = encode(each, 0)
        headers: list[tuple[str, str | bytes | None]] = [*(message.headers or []), *more_headers]
        producer.produce(topic, message.value, message.key, headers=headers, timestamp=each.created_ms)
        if each.op == "d" and message.value is not None:
            producer.produce(topic, None, message.key, timestamp=each.created_ms)
    producer.flush(TIMEOUT_S)
    if commit:
        producer.commit_transaction(TIMEOUT_S)
    else:
        producer.abort_transaction(TIMEOUT_S)


def words(lines: str) -> list[list[str]]:
    """Each line without its time: op, table, key, item."""
    return [line.split(" ")[1:] for line in lines.splitlines()]


def ended(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    return out


def pipeline_file(folder: Path, kafka: KafkaBroker, name: str, **more: str) -> str:
    path = folder / "pipeline.yaml"
    path.write_text(
        f"name: {name}\n"
        f"kafka: {{bootstrap.servers: '{kafka.bootstrap_servers}'}}\n"
        "source: {type: dynamodb-streams, tables: ['*']}\n"
        + "".join(f"{key}: {value}\n" for key, value in more.items())
    )
    return str(path)


def create(kafka: KafkaBroker, topic: str) -> str:
    admin = AdminClient(client(kafka.client_properties()))
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(TIMEOUT_S)
    return topic


def test_only_what_is_committed_is_shown(kafka: KafkaBroker, start: Start) -> None:
    topic = create_topic(kafka.client_properties())
    publish(kafka, topic, change("c", "aborted"), commit=False)
    publish(kafka, topic, change("c", "a"), change("u", "a"), change("d", "a"))
    shown = start(topic, "--bootstrap", kafka.bootstrap_servers, "--from", "beginning", "--limit", "4")
    assert words(ended(shown)) == [
        ["c", "orders", '{"id":"a"}', '{"id":"a","n":1.50}'],
        ["u", "orders", '{"id":"a"}', '{"id":"a","n":1.50}'],
        ["d", "orders", '{"id":"a"}', '{"id":"a","n":1.50}'],
        ["tombstone", topic, '{"id":"a"}'],
    ]


@pytest.mark.parametrize(
    ("format_name", "ops"),
    [("dynamodb-json", ["c", "d", "tombstone"]), ("cloudevents", ["c", "d", "tombstone"]), ("item", ["upsert", "d"])],
)
def test_every_format_is_understood(format_name: FormatName, ops: list[str], kafka: KafkaBroker, start: Start) -> None:
    topic = create_topic(kafka.client_properties())
    publish(kafka, topic, change("c", "a"), change("d", "a"), format_name=format_name)
    shown = start(topic, "--bootstrap", kafka.bootstrap_servers, "--from", "beginning", "--limit", str(len(ops)))
    assert [line[0] for line in words(ended(shown))] == ops


def test_one_line_of_json_a_record(kafka: KafkaBroker, start: Start) -> None:
    topic = create_topic(kafka.client_properties())
    publish(kafka, topic, change("c", "a"), format_name="cloudevents")
    line = ended(start(topic, "--bootstrap", kafka.bootstrap_servers, "--from", "beginning", "--limit", "1", "--json"))
    assert '"n":1.50' in line
    record = json.loads(line)
    assert (record["topic"], record["partition"], record["offset"], record["key"]) == (topic, 0, 0, {"id": "a"})
    assert record["timestamp"] == CREATED_MS
    assert record["headers"]["content-type"].startswith("application/cloudevents+json")
    assert record["value"]["data"]["after"] == {"id": "a", "n": 1.5}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--key", "b"], ["ab", "b"]),
        (["--key", '{"id": "b"}'], ["b"]),
        (["--op", "u"], ["b"]),
        (["--op", "c,u", "--key", "b"], ["ab", "b"]),
        (["--table", "users-*"], ["ab"]),
    ],
)
def test_filters(filters: list[str], expected: list[str], kafka: KafkaBroker, start: Start) -> None:
    topic = create_topic(kafka.client_properties())
    publish(kafka, topic, change("c", "a"), change("c", "ab", "users-eu"), change("u", "b"))
    everything = ["--bootstrap", kafka.bootstrap_servers, "--from", "beginning", "--json"]
    shown = start(topic, *everything, *filters, "--limit", str(len(expected)))
    assert [json.loads(line)["key"]["id"] for line in ended(shown).splitlines()] == expected


def test_a_pipelines_topics_are_followed_as_they_appear(kafka: KafkaBroker, start: Start, tmp_path: Path) -> None:
    name = unique("shop")
    orders = create(kafka, f"{name}.orders")
    checkpoints = create(kafka, f"{name}.checkpoints")
    shown = start(pipeline_file(tmp_path, kafka, name))
    assert shown.stdout
    out = shown.stdout

    def follows() -> bool:
        publish(kafka, orders, change("c", "a"))
        return bool(select.select([out], [], [], 0)[0])

    wait_for("the first change", follows)
    publish(kafka, checkpoints, change("c", "not a change", "checkpoints"))
    publish(kafka, create(kafka, f"{name}-other.users"), change("c", "not ours", "others"))
    publish(kafka, create(kafka, f"{name}.users"), change("c", "b", "users"))
    tables = set()
    for line in out:
        tables.add(words(line)[0][1])
        if "users" in tables:
            break
    assert tables == {"orders", "users"}
    admin = AdminClient(client(kafka.client_properties()))
    groups = admin.list_consumer_groups().result(TIMEOUT_S).valid
    assert "tailrace-tail" not in {group.group_id for group in groups}


def test_from_the_end_only_what_comes_is_shown(kafka: KafkaBroker, start: Start) -> None:
    topic = create_topic(kafka.client_properties())
    publish(kafka, topic, change("c", "before"))
    shown = start(topic, "--bootstrap", kafka.bootstrap_servers, "--limit", "1")

    def came() -> bool:
        publish(kafka, topic, change("c", "later"))
        return shown.poll() is not None

    wait_for("a change that came later", came)
    assert words(ended(shown))[0][2] == '{"id":"later"}'


def test_a_time_to_begin_and_to_end_at(kafka: KafkaBroker, start: Start, tmp_path: Path) -> None:
    """Both are included, wherever in the topic a record stands; with an end it does not follow."""
    topic = create_topic(kafka.client_properties())
    publish(kafka, topic, *(change("c", f"{second}", after_s=second) for second in (1, 5, 9, 2, 7)))
    since = ["--from", "2023-11-14T22:13:25Z"]
    shown = start(topic, "--bootstrap", kafka.bootstrap_servers, *since, "--json", "--limit", "3")
    assert [json.loads(line)["key"]["id"] for line in ended(shown).splitlines()] == ["5", "9", "7"]
    bounded = [*since, "--to", f"{CREATED_MS + 7_000}", "--json"]
    shown = start(topic, "--bootstrap", kafka.bootstrap_servers, *bounded)
    assert [json.loads(line)["key"]["id"] for line in ended(shown).splitlines()] == ["5", "7"]
    name = unique("shop")
    create(kafka, f"{name}.checkpoints")
    publish(kafka, create(kafka, f"{name}.orders"), change("c", "a"), change("c", "b", after_s=4))
    shown = start(pipeline_file(tmp_path, kafka, name), "--from", "beginning", "--to", "2023-11-14T22:13:22")
    assert [line[2] for line in words(ended(shown))] == ['{"id":"a"}']


def test_from_a_time_that_is_still_to_come_new_changes_are_shown(kafka: KafkaBroker, start: Start) -> None:
    topic = create_topic(kafka.client_properties())
    publish(kafka, topic, change("c", "before"))
    shown = start(topic, "--bootstrap", kafka.bootstrap_servers, "--from", f"{CREATED_MS + 1}", "--limit", "1")

    def came() -> bool:
        publish(kafka, topic, change("c", "later", after_s=1))
        return shown.poll() is not None

    wait_for("a change that came later", came)
    assert words(ended(shown))[0][2] == '{"id":"later"}'


def test_a_dead_letter_is_shown_with_its_reason(kafka: KafkaBroker, start: Start, tmp_path: Path) -> None:
    name = unique("shop")
    create(kafka, f"{name}.checkpoints")
    topic = create(kafka, f"{name}.dead-letters")
    producer = transactional_producer(kafka.client_properties())
    producer.begin_transaction()
    headers: list[tuple[str, str | bytes | None]] = [
        ("__connect.errors.exception.message", b"too deep"),
        ("tailrace.table", b"orders"),
    ]
    producer.produce(topic, b'{"eventID":"1"}', b"k", headers=headers)
    producer.commit_transaction(TIMEOUT_S)
    shown = start(pipeline_file(tmp_path, kafka, name), "--from", "beginning", "--limit", "1")
    assert ended(shown).rstrip().endswith(' dead-letter orders k [too deep] {"eventID":"1"}')


def test_a_replayed_change_is_shown_as_one(kafka: KafkaBroker, start: Start) -> None:
    topic = create_topic(kafka.client_properties())
    publish(kafka, topic, change("c", "a"), more_headers=[("tailrace.replayed", b"true")])
    shown = start(topic, "--bootstrap", kafka.bootstrap_servers, "--from", "beginning", "--limit", "1")
    assert ended(shown).rstrip().endswith(' c orders {"id":"a"} [replayed] {"id":"a","n":1.50}')


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly(number: signal.Signals, kafka: KafkaBroker, start: Start) -> None:
    topic = create_topic(kafka.client_properties())
    publish(kafka, topic, change("c", "a"))
    shown = start(topic, "--bootstrap", kafka.bootstrap_servers, "--from", "beginning")
    assert shown.stdout
    shown.stdout.readline()
    shown.send_signal(number)
    assert ended(shown) == ""


def test_a_reader_that_goes_away_ends_it_quietly(kafka: KafkaBroker, start: Start) -> None:
    topic = create_topic(kafka.client_properties())
    publish(kafka, topic, *(change("c", str(i)) for i in range(2_000)))
    shown = start(topic, "--bootstrap", kafka.bootstrap_servers, "--from", "beginning", bufsize=1)
    assert shown.stdout
    assert shown.stderr
    shown.stdout.readline()
    shown.stdout.close()
    assert shown.wait(30) == 0
    assert shown.stderr.read() == ""


def test_a_topic_that_is_not_there(kafka: KafkaBroker, start: Start) -> None:
    shown = start("nowhere", "--bootstrap", kafka.bootstrap_servers)
    assert shown.communicate(timeout=30)[1] == (
        "error: the topic nowhere does not exist; check its name, or give the pipeline file instead\n"
    )
    assert shown.returncode == 3
