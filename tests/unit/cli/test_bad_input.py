"""Whatever a user gives a command, it ends with sentences and an exit code, before any service is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.cli import CommandLine
from support.fuzz import examples
from tailrace.cli import edge, main
from tailrace.cli.tail import _clock

GOOD = """\
name: shop
kafka: {bootstrap.servers: "127.0.0.1:1"}
source: {type: dynamodb-streams, region: eu-west-1, tables: [orders]}
"""
BOMB = "a: &a [x, x]\n" + "".join(f"{name}: &{name} [{'*a, ' * 99}]\n" for name in "bcdefghi")
BAD_FILES = {
    "nothing": b"",
    "no text": b"\x7fELF\x00\xff",
    "no UTF-8": GOOD.replace("shop", "caf\xe9").encode("latin-1"),
    "a bomb of aliases": BOMB.encode(),
    "an object": GOOD.replace("shop", "!!python/object/apply:os.system [id]").encode(),
    "a key twice": (GOOD + "name: other\n").encode(),
    "far too much": GOOD.encode() + b"# " + b"x" * (1 << 20),
    "no end": b"[" * 60,
    "no such variable": GOOD.replace("shop", "${env:NO_SUCH_VARIABLE}").encode(),
}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(edge, "edge", edge.Edge())
    monkeypatch.setattr(main, "edge", edge.edge)
    return CommandLine(capsys)


@pytest.mark.parametrize("bad", BAD_FILES)
@pytest.mark.parametrize("command", ["validate", "plan", "run", "status", "tail", "rescale", "accept-gap"])
def test_a_bad_file_is_told_by_every_command_in_sentences(run: CommandLine, command: str, bad: str) -> None:
    Path("p.yaml").write_bytes(BAD_FILES[bad])
    code, out, err = run(command, "p.yaml", *(["--table", "orders"] if command == "accept-gap" else []))
    assert (code, out) == (2, "")
    sentences = err.splitlines()
    assert sentences
    assert all(sentence.startswith("error: p.yaml") and sentence.isprintable() for sentence in sentences)


ODD = [
    "",
    " ",
    "-",
    "--",
    "-1",
    "0",
    "9" * 30,
    "*",
    "?",
    "[",
    "c,u",
    "C",
    "orders",
    "no such file",
    "/",
    "p.yaml/x",
    "a\nb",
]
ODD += [
    "\x1b[31m",
    "café",
    "$(id)",
    "--table",
    "--key",
    "--op",
    "--limit",
    "--json",
    "--yes",
    "--watch",
    "--from",
    "--bogus",
]
COMMANDS = ["tail", "status", "accept-gap", "rescale", "validate", "plan", "schema"]


@examples(60)
@given(command=st.sampled_from(COMMANDS), arguments=st.lists(st.sampled_from(ODD) | st.text(max_size=5), max_size=4))
def test_any_arguments_are_refused_without_a_traceback(run: CommandLine, command: str, arguments: list[str]) -> None:
    code, _, err = run(command, *arguments)
    assert code in {0, 2}
    assert "Traceback" not in err
    assert "defect" not in err
    assert code == 0 or err


@examples(100)
@given(st.integers(-1, 2**63 - 1))
def test_a_record_of_any_time_is_shown(timestamp_ms: int) -> None:
    """Its writer may have meant micro- or nanoseconds."""
    shown = _clock(timestamp_ms)
    assert shown == str(timestamp_ms) or len(shown) == len("12:34:56.789")
