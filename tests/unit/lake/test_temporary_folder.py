"""Files under way of a process that was killed do not stay."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tailrace.lake.temporary_folder import TemporaryFolder

KILLED = """
import os, signal
from tailrace.lake.temporary_folder import TemporaryFolder
folder = TemporaryFolder()
(folder.path / "x.parquet").write_bytes(b"x")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_process_removes_what_a_killed_one_left_and_nothing_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lives = TemporaryFolder()
    subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    following = TemporaryFolder()
    assert {*tmp_path.iterdir()} == {lives.path, following.path}
    for each in (lives, following):
        each.close()
    assert list(tmp_path.iterdir()) == []
