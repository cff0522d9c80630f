"""docs/tutorial.md, followed literally from its first command to its last."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.waiting import wait_for
from tailrace.local.artifacts import cache_dir
from tailrace.local.dynamodb import DynamoDBLocal
from tailrace.local.kafka import KafkaBroker
from tailrace.local.sample import CHANGES, pipeline_text

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
TIMEOUT_S = 120


class Terminal:
    """Runs one line after the other in a folder; what a line exports is kept for the next."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache = folder / "cache"
        self._cache.mkdir()
        (self._cache / "jars").symlink_to(cache_dir() / "jars")
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TAILRACE_CACHE": str(self._cache),
        }
        self.workers: list[subprocess.Popen[bytes]] = []

    def type(self, line: str) -> str:
        """Run a line that ends by itself, and return what it printed."""
        if line.startswith("export "):
            self._environment |= dict(pair.split("=") for pair in line.split()[1:])
            return ""
        done = subprocess.run(
            ["sh", "-c", self._on_own_ports(line)],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
        return done.stdout

    def start(self, line: str) -> subprocess.Popen[bytes]:
        """Run a line that goes on until it is stopped."""
        log = (self._folder / "worker.log").open("ab")
        with log:
            worker = subprocess.Popen(
                ["sh", "-c", f"exec {line}"],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.workers.append(worker)
        return worker

    @property
    def log(self) -> str:
        return (self._folder / "worker.log").read_text()

    @property
    def file(self) -> Path:
        return self._folder / "pipeline.yaml"

    def _on_own_ports(self, line: str) -> str:
        """Put the ports of the file in the folder for those of the page, as the page asks."""
        if "8000" not in line:
            return line
        endpoint_url = yaml.safe_load(self.file.read_text())["source"]["endpoint_url"]
        return line.replace("http://127.0.0.1:8000", endpoint_url)


@pytest.fixture
def terminal(tmp_path: Path, kafka: KafkaBroker, dynamodb: DynamoDBLocal) -> Iterator[Terminal]:
    """A terminal whose cache has the jars, which the services of the tests have fetched."""
    terminal = Terminal(tmp_path)
    yield terminal
    for worker in terminal.workers:
        worker.kill()
        worker.wait()
    terminal.type("tailrace local down")


def test_the_tutorial_can_be_followed(terminal: Terminal) -> None:
    shown = {}
    for line in COMMANDS:
        if line == "tailrace run pipeline.yaml":
            terminal.start(line)
            wait_for("a shard is read", lambda: "shard begun" in terminal.log, TIMEOUT_S)
        elif line == "tailrace local down":
            (worker,) = terminal.workers
            worker.send_signal(signal.SIGINT)
            assert worker.wait(TIMEOUT_S) == 0
            shown[line] = terminal.type(line)
        else:
            shown[line] = terminal.type(line)

    up = shown["tailrace local up --sample"]
    assert "tailrace run pipeline.yaml" in up
    assert "tailrace tail pipeline.yaml --from beginning" in up
    (export,) = (line for line in COMMANDS if line.startswith("export "))
    assert export in up
    changes = shown[f"tailrace tail pipeline.yaml --from beginning --limit {CHANGES + 1}"].splitlines()
    assert sorted(change.split()[1] for change in changes) == ["c", "c", "c", "d", "tombstone", "u"]
    (mine,) = shown["tailrace tail pipeline.yaml --from beginning --key mine --limit 1"].splitlines()
    assert '"mine"' in mine
    assert "table orders  streaming" in shown["tailrace status pipeline.yaml"]
    assert shown["tailrace local down"] == "stopped\n"


def test_a_sample_replaces_its_own_file_and_no_other(terminal: Terminal) -> None:
    terminal.file.write_text(pipeline_text("127.0.0.1:1", "http://127.0.0.1:2"))
    terminal.type("tailrace local up --sample")
    written = terminal.file.read_text()
    assert "127.0.0.1:1\n" not in written
    assert "was there already" in terminal.type("tailrace local up --sample")
    assert terminal.file.read_text() == written

    terminal.file.write_text(edited := written + "lanes: 4\n")
    with pytest.raises(AssertionError, match="there is a file of your own, which the sample would replace; run the"):
        terminal.type("tailrace local up --sample")
    assert terminal.file.read_text() == edited


def test_the_file_that_the_page_shows_is_that_of_the_sample() -> None:
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert shown == pipeline_text("127.0.0.1:9092", "http://127.0.0.1:8000")
