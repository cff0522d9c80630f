"""The file of faults: YAML or JSON, and a sentence for what is wrong in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tailrace_simulator.actions import parse_script
from tailrace_simulator.errors import InputError
from tailrace_simulator.script_file import load_script

CONTENT = {"settings": {"shards": 2}, "rates": {"*": {"reset": 0.5}}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "faults.yaml"


def test_yaml_and_json_say_the_same(file: Path) -> None:
    file.write_text('settings: {shards: 2}\nrates:\n  "*": {reset: 0.5}\n')
    assert load_script(file) == parse_script(CONTENT)
    file.write_text(json.dumps(CONTENT))
    assert load_script(file) == parse_script(CONTENT)


def test_an_empty_file_asks_for_nothing(file: Path) -> None:
    file.write_text("# nothing\n")
    assert load_script(file) == parse_script({})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a: [", "it is not YAML: "),
        (b"\xff\xfe\xfa", "it is not YAML: "),
        (b"script:\n- {when: {}, do: {action: explode}}", "script[0].do.action: Invalid value 'explode'"),
        (b"rates: {GetItem: {hole: 1}}", "hole cannot happen to GetItem"),
        (b"- 1", "Expected `object`, got `array`"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(file: Path, content: bytes, sentence: str) -> None:
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_script(file)
    assert str(caught.value).startswith(f"{file}: {sentence}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(file: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_script(file)
