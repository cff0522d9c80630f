"""`tailrace rescale` on a real broker: nothing is lost by it, whatever breaks off and whoever still sleeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from support.bench import LANES, Bench
from support.checkpoints import BORN_MS, birth, checkpoint, lineage, shard, table, write_topic
from support.cli import CommandLine
from support.names import unique
from support.pipeline_file import write_file
from support.waiting import wait_for
from support.worker_process import LoggedWorker
from tailrace.config import load
from tailrace.core.checkpoint import (
    AcceptKey,
    Claim,
    ClaimKey,
    GapAccepted,
    SegmentKey,
    SegmentRecord,
    SegmentRef,
    Write,
)
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.lane_messages import Committed, ProducerLost, ProducerOpened, Transaction
from tailrace.core.shard import lane_of
from tailrace.errors import WorldError
from tailrace.kafka import clients, topics
from tailrace.kafka.checkpoint_topic import Followed, Follower, read_checkpoint_state
from tailrace.kafka.lane_producer import LaneProducer
from tailrace.local.dynamodb import DynamoDBLocal
from tailrace.local.kafka import KafkaBroker
from tailrace.operations.progress import OnProgress, Progress
from tailrace.operations.rescale import rescale

OLD, NEW = 4, 6
SHARDS = [shard(number) for number in range(30)]
STATE = [
    birth(OLD),
    table(),
    *(lineage(each, OLD) for each in SHARDS),
    *(checkpoint(each, OLD, sequence=str(100 + number)) for number, each in enumerate(SHARDS)),
]


class CrashError(BaseException):
    """The process dies here."""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@pytest.fixture
def properties(kafka: KafkaBroker) -> dict[str, str]:
    return kafka.client_properties()


@pytest.fixture
def name() -> str:
    return unique("rescale")


@pytest.fixture
def file(properties: dict[str, str], tmp_path: Path, name: str) -> Path:
    """The file of a pipeline that has 4 lanes and is to have 6."""
    write_topic(properties, name, OLD, STATE)
    return write_file(tmp_path, properties, name, lanes=NEW)


def producer(properties: dict[str, str], name: str, lane: int, suffix: str = "") -> LaneProducer:
    """A worker's producer of a lane."""
    return LaneProducer(
        f"{name}.lane-{lane}{suffix}",
        1,
        pipeline=name,
        checkpoint_topic=f"{name}.checkpoints",
        dead_letters_topic=f"{name}.dead-letters",
        properties=properties,
    )


def assert_moved(properties: dict[str, str], name: str, **later: str) -> None:
    """Every shard is in its new lane with the same checkpoint (`later`: or the one given for its number)."""
    checkpoint_state = read_checkpoint_state(properties, name, NEW)
    assert checkpoint_state.pipeline is not None
    assert (checkpoint_state.pipeline.lanes, checkpoint_state.pipeline.created_ms) == (NEW, BORN_MS)
    assert set(checkpoint_state.shards) == set(checkpoint_state.checkpoints) == set(SHARDS)
    for number, each in enumerate(SHARDS):
        assert each in checkpoint_state.shards_of(lane_of(each, NEW))
        assert checkpoint_state.checkpoints_of(lane_of(each, NEW))[each].sequence == later.get(
            f"shard_{number}", str(100 + number)
        )
    assert set(checkpoint_state.tables) == {"orders"}


def committed(properties: dict[str, str], name: str) -> Iterator[Followed]:
    """All records of the topic, partition by partition in their order."""
    follower = Follower(properties, name, range(NEW), to_end=True)
    while not follower.has_reached_end:
        yield from follower.poll(0.5)
    follower.close()


def assert_refused(pipeline: Bench, worker: LoggedWorker, sentence: str) -> None:
    """The worker ends by itself, and says why; it is not held against the pipeline afterwards."""
    assert worker.wait(30) == 3
    assert any(sentence in line for line in worker.lines), worker.lines
    worker.close()
    pipeline.workers.remove(worker)


def dies_before(lane: int) -> OnProgress:
    def progress(event: Progress) -> None:
        if is_next(event, lane):
            raise CrashError

    return progress


def is_next(event: Progress, lane: int) -> bool:
    """Lane 0 is moved last."""
    return event == Progress("lanes", (lane or OLD) - 1, OLD)


def test_every_shard_is_found_in_its_new_lane(
    run: CommandLine, file: Path, properties: dict[str, str], name: str
) -> None:
    moved = sum(lane_of(each, OLD) != lane_of(each, NEW) for each in SHARDS)
    code, out, err = run("rescale", file)
    assert (code, out, err) == (0, f"pipeline {name}: 4 lanes are 6 now, {moved} shards moved\n", "")
    assert_moved(properties, name)
    assert run("rescale", file).out == f"pipeline {name} has 6 lanes already: there is nothing to do\n"
    assert run("rescale", file, "--json").json() == {
        "pipeline": name, "lanes_before": 6, "lanes": 6, "moved_shards": 0,
    }  # fmt: skip
    assert_moved(properties, name)


