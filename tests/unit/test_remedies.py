"""What fixes an error is a code below the faces, and a sentence in them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import typer.main

import tailrace
from tailrace import remedy
from tailrace.cli.main import app
from tailrace.cli.render import to_json
from tailrace.errors import FileError, WorldError
from tailrace.remedy import AcceptChanges, AcceptGap, Remedy, ReplayFrom, RunPipeline, SetLanes, SwitchTo, say
from tailrace.remedy_sentences import sentence

SOURCE = Path(tailrace.__file__).parent
FACES = {"cli", "local", "deploy", "lambda_handler.py", "remedy_sentences.py"}
"""Faces, and what only the command line uses."""
ARGUMENTS: dict[str, Any] = {
    "lanes": 4,
    "or_rescale": True,
    "method": "worker",
    "table": "orders",
    "lake": "main",
    "tables_key": "source.tables",
    "from_ms": 1_769_860_800_000,
    "to_ms": None,
    "exports": ("s3://exports/full",),
}
COMMAND = re.compile(rf"\btailrace ({'|'.join(map(re.escape, typer.main.get_command(app).commands))})\b")  # type: ignore[attr-defined]


def texts(module: Path) -> Iterator[str]:
    """The strings of a module, without those that document it."""
    tree = ast.parse(module.read_text())
    documents = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.value


def test_nothing_below_the_faces_names_a_command() -> None:
    modules = [path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] not in FACES]
    assert len(modules) > 100
    assert {(path.name, text) for path in modules for text in texts(path) if COMMAND.search(text)} == set()
    assert any(COMMAND.search(text) for text in texts(SOURCE / "remedy_sentences.py"))


@pytest.mark.parametrize("kind", get_args(Remedy), ids=lambda kind: kind.__name__)
def test_every_remedy_has_a_sentence_and_survives_json(kind: type[Remedy]) -> None:
    made = kind(**{name: ARGUMENTS[name] for name in kind.__struct_fields__})
    assert re.fullmatch(r"[^\n]{8,}[^.\n]", sentence(made, "shop.yaml"))
    assert msgspec.json.decode(msgspec.json.encode(made), type=Remedy) == made
    assert msgspec.to_builtins(made)["code"] == re.sub(r"(?<!^)([A-Z])", r"-\1", kind.__name__).lower()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (SetLanes(16, or_rescale=False), "set `lanes: 16`: lanes can only be added"),
        (AcceptChanges("worker"), "start one worker with `tailrace run shop.yaml --accept-changes`, then the others"),
        (AcceptChanges("lambda"), "run `tailrace switch shop.yaml --to lambda --accept-changes`"),
        (
            ReplayFrom("orders", 1_769_860_800_000, 1_769_860_800_001),
            "go on with: tailrace replay shop.yaml --table orders --from 2026-01-31T12:00:00Z "
            "--to 2026-01-31T12:00:00.001Z",
        ),
        (ReplayFrom("orders", None, None), "tailrace replay shop.yaml --table orders --from trim_horizon"),
        (SwitchTo("lambda"), "to go over to this one: tailrace switch shop.yaml --to lambda"),
    ],
)
def test_a_sentence_follows_from_the_arguments(made: Remedy, words: str) -> None:
    assert sentence(made, "shop.yaml").endswith(words)


def test_an_error_ends_with_the_words_of_the_face(monkeypatch: pytest.MonkeyPatch) -> None:
    error = WorldError("it stands still", hint="look first", remedy=AcceptGap("orders"))
    assert str(error) == f"it stands still; look first; {sentence(AcceptGap('orders'))}"
    assert str(FileError("is new", file="shop.yaml", remedy=RunPipeline())).startswith("shop.yaml: is new; `tailrace")
    monkeypatch.setattr(remedy, "_words", remedy._bare)
    assert str(error) == "it stands still; look first; remedy: accept-gap (table=orders)"
    assert say(RunPipeline()) == "remedy: run-pipeline"
    remedy.speak_as(lambda _remedy: "press the button")
    assert str(error) == "it stands still; look first; press the button"


def test_the_command_line_shows_a_remedy_in_json_as_its_sentence() -> None:
    class Result(msgspec.Struct):
        remedies: tuple[Remedy | None, ...]
        counts: dict[str, int]

    shown = to_json(Result((None, RunPipeline()), {"a": 1}))
    assert msgspec.json.decode(shown) == {"remedies": [None, sentence(RunPipeline())], "counts": {"a": 1}}
