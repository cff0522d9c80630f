"""`tailrace redrive`: what it refuses before it connects to anything, and how it tells what was done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.cli import CommandLine
from support.pipeline_file import write_file
from tailrace.core.redrive import Selection
from tailrace.operations import redrive as runtime
from tailrace.operations.republisher import Redriven, Report

CHANGES = [
    Redriven("orders", "s", "1", "published", "TRANSFORMATION", "RecordError", "no \x1b total"),
    Redriven("orders", "s", "2", "published", "TRANSFORMATION", "RecordError", "none"),
    Redriven("users", "s", "3", "superseded", "PRODUCE", "TooLarge", "too large"),
]
LOST = Redriven("users", "s", "4", "lost", reason="the stream no longer has it")


@pytest.fixture
def tailrace(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_file(tmp_path, {"bootstrap.servers": "localhost:1"}, "shop")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Keeps what the command asks for, and answers with `report`."""
    asked: dict[str, Any] = {"report": Report("shop", dry_run=False, changes=list(CHANGES))}

    def redrive(_pipeline: object, selection: Selection, **options: Any) -> Report:
        asked.update(options, selection=selection)
        report: Report = asked["report"]
        return report

    monkeypatch.setattr(runtime, "redrive", redrive)
    return asked


def test_the_options_choose(file: Path, asked: dict[str, Any], tailrace: CommandLine) -> None:
    tailrace(
        "redrive", file, "--table", "orders", "--table", "u*", "--reason", "x", "--stage", "PRODUCE",
        "--since", "1970-01-01T00:00:01", "--until", "1970-01-01T01:00:02+01:00", "--no-skip-superseded", "--dry-run",
    )  # fmt: skip
    assert asked["selection"] == Selection(("orders", "u*"), "x", ("PRODUCE",), 1000, 2000)
    assert (asked["skip_superseded"], asked["dry_run"]) == (False, True)
    tailrace("redrive", file)
    assert asked["selection"] == Selection()
    assert (asked["skip_superseded"], asked["dry_run"]) == (True, False)


def test_it_counts_by_table_and_reason(file: Path, asked: dict[str, Any], tailrace: CommandLine) -> None:
    done = tailrace("redrive", file)
    assert done.out.splitlines() == [
        "table orders: 2 published (TRANSFORMATION, RecordError)",
        "table users: 1 left out: a newer change of the key is published (PRODUCE, TooLarge)",
    ]
    assert (done.code, done.err) == (0, "")
    asked["report"].changes.append(LOST)
    asked["report"].refused.append("s3://\x1b is none")
    told = tailrace("redrive", file)
    assert told.out.splitlines()[1] == "table users: 1 lost (the stream no longer has it)"
    assert told.out.splitlines()[-1] == "left alone: s3://\\x1b is none"
    asked["report"] = Report("shop", dry_run=True, changes=list(CHANGES))
    verbose = tailrace("redrive", file, "--dry-run", "--verbose").out.splitlines()
    assert verbose[0] == "orders 1 would be published: no \\x1b total"
    assert verbose[3] == "table orders: 2 would be published (TRANSFORMATION, RecordError)"
    assert verbose[-1] == "nothing was done: this is a dry run"


def test_the_json_holds_each_change_and_the_counts(file: Path, asked: dict[str, Any], tailrace: CommandLine) -> None:
    del asked
    told = tailrace("redrive", file, "--json").json()
    assert told["counts"] == {
        "published": 2, "dropped": 0, "present": 0, "superseded": 1, "skipped": 0, "failed": 0, "lost": 0
    }  # fmt: skip
    assert [change["sequence"] for change in told["changes"]] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "fields",
    [
        {"changes": [Redriven("orders", "s", "1", "failed")]},
        {"changes": [Redriven("orders", "s", "1", "lost")]},
        {"lost": ["a range"]},
        {"refused": ["a message"]},
    ],
)
def test_what_is_not_done_gives_exit_code_1(
    file: Path, asked: dict[str, Any], tailrace: CommandLine, fields: dict[str, Any]
) -> None:
    asked["report"] = Report("shop", dry_run=False, **fields)
    assert tailrace("redrive", file).code == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--since", "yesterday"), "'yesterday' is no time"),
        (("--from-file", "a", "--from-s3", "b"), "give one of --from-sqs, --from-s3 and --from-file"),
        (("--from-file", "a", "--reason", "x"), "choose dead letters, not on-failure messages"),
        (("--from-sqs", "failed"), "'failed' is not the URL of a queue"),
        (("--from-s3", "s3://"), "'s3://' names no bucket"),
    ],
)
def test_what_makes_no_sense_is_refused(
    file: Path, tailrace: CommandLine, options: tuple[str, ...], sentence: str
) -> None:
    refused = tailrace("redrive", file, *options)
    assert refused.code == 2
    assert sentence in " ".join(refused.err.replace("│", " ").split())
