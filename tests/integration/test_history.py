"""docs/history.md: its example reads a table as of a time from a real topic."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import tailrace
from support.checkpoints import stream
from support.names import unique
from support.pipeline_file import write_file
from support.publishing import create_checkpoint_topic, publish
from support.stream_records import stream_record
from tailrace.config import load
from tailrace.core.shard import ShardRef
from tailrace.local.kafka import KafkaBroker

PAGE = (Path(__file__).parents[2] / "docs" / "history.md").read_text()
FUNCTION, USE = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
NOON_S = 1_769_860_800
SHARD = ShardRef(stream("orders"), "shardId-1")


def record(number: int, op: str, item: str, *, at_s: int) -> dict[str, Any]:
    """A change of an item, some seconds after noon."""
    keys = {"id": {"S": item}}
    image = {**keys, "n": {"N": str(number)}}
    made = stream_record(number, sequence=str(10**20 + number), created_s=NOON_S + at_s, keys=keys, image=image)
    if op == "REMOVE":
        made["dynamodb"]["OldImage"] = made["dynamodb"].pop("NewImage")
    return made | {"eventName": op}


@pytest.mark.parametrize("format_name", ["debezium", "item", "dynamodb-json", "cloudevents"])
def test_the_example_reads_a_table_as_of_a_time(
    kafka: KafkaBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    format_name: str,
) -> None:
    file = write_file(tmp_path, kafka.client_properties(), unique("history"), format=format_name, lanes=1)
    pipeline = load(file).pipeline
    create_checkpoint_topic(pipeline)
    changes = [
        record(1, "INSERT", "a", at_s=-20),
        record(2, "INSERT", "b", at_s=-19),
        record(3, "REMOVE", "a", at_s=-10),
        record(4, "MODIFY", "b", at_s=0),
        record(5, "MODIFY", "b", at_s=1),
        record(6, "INSERT", "a", at_s=2),
    ]
    publish(pipeline, SHARD, json.dumps({"Records": changes}).encode())
    names: dict[str, Any] = {}
    exec(compile(FUNCTION, "history.md", "exec"), names)
    opened = tailrace.open(file)

    def numbers(at_s: int) -> dict[str, str]:
        items = names["table_as_of"](opened, "orders", (NOON_S + at_s) * 1000)
        return {json.loads(key)["id"]: re.sub(r"\D", "", str(item["n"])) for key, item in items.items()}

    assert numbers(-21) == {}
    assert numbers(-15) == {"a": "1", "b": "2"}
    assert numbers(-1) == {"b": "2"}
    assert numbers(9) == {"a": "6", "b": "5"}
    monkeypatch.chdir(tmp_path)
    exec(compile(USE, "history.md", "exec"), names)
    (line,) = capsys.readouterr().out.splitlines()
    assert '"id":"b"' in line
    assert "4" in line
