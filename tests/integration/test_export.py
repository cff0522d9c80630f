"""`tailrace export` on a real broker, killed, frozen and joined by others while transactions are written."""

from __future__ import annotations

import json
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from support.committed_writer import CommittedWriter, exported, faults
from support.export_process import ExportProcess
from support.kafka_clients import TIMEOUT_S, client, create_topic, delete_topic
from support.waiting import wait_for
from tailrace.local.kafka import KafkaBroker

PARTITIONS = 4
QUICK = ("--max-file-seconds", "1", "--max-file-mb", "0.05")
TAKEN_OVER_S = 90.0


def files(folder: Path, topic: str) -> list[Path]:
    return sorted((folder / topic).glob("*/*.jsonl"))


def under_way(folder: Path, topic: str) -> list[Path]:
    """The batches under way that hold something; a position that is being replaced is in such a file, too."""
    found = (folder / topic).glob("*/.*.*.partial")
    return [each for each in found if each.exists() and each.stat().st_size]


def finish(kafka: KafkaBroker, topic: str, folder: Path, fault: str = "none") -> dict[str, object]:
    """Export the rest with one process, and return its report."""
    with ExportProcess(kafka.bootstrap_servers, topic, folder, "--until-end", "--json", fault=fault) as last:
        code, printed = last.ended()
        assert code == 0, last.logged
        report = json.loads(printed)
        assert report["at_end"]
        return dict(report)


