"""Every command ends with sentences and an exit code, never with a traceback or a secret."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
import typer

from tailrace import __version__
from tailrace.cli import edge, main
from tailrace.errors import WorldError

GOOD = """\
name: shop
kafka:
  bootstrap.servers: localhost:9092
  sasl.password: hunter2-PLANTED
source:
  type: dynamodb-streams
  tables: [orders, "users-*"]
"""
SCRIPT = [sys.executable, "-c", "from tailrace.cli.main import main; main()"]


@pytest.fixture(autouse=True)
def _fresh_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "edge", edge.Edge())
    monkeypatch.setattr(main, "edge", edge.edge)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("pipeline.yaml")
    path.write_text(GOOD)
    return path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main.main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Add a command `fail` that loads the file and then raises."""
    app = typer.Typer()
    app.callback()(main.tailrace)

    def fail(file: Path) -> NoReturn:
        edge.load(file)
        raise error

    app.command()(fail)
    monkeypatch.setattr(main, "app", app)


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"tailrace {__version__}\n"


@pytest.mark.parametrize("command", ["validate", "schema", "tail"])
def test_the_help_of_a_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    shown = capsys.readouterr().out
    assert f"Example:\n    tailrace {command}" in shown


def test_help_lists_the_commands_and_takes_little() -> None:
    def seconds_of_children() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    seconds = []
    for _ in range(3):
        before = seconds_of_children()
        shown = subprocess.run([*SCRIPT, "--help"], capture_output=True, text=True, check=True).stdout
        seconds.append(seconds_of_children() - before)
    assert "validate" in shown
    assert min(seconds) < 0.3, "seconds of a core, so that a busy machine does not count"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; import tailrace.cli.main;"
        "print([m for m in ('boto3', 'botocore', 'confluent_kafka', 'pydantic', 'rich', 'yaml') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_a_right_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", str(file)) == 0
    assert capsys.readouterr() == ("pipeline.yaml: ok: pipeline shop, 2 table patterns, 16 lanes\n", "")


def test_a_right_file_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", str(file), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert told["pipeline"]["lanes"] == 16
    assert told["pipeline"]["kafka"]["sasl.password"] == "***"


def test_a_wrong_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD + "lanes: 0\nformat: avro\n")
    assert run("validate", str(file)) == 2
    assert capsys.readouterr() == (
        "",
        "error: pipeline.yaml:8: lanes: must be at least 1, not 0\n"
        "error: pipeline.yaml:9: format: must be debezium, item, dynamodb-json, cloudevents, "
        "trustpilot or confluent-dynamodb, not `avro`\n",
    )


def test_a_wrong_file_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD + "lanes: 0\n")
    assert run("validate", str(file), "--json") == 2
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out) == {
        "file": "pipeline.yaml",
        "ok": False,
        "errors": [{"line": 8, "path": "lanes", "message": "must be at least 1, not 0", "hint": ""}],
    }


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Tailrace pipeline"


def test_a_world_that_is_not_right(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, WorldError("hunter2-PLANTED was refused", hint="use another"))
    assert run("fail", str(file)) == 3
    assert capsys.readouterr() == ("", "error: *** was refused; use another\n")


def test_a_defect(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing(monkeypatch, ZeroDivisionError("hunter2-PLANTED"))
    assert run("fail", str(file)) == 70
    assert capsys.readouterr() == (
        "",
        "error: unexpected ZeroDivisionError: this is a defect of tailrace; please report it, with what "
        "`tailrace --debug …` shows for the same command\n",
    )


def test_a_defect_in_detail(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing(monkeypatch, ZeroDivisionError("hunter2-PLANTED"))
    assert run("--debug", "fail", str(file)) == 70
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "ZeroDivisionError: ***" in shown
    assert "hunter2" not in shown


def test_ctrl_c(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    assert run("fail", str(file)) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate") == 2
    assert "Missing argument 'FILE'" in capsys.readouterr().err


def test_a_topic_without_brokers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tail", "shop.orders") == 2
    assert capsys.readouterr().err == (
        "error: there is no file shop.orders; if it is a topic, add --bootstrap host:port\n"
    )


def test_an_op_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tail", "shop.orders", "--op", "c,x") == 2
    assert "Invalid value for --op: 'x' is not one of c, u, d, r" in capsys.readouterr().err


def test_colour_only_on_a_terminal(file: Path) -> None:
    file.write_text(GOOD + "lanes: 0\n")
    reader, writer = os.openpty()
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    for environment, expected in ((plain, b"\x1b[1;31merror:\x1b[0m "), ({**plain, "NO_COLOR": "1"}, b"error: ")):
        subprocess.run([*SCRIPT, "validate", str(file)], stderr=writer, env=environment, check=False)
        assert os.read(reader, 10_000).startswith(expected)
    os.close(reader)
    os.close(writer)
