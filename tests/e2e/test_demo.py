"""The demo as users run it: its verdict, and that Ctrl-C at any moment leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from support.waiting import wait_for
from tailrace.local.artifacts import cache_dir

EXIT_INTERRUPTED = 130


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A demo all of whose temporary folders are in `folder`."""
    with subprocess.Popen(
        [sys.executable, "-m", "tailrace", "demo", *arguments],
        env=os.environ | {"TMPDIR": str(folder), "TAILRACE_CACHE": str(cache_dir())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def processes_of(folder: Path) -> list[str]:
    """The command lines of all processes that were started with `folder` for their temporary files."""
    shown = subprocess.run(["ps", "eww", "-A", "-o", "stat=,command="], capture_output=True, text=True, check=True)
    return [line for line in shown.stdout.splitlines() if f"TMPDIR={folder}" in line and not line.startswith("Z")]


def test_a_short_demo_finds_every_change_and_item_once_and_in_order(tmp_path: Path) -> None:
    with demo(tmp_path, "--seconds", "6", "--lake", "--json") as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    verdict = json.loads(out)
    assert verdict["made"] == verdict["found"] > 100
    assert verdict["items_to_load"] >= verdict["items_loaded_by_rows"] > 900
    faults = ("lost", "repeated", "out_of_order", "unexpected", "misplaced", "without_tombstone", "stale")
    assert [verdict[fault] for fault in faults] == [0] * len(faults)
    assert list(verdict["exit_codes"].values()) == [0, 0]
    assert "killed with SIGKILL" in err
    assert "table products is loaded" in err
    assert "\x1b" not in err
    assert processes_of(tmp_path) == []
    lake = verdict["lake"]
    assert lake["rows"] >= verdict["found"] + verdict["items_loaded_by_rows"]
    assert [lake[fault] for fault in ("lost", "repeated", "unexpected")] == [0, 0, 0]
    assert "delivered" in lake["answer"]
    assert str(duckdb.sql(lake["query"])) == lake["answer"]
    assert [str(path) for path in tmp_path.iterdir()] == [lake["folder"]]


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("starting Kafka and DynamoDB Local", signal.SIGINT),
        ("worker 1 (", signal.SIGINT),
        ("writing begins", signal.SIGTERM),
        ("read_committed", signal.SIGINT),
    ],
)
def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, said: str, number: signal.Signals) -> None:
    with demo(tmp_path, "--seconds", "4", "--lake") as process:
        assert process.stdout
        for line in process.stdout:
            if said in line:
                break
        process.send_signal(number)
        _, err = process.communicate()
    assert process.returncode == EXIT_INTERRUPTED, err
    assert "Traceback" not in err
    wait_for("all processes end", lambda: processes_of(tmp_path) == [])
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_is_kept_stays_up_until_it_is_interrupted(tmp_path: Path) -> None:
    with demo(tmp_path, "--seconds", "4", "--keep") as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("tailrace run"):
                break
        assert len([line for line in processes_of(tmp_path) if " run " in line]) == 2
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
