"""docs/simulator.md names every action, fault, setting and operation of the simulator, and its examples run."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from tailrace_simulator.actions import Action, parse_script
from tailrace_simulator.faults import KINESIS_OPERATIONS, OPERATIONS, PUTS, REPLICATION, WRITES, Fault, suits
from tailrace_simulator.settings import Settings

PAGE = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", PAGE, flags=re.MULTILINE))
ALL_BUT_TAG = {"action"}


def rows(section: str) -> dict[str, list[str]]:
    """A section's table: the further cells of each row by the first."""
    found = re.findall(r"^\| `(\w+)` \|(.+)\|$", SECTIONS[section], flags=re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in found}


def test_every_action_is_documented_with_its_fields() -> None:
    actions = {str(kind.__struct_config__.tag): set(kind.__struct_fields__) for kind in Action.__args__}
    documented = {name: set(re.findall(r"`(\w+)`", cells[0])) for name, cells in rows("Actions").items()}
    assert documented == actions


def test_every_fault_is_documented_with_its_operations() -> None:
    words = {"all": OPERATIONS, "all but Kinesis": OPERATIONS - KINESIS_OPERATIONS, "writes": WRITES, "puts": PUTS}
    suited = {fault.value: {each for each in OPERATIONS | {REPLICATION} if suits(fault, each)} for fault in Fault}
    documented = {fault: cells[0].split(", ") for fault, cells in rows("Faults").items()}
    assert {
        fault: set().union(*(words.get(each, {each}) for each in cell)) for fault, cell in documented.items()
    } == suited


def test_every_setting_is_documented_with_its_default() -> None:
    defaults = {name: f"{value}" for name, value in msgspec.structs.asdict(Settings()).items()}
    assert {name: cells[0] for name, cells in rows("Settings").items()} == defaults


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_every_operation_is_documented(operation: str) -> None:
    assert re.search(rf"(?<![\w:]){operation}\b", SECTIONS["What it does"])


def test_the_file_of_faults_is_one() -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    script = parse_script(yaml.safe_load(example))
    assert len(script.script) == 3
    assert script.rates
    assert script.settings


def test_the_python_examples_run() -> None:
    examples = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, "docs/simulator.md", "exec"), {})
