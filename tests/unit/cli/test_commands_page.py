"""docs/commands.md has every command with an example and every option, and none that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperArgument, TyperGroup
from typer.main import get_command

from support.cli import CommandLine
from tailrace.cli.main import app

PAGE = (Path(__file__).parents[3] / "docs" / "commands.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", PAGE, flags=re.MULTILINE))
SHARED = SECTIONS["What all commands share"]


def options_of(command: object) -> set[str]:
    parameters = getattr(command, "params")  # noqa: B009 - typer brings its own click, without types
    return {
        name
        for parameter in parameters
        if not isinstance(parameter, TyperArgument)
        for name in (*parameter.opts, *parameter.secondary_opts)
    }


def commands() -> Iterator[tuple[str, set[str], str]]:
    """Every command with its options and its help, but the earlier names of some."""
    groups = [("tailrace", get_command(app))]
    while groups:
        name, group = groups.pop()
        assert isinstance(group, TyperGroup)
        for word, command in group.commands.items():
            whole = f"{name} {word}"
            if isinstance(command, TyperGroup):
                groups.append((whole, command))
            if not command.hidden and (not isinstance(command, TyperGroup) or command.invoke_without_command):
                yield whole, options_of(command), command.help or ""


COMMANDS = list(commands())


def documented_options(section: str) -> set[str]:
    rows = re.findall(r"^\| (`-.+?) \|", section, flags=re.MULTILINE)
    return {option for row in rows for option in re.findall(r"`(--?[\w-]+)`", row)}


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    assert SECTIONS.keys() - {"What all commands share"} == {name for name, _, _ in COMMANDS}


@pytest.mark.parametrize(("name", "options", "help_text"), COMMANDS, ids=[name for name, _, _ in COMMANDS])
def test_the_section_of_a_command_has_an_example_and_exactly_its_options(
    name: str, options: set[str], help_text: str
) -> None:
    assert documented_options(SECTIONS[name]) == options
    assert re.search(rf"^```\n{name}\b", SECTIONS[name], flags=re.MULTILINE)
    assert re.search(rf"Example:\s+{name}\b", help_text)


def test_the_options_of_tailrace_itself_are_told_once() -> None:
    assert documented_options(SHARED) == options_of(get_command(app)) | {"--help", "-h"}


def test_every_command_is_in_the_overview() -> None:
    overview = PAGE.split("\n## ")[0]
    linked = set(re.findall(r"\(#([\w-]+)\)", overview))
    assert linked >= {name.replace(" ", "-") for name, _, _ in COMMANDS if not name.startswith("tailrace local ")}
    assert linked <= {heading.lower().replace(" ", "-") for heading in SECTIONS}


@pytest.mark.parametrize("arguments", [[], ["snapshot"], ["package"], ["deploy-files"], ["simulate"], ["local"]])
def test_the_list_of_commands_is_whole_in_80_columns(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = CommandLine(capsys)(*arguments, "--help").out.partition("Commands:\n")[2].splitlines()
    assert listed
    assert max(map(len, listed)) <= 80
    assert [line for line in listed if line.endswith(("...", "…"))] == []
