"""The JSON Schema and the manual say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tailrace.config import Pipeline, json_schema, load
from tailrace.config.by_type import ByType
from tailrace.config.lake import OneOrSeveral
from tailrace.kafka.properties import OWNED

DOCS = Path(__file__).parents[3] / "docs"
MANUAL = (DOCS / "configuration.md").read_text()
GOOD: dict[str, Any] = {
    "name": "shop",
    "kafka": {"bootstrap.servers": "localhost:9092"},
    "source": {"type": "dynamodb-streams", "tables": ["orders"]},
}


def kinds_of(field: FieldInfo) -> list[type[BaseModel]]:
    """The models of a key's mapping: one for each `type` when it has kinds."""
    inner = [each for part in get_args(field.annotation) for each in get_args(part)]  # of a key that may be left out
    if union := next((each for each in (*field.metadata, *inner) if isinstance(each, ByType)), None):
        return [union.kind(name) for name in union.types]
    if type(None) in get_args(field.annotation) or OneOrSeveral in field.metadata:
        return [part for part in get_args(field.annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
        return [field.annotation]
    return []


def keys(model: type[BaseModel] = Pipeline, above: str = "") -> dict[str, Any]:
    """Each key of the file by its path, with its default as the file would write it."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        path = above + (field.alias or name)
        found[path] = field.default if not field.is_required() else "required"
        for kind in kinds_of(field):
            found |= keys(kind, f"{path}.")
        if any(isinstance(each, ByType) and each.or_name for each in field.metadata):
            del found[f"{path}.type"]  # what the name alone says, in another form
    return found


def manual_rows() -> dict[str, list[str]]:
    rows = [re.split(r"(?<!\\) *\| *", line.strip("| ")) for line in MANUAL.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in rows}


def valid(data: Any) -> bool:
    return bool(Draft202012Validator(json_schema()).is_valid(data))


def test_the_published_schema_is_current() -> None:
    assert json.loads((DOCS / "pipeline.schema.json").read_text()) == json_schema(), (
        "run: tailrace schema > docs/pipeline.schema.json"
    )


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_key_of_the_schema_is_described() -> None:
    schema = json_schema()
    parts: dict[str, Any] = {"Pipeline": schema} | schema["$defs"]
    assert [
        f"{part}.{name}"
        for part, content in parts.items()
        for name, key in content["properties"].items()
        if "description" not in key
    ] == []


def test_the_manual_has_every_key_and_no_other() -> None:
    assert set(manual_rows()) == set(keys()) | {"kafka.bootstrap.servers"}


@pytest.mark.parametrize(("key", "default"), list(keys().items()))
def test_the_manual_has_the_defaults(key: str, default: Any) -> None:
    _type, told, meaning = manual_rows()[key]
    assert meaning.endswith((".", ")."))
    if default is None:
        assert told, "what happens without the key"
    elif told or default != {}:
        assert told.strip('`"') == json.dumps(default).strip('"')


def test_the_manual_names_only_properties_that_are_refused_as_such() -> None:
    paragraph = MANUAL.partition("These are the protocol's")[2].partition("`max.in.flight`")[0]
    assert set(re.findall(r"`([a-z.]+)`", paragraph)) <= set(OWNED)


def test_the_first_example_of_the_manual_is_a_right_file(tmp_path: Path) -> None:
    example = MANUAL.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "p.yaml").write_text(example)
    assert load(tmp_path / "p.yaml").pipeline.name == "shop"
    assert valid(yaml.safe_load(example))


def test_the_kafka_example_of_the_manual_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_KEY", "key")
    (tmp_path / "kafka").write_text("secret")
    example = MANUAL.split("```yaml\n")[2].partition("```")[0].replace("/run/secrets/kafka", "kafka")
    content = f"name: shop\n{example}source: {{type: dynamodb-streams, tables: [orders]}}\n"
    (tmp_path / "p.yaml").write_text(content)
    assert load(tmp_path / "p.yaml").pipeline.kafka["sasl.password"] == "secret"
    assert valid(yaml.safe_load(content))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"lanes": 4, "tombstones": False, "buffer": "8MiB", "batch": {"linger": "0ms"}},
        {"format": {"type": "item"}},
        {"format": {"type": "${env:F}"}},
        {"snapshot": "initial", "on_gap": "fail"},
        {"snapshot": "${env:MODE}", "on_gap": "${env:GAP}"},
        {"snapshot": {"mode": "initial", "read_capacity": 500, "segments": 64, "filter": "item.a"}},
        {"snapshot": {"read_capacity": "50%", "segments": "auto", "parallel_tables": 1}},
        {"snapshot": {"mode": "${env:MODE}", "read_capacity": "${env:UNITS}", "segments": "${env:LANES}"}},
        {"on_gap": {"default": "fail", "tables": {"orders": "resnapshot", "or*": "fail"}}},
        {"lanes": "${env:LANES}", "tombstones": "${env:T}", "format": "${env:F}", "buffer": "${env:B}"},
        {"topics": {"replication": "auto", "properties": {"retention.ms": 5, "preallocate": True}}},
        {"topics": {"replication": 3}},
        {"kafka": {"bootstrap.servers": "a:1", "linger.ms": 5, "socket.keepalive.enable": True}},
    ],
)
def test_the_schema_takes_what_the_loader_takes(
    more: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "LANES": "2",
        "T": "true",
        "F": "item",
        "B": "9MiB",
        "MODE": "initial",
        "GAP": "fail",
        "UNITS": "50%",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({**GOOD, **more}))
    load(tmp_path / "p.yaml")
    assert valid({**GOOD, **more})


@pytest.mark.parametrize(
    "more",
    [
        {"lanes": 0},
        {"lanes": "4"},
        {"format": "avro"},
        {"format": {"type": "avro"}},
        {"format": {"type": "item", "colour": "red"}},
        {"format": {}},
        {"colour": "red"},
        {"buffer": "8 MiB"},
        {"name": "my shop"},
        {"kafka": {}},
        {"kafka": {"bootstrap.servers": "a:1", "acks": 1}},
        {"source": {"type": "dynamodb-streams", "tables": []}},
        {"source": {"type": "dynamodb-streams", "tables": ["a b c"]}},
        {"topics": {"replication": 0}},
        {"snapshot": "always"},
        {"snapshot": {"read_capacity": "500"}},
        {"snapshot": {"read_capacity": "0%"}},
        {"snapshot": {"segments": 0}},
        {"on_gap": {"orders": "fail"}},
        {"on_gap": {"tables": {"orders": "ignore"}}},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(more: dict[str, Any]) -> None:
    assert not valid({**GOOD, **more})
