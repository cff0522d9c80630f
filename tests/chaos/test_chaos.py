"""A short run of chaos keeps every promise; and its checkers find what they are there to find."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos import crew, mutated_worker, resources, schedule
from chaos.crew import Crew
from chaos.lineage import LineageChecker
from chaos.outcome import Options, Outcome
from chaos.resources import Sample
from chaos.schedule import Kind, SourceKind
from chaos.snapshots import SnapshotChecker
from chaos.sources import TABLES, KinesisStreams
from chaos.take_overs import TakeOvers
from chaos.writer import QUIET
from support import clocked_worker
from tailrace.local.checker import Checker, FoundChange, FoundOp

TESTS = Path(__file__).parents[1]
STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/2026"
OPTIONS = Options(seed=7, changes=2, kills=1, seconds=60, workers=4, items=1, source=SourceKind.STREAMS)


def play(seed: int, source: SourceKind, *options: str) -> Any:
    """Play, and return what came of it: every promise was kept."""
    ran = subprocess.run(
        [sys.executable, "-m", "chaos", "--seed", f"{seed}", "--source", source, *options, "--json"],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads(ran.stdout)
    assert told["good"]
    return told


@pytest.mark.timeout(600)  # a busy machine takes long to start brokers and workers
def test_a_short_run_keeps_every_promise() -> None:
    told = play(1, SourceKind.STREAMS, "--minutes", "0.7")
    assert told["verdict"]["found"] == told["verdict"]["made"] > 5_000
    assert told["kills"] >= 3
    assert told["shards_ended"] > 4
    assert told["snapshots"]["done"] >= len(TABLES)
    assert told["rows"] > len(TABLES) * QUIET
    assert told["source_faults"] > 100
    for kind in (
        Kind.KILL,
        Kind.STOP,
        Kind.FREEZE,
        Kind.CLOCK,
        Kind.BROKER_KILL,
        Kind.CUT,
        Kind.HOLE,
        Kind.SPLIT,
        Kind.SNAPSHOT,
    ):
        assert any(fault.startswith(kind) for fault in told["faults"]), kind


@pytest.mark.timeout(600)
def test_a_short_run_on_kinesis_keeps_every_promise_and_says_what_is_late() -> None:
    told = play(15, SourceKind.KINESIS, "--minutes", "0.25", "--kills", "2", "--workers", "3")
    assert told["verdict"]["found"] == told["verdict"]["made"] > 2_000
    assert told["verdict"]["late"] == told["overtaken"] > 0
    assert told["repeats"] > 50
    assert told["shards_ended"] > 4
    for kind in (Kind.KILL, Kind.FREEZE, Kind.CUT, Kind.SPLIT, Kind.MERGE):
        assert any(fault.startswith(kind) for fault in told["faults"]), kind


# The schedule


@pytest.mark.parametrize(
    ("source", "others"),
    [(SourceKind.STREAMS, {Kind.MERGE, Kind.TRIM}), (SourceKind.KINESIS, {Kind.ROLLOVER})],
)
def test_a_seed_gives_the_same_schedule_again_and_every_kind_of_fault(source: SourceKind, others: set[Kind]) -> None:
    steps = schedule.draw(5, source, seconds=60, kills=5, splits=4)
    assert steps == schedule.draw(5, source, seconds=60, kills=5, splits=4)
    assert steps != schedule.draw(8, source, seconds=60, kills=5, splits=4)
    assert {step.kind for step in steps} == set(Kind) - others
    assert sum(step.kind is Kind.KILL for step in steps) == 5
    assert all(0 <= step.at_s < 60 for step in steps)


def test_clocks_jump_far_in_the_runs_without_snapshots() -> None:
    steps = schedule.draw(7, SourceKind.STREAMS, seconds=600, kills=5, splits=4)
    assert not {Kind.SNAPSHOT, Kind.SNAPSHOT_PAUSE, Kind.SNAPSHOT_CANCEL} & {step.kind for step in steps}
    assert max(step.seconds for step in steps if step.kind is Kind.CLOCK) > 60


def test_more_kills_leave_the_other_faults_where_they_are() -> None:
    few, many = (schedule.draw(7, SourceKind.STREAMS, seconds=600, kills=kills, splits=4) for kills in (5, 50))
    assert [s for s in few if s.kind is not Kind.KILL] == [s for s in many if s.kind is not Kind.KILL]


def test_seeds_draw_what_is_read_and_how() -> None:
    assert {schedule.source_of(seed) for seed in range(8)} == set(SourceKind)
    streams = [KinesisStreams(seed) for seed in range(20)]
    assert {each.settings.get("fan_out") for each in streams} == {None, "enhanced"}
    assert {each.settings.get("late") for each in streams} == {None, "reorder"}
    assert all(each.flags_late is ("late" not in each.settings) for each in streams)


# The checkpoint topic


class Topic:
    """Hands records of the checkpoint topic to a checker, one a second."""

    def __init__(self) -> None:
        self.checker = LineageChecker()
        self._now_ms = 0

    def shard(self, name: str, *parents: str) -> None:
        self._say(["shard", STREAM, name], {"parents": [[STREAM, parent] for parent in parents]})

    def checkpoint(self, name: str, sequence: int, state: str = "open") -> None:
        self._say(["checkpoint", STREAM, name], {"state": state, "sequence": str(sequence), "detail": "a reason"})

    def take_back(self, name: str) -> None:
        self._say(["checkpoint", STREAM, name], None)

    def table(self, state: str) -> None:
        self._say(["table", "orders"], {"state": state, "detail": "a reason"})

    def _say(self, key: list[str], value: dict[str, Any] | None) -> None:
        self._now_ms += 1_000
        encoded = None if value is None else json.dumps(value).encode()
        self.checker.saw(json.dumps(key).encode(), encoded, self._now_ms)


def test_kinds_of_a_newer_version_that_readers_may_do_without_say_nothing() -> None:
    topic = Topic()
    for value in (b"\x00 of any form", None):
        topic.checker.saw(b'["?window",["arn","shard"]]', value, 1)
    topic.checkpoint("shard", 10)
    assert topic.checker.finish() == []


def test_checkpoints_that_go_on_break_nothing() -> None:
    topic = Topic()
    topic.table("streaming")
    topic.shard("parent")
    topic.shard("child", "parent")
    topic.checkpoint("parent", 9)
    topic.checkpoint("parent", 10)
    topic.checkpoint("parent", 10, "ended")
    topic.checkpoint("child", 11)
    topic.take_back("parent")
    assert topic.checker.finish() == []
    assert topic.checker.ended == 1


def test_a_step_back_is_found_also_when_it_has_fewer_digits() -> None:
    topic = Topic()
    topic.checkpoint("shard", 10)
    topic.checkpoint("shard", 9)
    assert topic.checker.finish() == ["shard steps back from 10 to 9"]


def test_what_comes_after_an_end_is_found() -> None:
    topic = Topic()
    topic.checkpoint("shard", 10, "ended")
    topic.checkpoint("shard", 11)
    assert topic.checker.finish() == ["shard goes on after its end"]


def test_a_child_that_begins_before_its_parents_end_is_found() -> None:
    topic = Topic()
    topic.shard("child", "parent")
    topic.checkpoint("child", 11)
    assert topic.checker.finish() == ["child began before its parent parent ended"]
    topic.checkpoint("parent", 10, "ended")
    assert topic.checker.finish() == ["child began before its parent parent ended"]


@pytest.mark.parametrize("state", ["gap", "failed"])
def test_a_shard_or_a_table_that_stands_is_found(state: str) -> None:
    topic = Topic()
    topic.checkpoint("shard", 10, state)
    topic.table(state)
    assert topic.checker.finish() == [f"shard stands at {state}: a reason", f"table orders is {state}: a reason"]


def test_a_checkpoint_that_is_taken_back_too_early_is_found() -> None:
    topic = Topic()
    topic.checkpoint("shard", 10)
    topic.take_back("shard")
    assert topic.checker.finish() == ["the checkpoint of shard is taken back before its end"]


# Snapshots

QUIET_ITEMS = frozenset({("orders", "a"), ("orders", "b")})


def row(key: str, snapshot: str = "one", table: str = "orders") -> FoundChange:
    return FoundChange(table, key, "r", 1, f"chaos.{table}", 0, 0, 0, snapshot=snapshot)


def snapshots(*rows: FoundChange, outcome: str | None = "done") -> SnapshotChecker:
    """A snapshot that published these rows."""
    checker = SnapshotChecker(QUIET_ITEMS)
    checker.saw(b'["?snapshot","orders"]', b'{"id":"one","reason":"manual"}')
    for each in rows:
        checker.saw_row(each)
    if outcome is not None:
        checker.saw(b'["?snapshot-result","orders"]', json.dumps({"id": "one", "outcome": outcome}).encode())
    return checker


def test_a_snapshot_that_read_the_whole_table_breaks_nothing() -> None:
    checker = snapshots(row("a"), row("changing"), row("b"))
    assert checker.finish() == []
    assert checker.counts() == {"manual": 1, "done": 1}


def test_an_item_that_a_snapshot_did_not_read_is_found() -> None:
    checker = snapshots(row("a"), row("b", "another"))
    assert checker.finish() == ["snapshot one of table orders has ended, and published 1 of 2 items that do not change"]


def test_a_cancelled_snapshot_may_have_read_anything_and_is_to_be_started_again() -> None:
    checker = snapshots(row("a"), outcome="cancelled")
    assert checker.finish() == []
    assert checker.not_done() == {"orders": "cancelled"}


def test_a_snapshot_that_an_order_paused_too_late_is_to_be_resumed() -> None:
    checker = snapshots(outcome=None)
    checker.saw(b'["?snapshot-control","orders"]', b'{"id":"one","order":"pause"}')
    assert checker.paused() == ["orders"]
    checker.saw(b'["?snapshot-control","orders"]', b'{"id":"one","order":"run"}')
    assert checker.paused() == []


def test_a_snapshot_that_does_not_end_is_found() -> None:
    checker = snapshots(row("a"), row("b"), outcome=None)
    assert checker.unfinished() == ["orders"]
    assert checker.finish() == ["the snapshot of table orders has not ended"]


# The crew


class Idle:
    """A worker that does nothing."""

    pid = 1

    def __init__(self, *_: object, **__: object) -> None:
        """Begin to do nothing."""

    def kill(self) -> None:
        """End."""


def test_a_worker_with_a_planted_defect_is_a_worker(tmp_path: Path) -> None:
    clock_file = tmp_path / "clock"
    clock_file.write_text("0")
    environment = {
        "PYTHONPATH": str(TESTS),
        clocked_worker.SHIFT_FILE: str(clock_file),
        mutated_worker.MUTATION: "window_lost_at_a_restart",
    }
    program = [sys.executable, "-P", mutated_worker.__file__, "version"]
    subprocess.run(program, env=os.environ | environment, check=True)


def test_a_crew_keeps_its_size_whoever_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "WorkerProcess", Idle)
    workers = Crew(tmp_path / "pipeline.yaml", tmp_path, 3)
    workers.fill()
    assert [member.is_veteran for member in workers.members] == [True, False, False]
    extra = workers.start_extra()
    assert len(workers.members) == 4
    workers.kill(extra)
    workers.fill()
    assert len(workers.members) == 3
    workers.start_extra()
    workers.kill(workers.victims()[0])
    workers.fill()
    assert len(workers.members) == 4
    assert sum(member.is_veteran for member in workers.members) == 1


# Resources


def steady(count: int = 60, every_s: float = 20.0) -> list[Sample]:
    """A worker that has many lanes at times."""
    return [
        Sample(
            at_s=every_s * n, memory_mb=90 + n % 7, threads=40 + 30 * (n % 5 == 0), sockets=20 + n % 9, files=60 + n % 9
        )
        for n in range(count)
    ]


def test_what_goes_up_and_down_is_flat() -> None:
    assert resources.troubles(steady()) == []


@pytest.mark.parametrize("name", ["memory_mb", "threads", "sockets", "files"])
def test_what_grows_is_found(name: str) -> None:
    leaking = [replace(each, **{name: getattr(each, name) + n}) for n, each in enumerate(steady())]
    assert [trouble.split(":")[0] for trouble in resources.troubles(leaking)] == [name]


def test_a_short_time_shows_no_trend() -> None:
    leaking = [replace(each, threads=each.threads + n) for n, each in enumerate(steady(every_s=2.0))]
    assert resources.troubles(leaking) == []


def test_what_is_too_much_at_any_time_is_found() -> None:
    samples = steady()
    samples[30] = replace(samples[30], memory_mb=900)
    assert resources.troubles(samples) == ["memory_mb: 900, more than 400"]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_process_is_looked_at() -> None:
    found = resources.sample(os.getpid(), 1.0)
    assert found is not None
    assert found.memory_mb > 10
    assert found.threads >= 1
    assert found.files >= found.sockets
    assert resources.sample(2**22 + 1, 1.0) is None


# Take-overs


def claim(by: int) -> bytes:
    return json.dumps({"owner": f"host:{by}:1f0c"}).encode()


def test_a_take_over_is_from_the_kill_to_anothers_taking() -> None:
    take_overs = TakeOvers()
    take_overs.claim(0, claim(by=1), 10.0)
    take_overs.claim(1, claim(by=2), 10.0)
    take_overs.killed(1, 20.0)
    take_overs.claim(0, claim(by=1), 20.5)  # it was committed before, and seen late
    take_overs.claim(1, claim(by=2), 21.0)
    take_overs.claim(0, claim(by=2), 27.0)
    assert take_overs.seconds == [7.0]


# The outcome


def outcome(checker: Checker, **more: Any) -> Outcome:
    nothing: dict[str, Any] = {
        "options": OPTIONS,
        "seconds": 60.0,
        "interrupted": False,
        "hottest": 2,
        "rested_s": 0.0,
        "kills": 1,
        "kills_of_publishers": 1,
        "broker_kills": 0,
        "published_between_kills": [2],
        "faults": {"connection cut": 1},
        "late_commits": {},
        "source_faults": 1,
        "repeats": 2,
        "delays": 1,
        "overtaken": 0,
        "shards_ended": 1,
        "snapshots": {"initial": 1, "done": 1},
        "rows": 2,
        "takings": 1,
        "take_overs_s": [7.0],
        "caught_up_s": 1.0,
        "workers_started": 4,
        "samples": steady(),
        "troubles": [],
    }
    return Outcome(verdict=checker.verdict(), **(nothing | more))


def checker_of(*versions: int) -> Checker:
    """Two changes were made, and these were found."""
    checker = Checker()
    checker.wrote("orders", "a", "c", 1)
    checker.wrote("orders", "a", "u", 2)
    for offset, version in enumerate(versions):
        op: FoundOp = "c" if version == 1 else "u"
        checker.saw(FoundChange("orders", "a", op, version, "chaos.orders", 0, offset, 0))
    return checker


def test_a_good_run_says_so_and_how_to_repeat_it() -> None:
    good = outcome(checker_of(1, 2))
    assert good.good
    block = "\n".join(good.lines())
    assert "every promise kept" in block
    assert "make soak SEED=7 SOURCE=dynamodb-streams CHANGES=2 KILLS=1 MINUTES=1 WORKERS=4 ITEMS=1" in block
    assert json.loads(json.dumps(good.json()))["good"] is True


@pytest.mark.parametrize(
    ("versions", "said"),
    [((1,), "lost 1"), ((1, 2, 2), "repeated 1"), ((2, 1), "out of order 1"), ((1, 2, 3), "unexpected 1")],
)
def test_a_lost_repeated_or_disordered_change_is_told_as_it_comes(versions: tuple[int, ...], said: str) -> None:
    checker = checker_of(*versions)
    assert checker.missing == (said == "lost 1")
    assert checker.faults == (said != "lost 1")
    bad = outcome(checker)
    assert not bad.good
    block = "\n".join(bad.lines())
    assert said in block
    assert "NOT every promise was kept" in block


def test_any_trouble_spoils_a_run() -> None:
    assert not outcome(checker_of(1, 2), troubles=["a transaction was left open in chaos.orders-0"]).good