@pytest.mark.parametrize("lane", [1, 2, 3, 0], ids="before-lane-{}".format)
def test_a_rescale_that_dies_leaves_no_worker_running_and_is_finished_by_the_next(
    lane: int, run: CommandLine, file: Path, properties: dict[str, str], name: str
) -> None:
    with pytest.raises(CrashError):
        rescale(load(file), progress=dies_before(lane))
    with pytest.raises(WorldError, match="is being rescaled; run `tailrace rescale` again"):
        read_checkpoint_state(properties, name, NEW)
    assert run("rescale", file).code == 0
    assert_moved(properties, name)


def test_a_rescale_that_dies_after_adding_the_partitions_is_finished_by_the_next(
    run: CommandLine, file: Path, properties: dict[str, str], name: str
) -> None:
    topics.add_partitions(clients.admin(properties), properties, f"{name}.checkpoints", NEW)
    with pytest.raises(WorldError, match="is being rescaled"):
        read_checkpoint_state(properties, name, NEW)
    assert run("rescale", file).code == 0
    assert_moved(properties, name)


def test_no_worker_starts_while_a_rescale_is_unfinished(
    file: Path, properties: dict[str, str], name: str, dynamodb: DynamoDBLocal, aws_environment: dict[str, str]
) -> None:
    with pytest.raises(CrashError):
        rescale(load(file), progress=dies_before(2))
    source = {"endpoint_url": dynamodb.endpoint_url}
    worker = LoggedWorker(write_file(file.parent, properties, name, source=source, lanes=NEW))
    try:
        assert worker.wait(30) == 3
        assert any("run `tailrace rescale` again" in line for line in worker.lines)
        assert not worker.logged("shard begun")
    finally:
        worker.close()


def test_a_rescale_that_died_may_be_finished_with_yet_more_lanes(
    run: CommandLine, file: Path, properties: dict[str, str], name: str, tmp_path: Path
) -> None:
    with pytest.raises(CrashError):
        rescale(load(file), progress=dies_before(3))
    assert run("rescale", write_file(tmp_path, properties, name, lanes=NEW + 3)).code == 0
    checkpoint_state = read_checkpoint_state(properties, name, NEW + 3)
    assert [checkpoint_state.checkpoints[each].sequence for each in SHARDS] == [
        str(100 + number) for number in range(30)
    ]


def test_a_sleeping_worker_can_commit_nothing_to_a_lane_that_was_moved(
    file: Path, properties: dict[str, str], name: str
) -> None:
    sleeper = producer(properties, name, lane_of(SHARDS[0], OLD))
    assert isinstance(sleeper.open(20), ProducerOpened)
    rescale(load(file))
    answer = sleeper.commit(Transaction((), (checkpoint(SHARDS[0], OLD, sequence="999"),)))
    assert isinstance(answer, ProducerLost)
    assert answer.fenced
    sleeper.close()
    assert_moved(properties, name)


def test_segments_of_a_snapshot_move_and_a_sleeping_snapshot_worker_can_commit_nothing(
    file: Path, properties: dict[str, str], name: str
) -> None:
    segment = SegmentRef("orders", "s1", "7")
    running = SegmentRecord(table="orders", state="running", at_ms=BORN_MS, cursor="here")
    sleeper = producer(properties, name, segment.lane(OLD), ".snapshot")
    assert isinstance(sleeper.open(20), ProducerOpened)
    write = Write(segment.lane(OLD), SegmentKey(segment), running)
    assert isinstance(sleeper.commit(Transaction((), (write,))), Committed)
    rescale(load(file))
    later = msgspec.structs.replace(running, cursor="later")
    answer = sleeper.commit(Transaction((), (msgspec.structs.replace(write, record=later),)))
    assert isinstance(answer, ProducerLost)
    assert answer.fenced
    sleeper.close()
    assert segment.lane(NEW) != segment.lane(OLD)
    found = read_checkpoint_state(properties, name, NEW).snapshots
    assert found.shows(Write(segment.lane(NEW), SegmentKey(segment), running))
    assert_moved(properties, name)


def test_a_worker_that_takes_a_moved_lane_with_the_old_number_in_mind_sees_that_it_must_not(
    file: Path, properties: dict[str, str], name: str
) -> None:
    """Whatever partition it has read so far: the mark lies in the lane itself, before its own claim."""
    rescale(load(file))
    for lane in range(OLD):
        checkpoint_state = CheckpointState(OLD)
        for partition, key, record in committed(properties, name):
            if partition == lane:
                checkpoint_state.apply(partition, key, record)
        assert checkpoint_state.is_rescaled


