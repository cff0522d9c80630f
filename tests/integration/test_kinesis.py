"""Workers on a Kinesis stream that DynamoDB feeds: repeats, disorder, splits and merges, faults, a worker killed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.bench import Bench
from support.cli import CommandLine
from support.kinesis_bench import STREAM, kinesis_of, on_kinesis, write_into_a_stream
from support.snapshots import SnapshotTable
from support.waiting import wait_for
from tailrace.kafka import clients
from tailrace.kafka.topic_reader import TopicReader
from tailrace_simulator import SimulatedDynamoDB
from tailrace_simulator.actions import parse_script

SCRIPT = {
    "settings": {"kinesis_reads_per_second": 20},
    "rates": {
        "kinesis:GetShardIterator": {"throttle": 0.02, "server_error": 0.02, "lost": 0.02},
        "kinesis:GetRecords": {
            "empty": 0.1,
            "short": 0.1,
            "late_end": 0.5,
            "throttle": 0.02,
            "expired": 0.01,
            "reset": 0.01,
        },
        "replication": {"repeat": 0.05, "delay": 0.05},
    },
}


def test_what_is_pushed_is_published_once_and_late_changes_say_so_while_shards_change_and_a_worker_dies(
    bench: Callable[..., Bench],
) -> None:
    with SimulatedDynamoDB(seed=1, script=parse_script(SCRIPT)) as simulated:
        pipeline = bench(endpoint_url=simulated.endpoint_url, tables=2, rate=100)
        on_kinesis(pipeline, simulated, fan_out="enhanced", consumer="tailrace")
        with pipeline.workload:
            first = pipeline.worker()
            second = pipeline.worker()
            pipeline.wait_published(100)
            for action in ("split", "merge"):
                simulated.act(action, stream=STREAM)
            first.kill()
            pipeline.wait_published(100)
            simulated.act("merge", stream=STREAM)
            pipeline.wait_published(300)
            assert len(pipeline.checkpoint_state().shards) == 4 + 2 + 1 + 1
            repeats = sum(
                second.metric("tailrace_records_skipped_total", table=table, reason="repeat")
                for table in pipeline.tables
            )
            assert repeats > 0
            assert consumers_of(simulated) == ["tailrace"]
        assert pipeline.settle().late > 0
    assert not second.logged("gap")


def test_a_table_is_loaded_beside_a_stream(bench: Callable[..., Bench]) -> None:
    script = {"rates": {"replication": {"repeat": 0.03}}}
    with SimulatedDynamoDB(seed=3, script=parse_script(script)) as simulated:
        snapshot = {"snapshot": {"mode": "initial", "segments": 4}}
        pipeline = bench(endpoint_url=simulated.endpoint_url, tables=1, items=40, rate=50, settings=snapshot)
        table = SnapshotTable(pipeline, items=500, changes=100)
        on_kinesis(pipeline, simulated, tables=pipeline.tables)
        with pipeline.workload:
            pipeline.worker()
            table.wait_done()
        table.settle()


def test_what_is_no_change_becomes_a_dead_letter_and_is_published_again_as_it_is(
    bench: Callable[..., Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    with SimulatedDynamoDB(seed=4) as simulated:
        pipeline = bench(endpoint_url=simulated.endpoint_url, tables=1)
        on_kinesis(pipeline, simulated, records="dynamodb")
        kinesis = kinesis_of(simulated)
        kinesis.put_record(StreamName=STREAM, Data=b"first", PartitionKey="k")
        worker = pipeline.worker()
        worker.wait_logged("dead letters")
        worker.terminate()
        worker.wait()
        pipeline.settings["source"]["records"] = "auto"
        file = pipeline.write_file()
        kinesis.put_record(StreamName=STREAM, Data=b"second", PartitionKey="other")
        pipeline.worker(file)
        topic = pipeline.topic(STREAM)
        wait_for("the raw record", lambda: topic in pipeline.existing_topics() and bool(values_of(pipeline, topic)))
        tailrace = CommandLine(capsys)
        redriven = tailrace("redrive", file)
        assert redriven.code == 0, redriven
        assert set(values_of(pipeline, topic)) == {b"second", b"first"}
        kinesis.close()


def test_what_was_trimmed_unread_is_a_gap_until_it_is_accepted(
    bench: Callable[..., Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    with SimulatedDynamoDB(seed=5, script=parse_script({"settings": {"on_demand_shards": 1}})) as simulated:
        pipeline = bench(endpoint_url=simulated.endpoint_url, tables=1, rate=None)
        on_kinesis(pipeline, simulated)
        pipeline.workload.run(30)
        worker = pipeline.worker()
        pipeline.wait_complete()
        worker.terminate()
        worker.wait()
        pipeline.workload.run(30)
        simulated.act("trim", stream=STREAM)
        second = pipeline.worker()
        second.wait_logged("gap", table=STREAM)
        accepted = CommandLine(capsys)("accept-gap", pipeline.file, "--table", STREAM, "--yes")
        assert accepted.code == 0, accepted
        pipeline.workload.run(30)
        wait_for("what came after the loss", lambda: pipeline.verdict().found == 60)
        assert pipeline.verdict().lost == 30


def test_each_stream_has_topics_of_its_own_if_they_are_named_after_it(
    bench: Callable[..., Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    with SimulatedDynamoDB(seed=7, script=parse_script({"settings": {"on_demand_shards": 1}})) as simulated:
        pipeline = bench(endpoint_url=simulated.endpoint_url, tables=1)
        pipeline.settings["topic"] = "{pipeline}.{stream}.{table}"
        (table,) = pipeline.tables
        on_kinesis(pipeline, simulated, streams=[STREAM, "web-*"], tables=[table])
        kinesis = kinesis_of(simulated)
        kinesis.create_stream(StreamName="web-1", ShardCount=1)
        plan = CommandLine(capsys)("plan", pipeline.file).out
        of_changes, of_clicks = (f"{pipeline.name}.{name}" for name in (f"{STREAM}.{table}", "web-1.web-1"))
        assert f"topic         {of_changes}, to be made" in plan
        pipeline.dynamodb.put_item(TableName=table, Item={"id": {"S": "a"}})
        kinesis.get_waiter("stream_exists").wait(StreamName="web-1", WaiterConfig={"Delay": 1})
        kinesis.put_record(StreamName="web-1", Data=b"click", PartitionKey="k")
        pipeline.worker()
        wait_for("both", lambda: {of_changes, of_clicks} <= set(pipeline.existing_topics()))
        wait_for("the click", lambda: values_of(pipeline, of_clicks) == [b"click"])
        wait_for("the change", lambda: len(values_of(pipeline, of_changes)) == 1)
        kinesis.close()


def test_a_stream_that_is_made_again_is_one_gap(
    bench: Callable[..., Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    with SimulatedDynamoDB(seed=5, script=parse_script({"settings": {"on_demand_shards": 2}})) as simulated:
        pipeline = bench(endpoint_url=simulated.endpoint_url, tables=1, rate=None)
        on_kinesis(pipeline, simulated)
        pipeline.workload.run(30)
        worker = pipeline.worker(clock_shift_s=0)
        pipeline.wait_complete()
        (table,) = pipeline.tables
        kinesis = kinesis_of(simulated)
        arn = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]["StreamARN"]
        pipeline.dynamodb.disable_kinesis_streaming_destination(TableName=table, StreamArn=arn)
        kinesis.delete_stream(StreamName=STREAM)
        kinesis.close()
        pipeline.workload.run(30)
        write_into_a_stream(pipeline, simulated)
        wait_for("the gap", lambda: pipeline.checkpoint_state().tables[STREAM].state == "gap")
        accepted = CommandLine(capsys)("accept-gap", pipeline.file, "--table", STREAM, "--yes")
        assert accepted.code == 0, accepted
        assert "what was not published of the stream" in accepted.err
        worker.wait_logged("read failed")
        worker.set_clock(60)  # a denial is believed once it has lasted for half a minute
        worker.wait_logged("shard skipped", count=2)
        pipeline.workload.run(30)
        wait_for("what came after the loss", lambda: pipeline.verdict().found == 60)
        assert pipeline.verdict().lost == 30
        assert not worker.logged("gap"), "the former shards were accepted with their stream"


def consumers_of(simulated: SimulatedDynamoDB) -> list[str]:
    kinesis = kinesis_of(simulated)
    try:
        arn = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]["StreamARN"]
        return [each["ConsumerName"] for each in kinesis.list_stream_consumers(StreamARN=arn)["Consumers"]]
    finally:
        kinesis.close()


def values_of(pipeline: Bench, topic: str) -> list[bytes | None]:
    with TopicReader(pipeline.kafka, topic) as reader:
        return [clients.as_bytes(message.value()) for message in reader.read()]
