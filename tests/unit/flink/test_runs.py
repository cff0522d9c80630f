"""A run begins with the newest state that an earlier one left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailrace.errors import WorldError
from tailrace.flink.runs import Run, begin
from tailrace.lake.location import Folder

TABLES = ["customers", "orders"]


def begun(root: Path, tables: list[str] = TABLES) -> Run:
    return begin(Folder(root), tables)


def left(run: Run, *names: str) -> None:
    """Leave states of a run."""
    for name in names:
        folder = Path(run.folder.removeprefix("file://"), name)
        folder.mkdir(parents=True)
        (folder / "_metadata").touch()


def test_the_first_begins_with_the_topics(tmp_path: Path) -> None:
    assert begun(tmp_path) == Run(f"{tmp_path.as_uri()}/_tailrace/flink/00000001", None)


def test_the_last_checkpoint_counts_by_its_number(tmp_path: Path) -> None:
    run = begun(tmp_path)
    left(run, "chk-9", "chk-10")
    Path(run.folder.removeprefix("file://"), "chk-11").mkdir()  # it was not finished
    assert begun(tmp_path).state == f"{run.folder}/chk-10"


def test_a_savepoint_ends_a_run(tmp_path: Path) -> None:
    run = begun(tmp_path)
    left(run, "chk-3", "savepoint-1f2e")
    assert begun(tmp_path).state == f"{run.folder}/savepoint-1f2e"


def test_a_run_that_left_nothing_is_passed_over(tmp_path: Path) -> None:
    run = begun(tmp_path)
    left(run, "chk-1")
    begun(tmp_path)
    assert begun(tmp_path) == Run(f"{tmp_path.as_uri()}/_tailrace/flink/00000003", f"{run.folder}/chk-1")


def test_a_job_of_other_tables_is_refused(tmp_path: Path) -> None:
    left(begun(tmp_path), "chk-1")
    with pytest.raises(WorldError, match=r"written from the tables customers, orders, and now there are orders:"):
        begun(tmp_path, ["orders"])
