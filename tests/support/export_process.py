"""A command with a sink in a process of its own, maybe with a planted fault; as a main module it is that process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

from confluent_kafka import Consumer, Message, TopicPartition

from tailrace.cli.entry import main
from tailrace.kafka import group_member
from tailrace.kafka.watched_consumer import Place
from tailrace.local.service import hold
from tailrace.sinks import jsonl, progress, runner
from tailrace.sinks.progress import Extent, Obstacle, Position

SESSION_TIMEOUT_MS = 6_000
"""As short as brokers allow."""


class SinkProcess:
    """A context manager that starts a command, and kills it whatever its state."""

    def __init__(self, *arguments: str, fault: str = "none", environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, fault, *arguments],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])} | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.logged: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll()

    def freeze(self) -> None:
        """Hold it with SIGSTOP."""
        hold(self._process.pid)

    def thaw(self) -> None:
        """Resume it."""
        os.kill(self._process.pid, signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL, and wait for the end."""
        self._process.kill()
        self._process.wait()

    def ended(self, timeout_s: float = 120) -> tuple[int, str]:
        """Wait for its end; return the exit code and what it printed."""
        code = self._process.wait(timeout_s)
        self._reader.join()
        assert self._process.stdout is not None
        return code, self._process.stdout.read()

    def was_fenced(self) -> bool:
        """Return whether it found out that another process has claimed a partition of its own."""
        return any("partition claimed by another" in line for line in list(self.logged))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.kill()
        self._reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.logged.append(line.rstrip())


class ExportProcess(SinkProcess):
    """`tailrace export` of a topic."""

    def __init__(self, bootstrap: str, topic: str, folder: Path, *options: str, fault: str = "none") -> None:
        super().__init__("export", topic, "--bootstrap", bootstrap, "--to", str(folder), *options, fault=fault)


def _replace_files_that_exist() -> None:
    """Put a batch under its name whoever has written there before."""

    def publish(partial: Path, file: Path) -> None:
        file.write_bytes(partial.read_bytes())

    _plant("sinks.jsonl._publish", publish)
    _plant("sinks.jsonl._fence", lambda _folder: None)


def _go_on_where_kafka_says() -> None:
    """Keep the positions in Kafka, as consumers do that commit what they have read."""
    offsets: list[Consumer] = []
    claimed: list[Place] = []
    connect, write, resume = runner.connect, runner.Runner._write, progress.resume_offset
    claim = jsonl.JsonLinesFolder.claim

    def connect_with_offsets(user: dict[str, str], *arguments: Any, group: str, **more: Any) -> runner.Runner:
        offsets.append(Consumer({**user, "group.id": f"{group}.offsets", "enable.auto.commit": False}))
        return connect(user, *arguments, group=group, **more)

    def write_and_commit_offsets(self: runner.Runner, messages: list[Message]) -> None:
        write(self, messages)
        if read := [each for each in messages if each.error() is None]:
            last = {(each.topic() or "", each.partition() or 0): (each.offset() or 0) + 1 for each in read}
            offsets[0].commit(offsets=[TopicPartition(*at, to) for at, to in last.items()], asynchronous=False)

    def claim_and_note(self: jsonl.JsonLinesFolder, place: Place, topic_id: str) -> Position | None:
        claimed.append(place)
        return claim(self, place, topic_id)

    def resume_where_kafka_says(position: Position | None, extent: Extent) -> int | Obstacle:
        (held,) = offsets[0].committed([TopicPartition(*claimed.pop(0))], timeout=20)
        return held.offset if held.offset >= 0 else resume(position, extent)

    _plant("operations.export.connect", connect_with_offsets)
    _plant("sinks.runner.Runner._write", write_and_commit_offsets)
    _plant("sinks.runner.resume_offset", resume_where_kafka_says)
    _plant("sinks.jsonl.JsonLinesFolder.claim", claim_and_note)


def _plant(name: str, fault: Callable[..., object]) -> None:
    patch(f"tailrace.{name}", fault).start()


FAULTS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "no exclusive create": _replace_files_that_exist,
    "positions in Kafka": _go_on_where_kafka_says,
}


def _main(arguments: Sequence[str]) -> None:
    fault, *sys.argv[1:] = arguments
    group_member.SESSION_TIMEOUT_MS = SESSION_TIMEOUT_MS
    FAULTS[fault]()
    with contextlib.suppress(BrokenPipeError):
        main()


if __name__ == "__main__":
    _main(sys.argv[1:])