def test_what_is_committed_is_exported_once_and_a_second_run_adds_nothing(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = create_topic(kafka.client_properties(), partitions=PARTITIONS)
    writer = CommittedWriter(kafka.client_properties(), topic, PARTITIONS, seed=1)
    for number in range(20):
        writer.transaction(30, commit=number % 3 != 0)
    report = finish(kafka, topic, tmp_path)
    assert faults(writer.history, exported(tmp_path, topic)) == []
    assert report["topics"][topic]["records"] == writer.count  # type: ignore[index]
    writer.transaction(10, commit=False)
    assert finish(kafka, topic, tmp_path)["topics"] == {}
    writer.transaction(10, commit=True)
    assert finish(kafka, topic, tmp_path)["topics"][topic]["records"] == 10  # type: ignore[index]
    assert faults(writer.history, exported(tmp_path, topic)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_it_has_read(kafka: KafkaBroker, tmp_path: Path, number: signal.Signals) -> None:
    topic = create_topic(kafka.client_properties(), partitions=PARTITIONS)
    writer = CommittedWriter(kafka.client_properties(), topic, PARTITIONS, seed=1)
    writer.transaction(100, commit=True)
    with ExportProcess(kafka.bootstrap_servers, topic, tmp_path) as export:
        wait_for("all is read", lambda: len(under_way(tmp_path, topic)) == PARTITIONS)
        export.send(number)
        code, printed = export.ended(20)
    assert (code, export.logged) == (0, [])
    assert f"topic {topic}: 100 records in {PARTITIONS} files" in printed
    assert faults(writer.history, exported(tmp_path, topic)) == []


@pytest.mark.parametrize("fault", ["none", "positions in Kafka"])
def test_what_a_killed_process_had_under_way_comes_again(kafka: KafkaBroker, tmp_path: Path, fault: str) -> None:
    topic = create_topic(kafka.client_properties(), partitions=PARTITIONS)
    with CommittedWriter(kafka.client_properties(), topic, PARTITIONS, seed=2) as writer:
        with ExportProcess(kafka.bootstrap_servers, topic, tmp_path, *QUICK, fault=fault) as export:
            wait_for("files", lambda: len(files(tmp_path, topic)) > 8)
            wait_for("batches under way", lambda: len(under_way(tmp_path, topic)) == PARTITIONS)
            export.kill()
        writer.stop()
    finish(kafka, topic, tmp_path, fault)
    wrong = faults(writer.history, exported(tmp_path, topic))
    assert bool(wrong) == (fault != "none"), wrong


@pytest.mark.parametrize("fault", ["none", "no exclusive create"])
def test_a_process_that_slept_through_the_loss_of_its_partitions(
    kafka: KafkaBroker, tmp_path: Path, fault: str
) -> None:
    topic = create_topic(kafka.client_properties(), partitions=PARTITIONS)
    slow = ("--max-file-seconds", "3")
    with (
        CommittedWriter(kafka.client_properties(), topic, PARTITIONS, seed=3) as writer,
        ExportProcess(kafka.bootstrap_servers, topic, tmp_path, *slow, fault=fault) as zombie,
    ):
        wait_for("files", lambda: len(files(tmp_path, topic)) >= PARTITIONS)
        wait_for("batches under way", lambda: len(under_way(tmp_path, topic)) == PARTITIONS)
        zombie.freeze()
        wanted = [each.with_name(each.name[1:21] + ".jsonl") for each in under_way(tmp_path, topic)]
        assert wanted
        with ExportProcess(kafka.bootstrap_servers, topic, tmp_path, *slow, fault=fault) as heir:
            wait_for("the other goes on there", lambda: all(map(Path.exists, wanted)), TAKEN_OVER_S)
            before = {each: each.stat().st_size for each in wanted}
            zombie.thaw()
            if fault == "none":
                wait_for("the zombie is fenced", zombie.was_fenced)
            else:
                wait_for("it writes", lambda: any(each.stat().st_size != before[each] for each in wanted))
            wait_for("files of both", lambda: len(files(tmp_path, topic)) > 6 * PARTITIONS)
            assert heir.exit_code is None
            writer.stop()
    finish(kafka, topic, tmp_path, fault)
    wrong = faults(writer.history, exported(tmp_path, topic))
    assert bool(wrong) == (fault != "none"), wrong


@pytest.mark.parametrize("seed", [1, 2])
def test_processes_that_come_go_die_and_freeze_export_everything_once(
    kafka: KafkaBroker, tmp_path: Path, seed: int
) -> None:
    topic = create_topic(kafka.client_properties(), partitions=PARTITIONS)
    random = Random(seed)
    with CommittedWriter(kafka.client_properties(), topic, PARTITIONS, seed) as writer, ExitStack() as started:

        def start() -> ExportProcess:
            return started.enter_context(ExportProcess(kafka.bootstrap_servers, topic, tmp_path, *QUICK))

        running, frozen = [start(), start(), start()], list[ExportProcess]()
        for _ in range(12):
            time.sleep(random.uniform(0.5, 4))
            what = random.choice(["kill", "stop", "freeze", "freeze", "thaw", "start"])
            if what in {"kill", "stop", "freeze"} and len(running) > 1:
                chosen = running.pop(random.randrange(len(running)))
                if what == "kill":
                    chosen.kill()
                elif what == "stop":
                    chosen.send(signal.SIGTERM)
                else:
                    chosen.freeze()
                    frozen.append(chosen)
            elif what == "thaw" and frozen:
                running.append(frozen.pop(0))
                running[-1].thaw()
            elif len(running) < 4:
                running.append(start())
        for zombie in frozen:
            zombie.thaw()
        so_far = len(files(tmp_path, topic))
        wait_for("more files", lambda: len(files(tmp_path, topic)) > so_far + 2 * PARTITIONS, TAKEN_OVER_S)
        writer.stop()
        assert {each.exit_code for each in running} <= {None}, [each.logged for each in running]
    finish(kafka, topic, tmp_path)
    assert faults(writer.history, exported(tmp_path, topic)) == []


def test_what_was_read_of_a_topic_is_kept_when_the_topic_is_deleted(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = create_topic(kafka.client_properties())
    writer = CommittedWriter(kafka.client_properties(), topic, 1, seed=1)
    writer.transaction(10, commit=True)
    with ExportProcess(kafka.bootstrap_servers, topic, tmp_path, "--max-file-seconds", "3600") as export:
        wait_for("all is read", lambda: len(under_way(tmp_path, topic)) == 1)
        delete_topic(kafka.client_properties(), topic)
        wait_for("a file", lambda: len(files(tmp_path, topic)) == 1)
        assert export.exit_code is None
    assert faults(writer.history, exported(tmp_path, topic)) == []


def refused(kafka: KafkaBroker, topic: str, folder: Path) -> str:
    """Export to the end, which must fail; return the sentence."""
    with ExportProcess(kafka.bootstrap_servers, topic, folder, "--until-end") as export:
        code, printed = export.ended()
        assert (code, printed) == (3, ""), export.logged
        return export.logged[-1]


def test_what_was_deleted_before_it_was_exported_is_an_error(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = create_topic(kafka.client_properties())
    writer = CommittedWriter(kafka.client_properties(), topic, 1, seed=1)
    writer.transaction(10, commit=True)
    finish(kafka, topic, tmp_path)
    admin = AdminClient(client(kafka.client_properties()))
    for records, where in ((0, 11), (5, 15)):  # the marker alone is no loss, records are one
        if records:
            writer.transaction(records, commit=True)
        for future in admin.delete_records([TopicPartition(topic, 0, where)]).values():
            future.result(TIMEOUT_S)
        if not records:
            assert finish(kafka, topic, tmp_path)["topics"] == {}
    assert refused(kafka, topic, tmp_path) == (
        f"error: {topic} [0] no longer has the records that come next: the target has it up to offset 11, Kafka has "
        "15 to 17; retention deleted them before they were read; to begin again with what Kafka has, stop all that "
        "write to the target and move what it has of the partition away"
    )
    (tmp_path / topic / "0").rename(tmp_path / "away")
    finish(kafka, topic, tmp_path)
    assert exported(tmp_path, topic) == {0: writer.history[0][-1:]}


def test_a_topic_that_was_made_again_is_an_error(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = create_topic(kafka.client_properties())
    CommittedWriter(kafka.client_properties(), topic, 1, seed=1).transaction(10, commit=True)
    finish(kafka, topic, tmp_path)
    delete_topic(kafka.client_properties(), topic)
    create_topic(kafka.client_properties(), topic)
    CommittedWriter(kafka.client_properties(), topic, 1, seed=1).transaction(100, commit=True)
    said = refused(kafka, topic, tmp_path)
    assert said.startswith(f"error: {topic} [0] is of a topic that was deleted and made again: the target has it up to")
    assert exported(tmp_path, topic) == {0: list(range(1, 11))}
