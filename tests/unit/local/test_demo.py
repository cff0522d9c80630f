"""What the demo makes of its result: the exit code, the JSON, the times."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tailrace import config
from tailrace.cli.demo import exit_code, how_to_play, how_to_query, summary
from tailrace.cli.demo_screen import PlainScreen, show_verdict
from tailrace.local import demo
from tailrace.local.checker import FoundChange, Written, check
from tailrace.local.demo import DemoResult
from tailrace.local.demo_lake import DemoLake, LakeResult, LakeVerdict, compare
from tailrace.local.demo_view import DemoView, Times
from tailrace.local.fleet import WorkerState

HISTORY = [Written("orders", "a", "c", 1, 0), Written("orders", "a", "u", 2, 0)]
FOUND = [
    FoundChange("orders", "a", change.op, change.version, "demo.orders", 0, change.version, 0) for change in HISTORY
]
SWAPPED = [replace(FOUND[0], offset=2), replace(FOUND[1], offset=1)]


def result_of(found: list[FoundChange], exit_codes: dict[str, int | None]) -> DemoResult:
    return DemoResult(
        verdict=check(HISTORY, found),
        seed=7,
        times=Times(60.0, 5_900.0, 6_100.0),
        calm_times=None,
        take_over_s=6.4,
        exit_codes=exit_codes,
        bootstrap_servers="127.0.0.1:9092",
        endpoint_url="http://127.0.0.1:8000",
        pipeline_file=Path("/folder/pipeline.yaml"),
    )


@pytest.mark.parametrize(
    ("found", "exit_codes", "expected"),
    [
        (FOUND, {"worker 2": 0, "worker 3": 0}, 0),
        (FOUND, {}, 0),
        (FOUND[1:], {"worker 2": 0}, 1),
        ([*FOUND, replace(FOUND[1], offset=3)], {"worker 2": 0}, 1),
        (SWAPPED, {"worker 2": 0}, 1),
        ([*FOUND, replace(FOUND[1], version=3, offset=3)], {"worker 2": 0}, 1),
        (FOUND, {"worker 2": 3}, 1),
        (FOUND, {"worker 2": None}, 1),
    ],
    ids=["good", "good, kept up", "lost", "repeated", "out of order", "unexpected", "worker failed", "worker slow"],
)
def test_the_exit_code_is_0_only_if_every_promise_was_kept(
    found: list[FoundChange], exit_codes: dict[str, int | None], expected: int
) -> None:
    assert exit_code(result_of(found, exit_codes)) == expected


def test_the_json_counts_and_names_faults() -> None:
    shown = summary(result_of(FOUND[1:], {"worker 2": 0}))
    assert (shown["good"], shown["made"], shown["found"], shown["lost"]) == (False, 2, 1, 1)
    assert shown["faults"] == ["lost: orders a c version 1"]
    assert (shown["items_to_load"], shown["items_loaded_by_rows"], shown["stale"]) == (0, 0, 0)
    assert shown["write_to_visible_ms"] == {"p50": 60.0, "p99": 5900.0, "max": 6100.0}


def test_the_verdict_is_plain_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    show_verdict(result_of(SWAPPED, {"worker 2": 0}))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "NOT as promised" in shown
    assert "out of order: orders a c version 1, partition 0 offset 2" in shown
    assert "seed 7" in shown


PLACES = [(found.topic, found.partition, found.offset, found.op) for found in FOUND]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (PLACES, LakeVerdict(rows=2, lost=0, repeated=0, unexpected=0)),
        (PLACES[1:], LakeVerdict(rows=1, lost=1, repeated=0, unexpected=0)),
        ([*PLACES, PLACES[0]], LakeVerdict(rows=3, lost=0, repeated=1, unexpected=0)),
        ([*PLACES, ("demo.orders", 0, 9, "u")], LakeVerdict(rows=3, lost=0, repeated=0, unexpected=1)),
    ],
    ids=["good", "lost", "repeated", "unexpected"],
)
def test_a_lake_is_good_with_each_record_once(rows: list[tuple[str, int, int, str]], expected: LakeVerdict) -> None:
    verdict = compare(PLACES, rows)
    assert verdict == expected
    lake = LakeResult(Path("/lake"), Path("/lake/orders.sql"), "SELECT 1", "1", verdict)
    result = replace(result_of(FOUND, {}), lake=lake)
    assert exit_code(result) == (0 if rows == PLACES else 1)
    assert summary(result)["lake"]["lost"] == expected.lost


def test_a_query_of_the_lake_can_be_repeated() -> None:
    lake = LakeResult(Path("/lake"), Path("/lake/orders.sql"), "SELECT 1", "a table", compare([], []))
    shown = how_to_query(lake)
    assert "SELECT 1\na table\n" in shown
    assert 'duckdb.sql(open("/lake/orders.sql").read())' in shown


def test_how_to_play_names_what_is_up() -> None:
    shown = how_to_play(result_of(FOUND, {}))
    assert "cd /folder\n" in shown
    assert "AWS_ENDPOINT_URL=http://127.0.0.1:8000\n" in shown
    assert all(len(line) <= 80 for line in shown.splitlines() if not line.startswith("export PATH="))


def test_times_are_those_of_the_nearest_rank() -> None:
    assert Times.of([]) is None
    assert Times.of([5.0]) == Times(5.0, 5.0, 5.0)
    assert Times.of(float(number) for number in range(200, 0, -1)) == Times(100.0, 198.0, 200.0)


def test_plain_lines_tell_how_it_goes_every_few_seconds() -> None:
    out = io.StringIO()
    screen = PlainScreen(out)
    view = DemoView(
        elapsed_s=12.0,
        phase="writing",
        done=0.5,
        written=1_250,
        visible=1_240,
        write_rate=250,
        visible_rate=249,
        rows=600,
        loaded=0.61,
        times=Times(60, 140, 150),
        workers=(WorkerState("worker 1", 1, "killed", 0, (), 0), WorkerState("worker 2", 2, "streaming", 8, (), 250)),
        latest=(),
    )
    screen.event(11.0, "worker 1 (pid 1) killed with SIGKILL", alarming=True)
    screen.show(view)
    screen.show(view)
    assert out.getvalue().splitlines() == [
        " 11.0 s  worker 1 (pid 1) killed with SIGKILL",
        " 12.0 s  written 1,250 (250/s)  visible 1,240 (249/s)  waiting 10  p50 60 ms  p99 140 ms",
        "         loading products  61%  600 rows",
        "         worker 1 killed, worker 2 streaming 250/s",
    ]


def test_the_pipeline_file_is_a_valid_one(tmp_path: Path) -> None:
    class Services:
        bootstrap_servers = "127.0.0.1:9092"
        endpoint_url = "http://127.0.0.1:8000"

    services: Any = Services()
    file = tmp_path / "pipeline.yaml"
    lake = DemoLake()
    lake.close()
    file.write_text(demo._pipeline(services, seconds=30) + lake.section)
    assert yaml.safe_load(file.read_text())["lanes"] == config.load(file).pipeline.lanes
    assert set(config.load(file).pipeline.source.named_tables) == {table.name for table in demo.ALL_TABLES}
    assert config.load(file).pipeline.lakes
    assert not lake.folder.exists()
