"""The exact bytes of every format for records as AWS sends them.

A change of these bytes changes what consumers read: regenerate with `UPDATE_GOLDEN=1 pytest tests/unit/formats`, look
at the difference, and say it in the changelog. The version of Tailrace is written as `{version}`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from support.golden import CASES, NOW_NS, ROWS, change_of, row_of
from tailrace import __version__
from tailrace.core.change import Change, Message
from tailrace.errors import RecordError
from tailrace.formats import FORMATS, Format, make_format


def made(change: Change) -> dict[str, Any]:
    """Return what every format makes of a change."""
    return {
        f"{name}, numbers: {numbers}": encoded(make_format(name, pipeline="shop", numbers=numbers), change)
        for name in FORMATS
        for numbers in (("exact", "string") if FORMATS[name].reads_back else ("exact",))
    }


def encoded(made_format: Format, change: Change) -> dict[str, Any]:
    try:
        return shown(made_format.encode(change, NOW_NS))
    except RecordError as error:
        return {"error": str(error)}


def shown(message: Message) -> dict[str, Any]:
    value = None if message.value is None else message.value.decode()
    headers = {name: header.decode() for name, header in message.headers or []}
    return {
        "key": message.key.decode(),
        "value": value and value.replace(f'"version":"{__version__}"', '"version":"{version}"'),
        **({"headers": headers} if headers else {}),
    }


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_the_bytes_are_those_that_consumers_know(path: Path) -> None:
    golden = json.loads(path.read_text())
    compare(path, golden, made(change_of(golden["record"])))


@pytest.mark.parametrize("path", ROWS, ids=[path.stem for path in ROWS])
def test_the_bytes_of_a_row_are_those_that_consumers_know(path: Path) -> None:
    golden = json.loads(path.read_text())
    compare(path, golden, made(row_of(golden)))


def compare(path: Path, golden: dict[str, Any], messages: dict[str, Any]) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        golden = golden | {"messages": messages}
        path.write_text(json.dumps(golden, indent=2, ensure_ascii=False) + "\n")
    assert messages == golden["messages"]


def test_every_operation_and_view_type_has_a_golden_record() -> None:
    records = [json.loads(path.read_text())["record"] for path in CASES]
    assert {record["eventName"] for record in records} == {"INSERT", "MODIFY", "REMOVE"}
    view_types = {record["dynamodb"]["StreamViewType"] for record in records}
    assert view_types == {"NEW_AND_OLD_IMAGES", "NEW_IMAGE", "OLD_IMAGE", "KEYS_ONLY"}
