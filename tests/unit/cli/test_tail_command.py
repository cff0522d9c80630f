"""`tailrace tail`: what it refuses before it connects to anything."""

from __future__ import annotations

import pytest

from support.cli import CommandLine


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--from", "yesterday"), "'yesterday' is no time; write 2026-01-31T12:00:00Z"),
        (("--from", "beginning", "--to", "now"), "'now' is no time"),
        (("--to", "2h"), "say with --from where to begin"),
    ],
)
def test_what_makes_no_sense_is_refused(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...], sentence: str
) -> None:
    refused = CommandLine(capsys)("tail", "orders", "--bootstrap", "localhost:1", *options)
    assert refused.code == 2
    assert sentence in " ".join(refused.err.replace("│", " ").split())
