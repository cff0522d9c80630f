"""`make bench` runs: every part, for a moment. What it measures is not judged here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import PARTS

ROOT = Path(__file__).parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the CPU time of a worker is read from /proc")
@pytest.mark.timeout(900)  # some ten workers start, one after the other
def test_every_part_runs() -> None:
    ended = bench("--quick")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [name for name in PARTS if f"({name}: " not in ended.stdout] == []


def test_a_part_that_is_not_there_is_told() -> None:
    ended = bench("--only", "pages")
    assert (ended.returncode, ended.stdout.startswith("error: there is no part pages; the parts are page, ")) == (
        2,
        True,
    )


def test_the_page_has_a_place_for_every_part() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    assert [
        name for name in PARTS if f"<!-- bench:{name} -->\n" not in page or f"<!-- end:{name} -->" not in page
    ] == []