def test_what_a_worker_commits_until_its_lane_is_fenced_moves_too(
    file: Path, properties: dict[str, str], name: str
) -> None:
    """One that had joined unseen: it publishes in a lane that is moved after it."""
    late = lane_of(SHARDS[0], OLD)

    def commit_late(event: Progress) -> None:
        if is_next(event, late):
            sleeper = producer(properties, name, late)
            assert isinstance(sleeper.open(20), ProducerOpened)
            answer = sleeper.commit(Transaction((), (checkpoint(SHARDS[0], OLD, sequence="999"),)))
            assert isinstance(answer, Committed)
            sleeper.close()

    assert late != 0
    rescale(load(file), progress=commit_late)
    assert_moved(properties, name, shard_0="999")


def test_a_worker_that_takes_a_lane_meanwhile_stops_the_rescale_and_it_ends_well_later(
    run: CommandLine, file: Path, properties: dict[str, str], name: str
) -> None:
    def take_lane_0(event: Progress) -> None:
        if is_next(event, 2):
            thief = producer(properties, name, 0)
            assert isinstance(thief.open(20), ProducerOpened)
            thief.close()

    with pytest.raises(WorldError, match=r"lane 0 could not be moved: .*; stop every worker, then run"):
        rescale(load(file), progress=take_lane_0)
    assert run("rescale", file).code == 0
    assert_moved(properties, name)


def test_acceptances_and_claims_stay_where_they_are(file: Path, properties: dict[str, str], name: str) -> None:
    accepted = GapAccepted(shards=((SHARDS[0], BORN_MS),), stream_arn=None, at_ms=BORN_MS)
    claim = Claim(owner="host:1:a", nonce="n", at_ms=BORN_MS)
    write_topic(properties, name, OLD, [Write(0, AcceptKey("orders"), accepted), Write(3, ClaimKey(), claim)])
    rescale(load(file))
    checkpoint_state = read_checkpoint_state(properties, name, NEW)
    assert checkpoint_state.accepted == {"orders": accepted}
    assert checkpoint_state.claims[3].owner.startswith("rescale:")


def test_fewer_lanes_are_refused(
    run: CommandLine, file: Path, properties: dict[str, str], name: str, tmp_path: Path
) -> None:
    code, _, err = run("rescale", write_file(tmp_path, properties, name, lanes=3))
    assert (code, err) == (
        3,
        f"error: the file asks for 3 lanes, but {name}.checkpoints has 4, and Kafka can only add partitions; "
        "set `lanes: 4` or more\n",
    )


def test_a_pipeline_that_has_never_run_is_refused(run: CommandLine, properties: dict[str, str], tmp_path: Path) -> None:
    code, _, err = run("rescale", write_file(tmp_path, properties, unique("rescale"), lanes=3))
    assert code == 3
    assert "does not exist yet" in err


def test_a_pipeline_that_has_listed_nothing_yet_gets_its_lanes(
    run: CommandLine, properties: dict[str, str], name: str, tmp_path: Path
) -> None:
    write_topic(properties, name, OLD, [])
    assert run("rescale", write_file(tmp_path, properties, name, lanes=NEW)).code == 0
    checkpoint_state = read_checkpoint_state(properties, name, NEW)
    assert checkpoint_state.pipeline is not None
    assert checkpoint_state.pipeline.lanes == NEW


def test_a_running_pipeline_is_rescaled_between_two_runs_and_loses_nothing(
    run: CommandLine, bench: Callable[..., Bench]
) -> None:
    pipeline = bench(tables=6)
    more = pipeline.write_file(lanes=LANES + 5)
    with pipeline.workload:
        worker = pipeline.worker()
        pipeline.wait_published(100)
        code, _, err = run("rescale", more)
        assert code == 3
        assert "has running workers: " in err
        assert f":{worker.pid}:" in err
        pipeline.stop_workers()
        assert run("rescale", more).code == 0
        assert_refused(pipeline, pipeline.worker(pipeline.file, ready=False), f"has {LANES + 5}")
        pipeline.worker(more)
        pipeline.wait_published(200)
    pipeline.settle()


def test_a_worker_that_slept_through_a_rescale_stops_when_it_wakes_and_spoils_nothing(
    run: CommandLine, bench: Callable[..., Bench]
) -> None:
    pipeline = bench(tables=6)
    more = pipeline.write_file(lanes=LANES + 5)
    with pipeline.workload:
        sleeper = pipeline.worker()
        pipeline.wait_published(100)
        sleeper.freeze()
        wait_for("the group forgets the sleeper", lambda: run("rescale", more).code == 0)
        pipeline.worker(more)
        pipeline.wait_published(100)
        sleeper.thaw()
        assert_refused(pipeline, sleeper, f"was rescaled from {LANES} lanes")
        pipeline.wait_published(100)
    pipeline.settle()
