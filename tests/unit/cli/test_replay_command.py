"""`tailrace replay`: what it warns of, asks and refuses, and how it tells what was done."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.cli import CommandLine
from support.pipeline_file import write_file
from tailrace.operations import replay as operation
from tailrace.operations.replay import Replayed

NOON_MS = 1_769_860_800_000
DONE = Replayed(
    pipeline="shop",
    table="orders",
    from_ms=None,
    to_ms=None,
    changes=12,
    records=13,
    dropped=0,
    dead_letters=0,
    shards=3,
    trimmed_shards=(),
    busy_shards=(),
    complete=True,
)


@pytest.fixture
def tailrace(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_file(tmp_path, {"bootstrap.servers": "localhost:1"}, "shop")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Keeps what the command asks for, and answers with `done`."""
    asked: dict[str, Any] = {"done": DONE}

    def replay(_loaded: object, table: str, *, stopped: Callable[[], bool], **options: Any) -> Replayed:
        asked.update(options, table=table, stopped=stopped())
        done: Replayed = asked["done"]
        return done

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(operation, "replay", replay)
    monkeypatch.setattr(operation, "check", lambda *_, **_options: None)
    yield asked
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_it_warns_and_does_what_is_asked(file: Path, asked: dict[str, Any], tailrace: CommandLine) -> None:
    done = tailrace("replay", file, "--table", "orders", "--from", "trim_horizon", "--yes")
    assert (asked["table"], asked["from_ms"], asked["to_ms"], asked["stopped"]) == ("orders", None, None, False)
    assert done.err.splitlines() == [
        "changes of table orders from the oldest that the stream holds are published again, to shop.orders",
        "older states will follow newer ones: whoever keeps the latest state of each key sees it go back, until the "
        "replay has ended",
        "the header tailrace.replayed marks the records: whoever has read the changes before can leave them out",
    ]
    assert (done.code, done.out) == (0, "table orders: 12 changes replayed\n")


def test_a_bounded_replay_says_what_becomes_of_later_changes(
    file: Path, asked: dict[str, Any], tailrace: CommandLine
) -> None:
    times = ["--from", "2026-01-31T11:00:00", "--to", "2026-01-31T13:00:00+01:00"]
    done = tailrace("replay", file, "--table", "orders", *times, "-y")
    assert (asked["from_ms"], asked["to_ms"]) == (NOON_MS - 3_600_000, NOON_MS)
    assert "from 2026-01-31T11:00:00Z to 2026-01-31T12:00:00Z are published again" in done.err
    assert "a key that changed after that keeps its older state until it changes again" in done.err


def test_without_a_terminal_it_wants_to_be_told(file: Path, asked: dict[str, Any], tailrace: CommandLine) -> None:
    refused = tailrace("replay", file, "--table", "orders", "--from", "2h")
    assert (refused.code, "table" in asked) == (2, False)
    assert "add --yes to replay" in " ".join(refused.err.replace("│", " ").split())


def test_what_a_reader_must_know_is_told(file: Path, asked: dict[str, Any], tailrace: CommandLine) -> None:
    asked["done"] = msgspec.structs.replace(
        DONE, dropped=2, dead_letters=1, trimmed_shards=("a",), busy_shards=("b", "c")
    )
    told = tailrace("replay", file, "--table", "orders", "--from", "2h", "--yes").out.splitlines()
    assert told == [
        "table orders: 12 changes replayed (2 dropped by the transformation, 1 set aside as dead letters)",
        "changes were trimmed before they were read, of shards: a",
        "a key that changed within the last moments may keep an older state until it changes again, in shards that are "
        "written to all the time: b, c",
    ]


def test_a_stopped_replay_says_where_to_go_on(file: Path, asked: dict[str, Any], tailrace: CommandLine) -> None:
    asked["done"] = msgspec.structs.replace(DONE, complete=False, resume_from_ms=NOON_MS, to_ms=NOON_MS + 1000)
    stopped = tailrace("replay", file, "--table", "orders", "--from", "2h", "--yes")
    assert stopped.code == 130
    assert stopped.out.splitlines()[-1] == (
        "it was stopped before its end; go on with: "
        f"tailrace replay {file} --table orders --from 2026-01-31T12:00:00Z --to 2026-01-31T12:00:01Z"
    )
    told = tailrace("replay", file, "--table", "orders", "--from", "2h", "--yes", "--json").json()
    assert (told["changes"], told["complete"], told["resume_from_ms"]) == (12, False, NOON_MS)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--from", "yesterday"), "'yesterday' is no time"),
        (("--from", "2h", "--to", "end"), "'end' is no time"),
        (("--from", "2h", "--to", "2999-01-01"), "2999-01-01T00:00:00Z is still to come"),
        (("--from", "1h", "--to", "2h"), "would begin after it ends"),
        (("--from", "2999-01-01"), "would begin after it ends"),
    ],
)
def test_times_that_cannot_be_are_refused(
    file: Path, tailrace: CommandLine, options: tuple[str, ...], sentence: str
) -> None:
    refused = tailrace("replay", file, "--table", "orders", *options, "--yes")
    assert refused.code == 2
    assert sentence in " ".join(refused.err.replace("│", " ").split())
