"""A key that has kinds: each error has the path and line of its key, whichever kind it is below."""

# ruff: noqa: E501 - a sentence of the table is one line

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from support.second_source import TwoKinds, load_either
from tailrace.config import FileErrors
from tailrace.config.by_type import ByType
from tailrace.config.document import read
from tailrace.config.explain import explain
from tailrace.config.fields import Part, Text, Whole

TOP = "name: shop\nkafka: {bootstrap.servers: 'localhost:9092'}\nsource:\n"
STREAMS = TOP + "  type: dynamodb-streams\n  tables: [orders]\n"
LOG = TOP + "  type: log\n  table: orders\n"
STREAMS_KEYS = (
    "its keys are type, region, endpoint_url, profile, role_arn, access_key_id, secret_access_key, external_id, tags, tables, exclude, "
    "tagging_endpoint_url, enable_streams, start, poll, readers, "
    "discovery"
)
LOG_KEYS = "its keys are type, region, endpoint_url, profile, role_arn, access_key_id, secret_access_key, external_id, table, readers, window"

CASES = [
    # below the first kind
    ("key", STREAMS + "  readers: 0\n", "6: source.readers: must be at least 1, not 0"),
    ("nested key", STREAMS + "  poll:\n    min: 5\n", "7: source.poll.min: has no unit; write a duration, e.g. `10ms` or `1m`"),
    ("member", TOP + "  type: dynamodb-streams\n  tables:\n    - orders\n    - 7\n", '7: source.tables[1]: must be text, not a number; put it in quotes: "7"'),
    ("unknown key", STREAMS + "  colour: red\n", f"6: source.colour: is not a key of `source`; {STREAMS_KEYS}"),
    ("nearly a key", STREAMS + "  reader: 3\n", "6: source.reader: is not a key of `source`; did you mean `readers`?"),
    ("unknown nested key", STREAMS + "  poll: {maxi: 1s}\n", "6: source.poll.maxi: is not a key of `source.poll`; did you mean `max`?"),
    ("key of the other kind", STREAMS + "  window: {}\n", f"6: source.window: is not a key of `source`; {STREAMS_KEYS}"),
    ("missing key", TOP + "  type: dynamodb-streams\n", "3: source.tables: is missing; add e.g. `tables: [orders]`, or `tags`"),
    ("shared key", STREAMS + "  region: US East\n", "6: source.region: `US East` is not a region; write e.g. `us-east-1`"),
    ("mapping", STREAMS + "  poll: fast\n", "6: source.poll: must be a mapping, not `fast`"),
    ("keys that contradict each other", STREAMS + "  external_id: abc\n", "6: source.external_id: has no use without a role; add `role_arn`, or leave it out"),
    # below the second
    ("key, log", LOG + "  readers: a b\n", "6: source.readers: must be a list, not `a b`; write [a b]"),
    ("nested key, log", LOG + "  window:\n    days: 40\n", "7: source.window.days: must be at most 35, not 40"),
    ("member, log", LOG + "  readers: [a, true]\n", '6: source.readers[1]: must be text, not true or false; put it in quotes: "true"'),
    ("unknown key, log", LOG + "  colour: red\n", f"6: source.colour: is not a key of `source`; {LOG_KEYS}"),
    ("unknown nested key, log", LOG + "  window: {day: 1}\n", "6: source.window.day: is not a key of `source.window`; did you mean `days`?"),
    ("key of the other kind, log", LOG + "  poll: {}\n", f"6: source.poll: is not a key of `source`; {LOG_KEYS}"),
    ("missing key, log", TOP + "  type: log\n", "3: source.table: is missing; add e.g. `table: orders`"),
    ("shared key, log", LOG + "  endpoint_url: here\n", "6: source.endpoint_url: `here` is not a URL of a service; write e.g. `http://localhost:8000`"),
    ("shared check, log", LOG + "  external_id: abc\n", "6: source.external_id: has no use without a role; add `role_arn`, or leave it out"),
    # the type
    ("missing type", TOP + "  tables: [orders]\n", "3: source.type: is missing; add e.g. `type: dynamodb-streams`"),
    ("misspelt type", STREAMS.replace("streams", "stream"), "4: source.type: must be dynamodb-streams or log, not `dynamodb-stream`; did you mean `dynamodb-streams`?"),
    ("misspelt type, log", LOG.replace("log", "logs"), "4: source.type: must be dynamodb-streams or log, not `logs`; did you mean `log`?"),
    ("other type", LOG.replace("log", "postgres"), "4: source.type: must be dynamodb-streams or log, not `postgres`"),
    ("type of another kind of value", LOG.replace("log", "7"), "4: source.type: must be dynamodb-streams or log, not a number"),
    ("empty type", LOG.replace(" log", ""), "4: source.type: must be dynamodb-streams or log, not empty"),
    ("list for a type", LOG.replace("log", "[log]"), "4: source.type: must be dynamodb-streams or log, not a list; did you mean `log`?"),
    # the mapping itself
    ("text", TOP.replace("source:", "source: orders"), "3: source: must be a mapping, not `orders`"),
    ("list", TOP.replace("source:", "source: [orders]"), "3: source: must be a mapping, not a list"),
    ("nothing", TOP, "3: source: must be a mapping, not empty; give a value, or leave the key out"),
]  # fmt: skip


def sentences(path: Path) -> list[str]:
    with pytest.raises(FileErrors) as caught:
        load_either(path)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(("content", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_mistake_has_the_path_and_the_line_of_its_key(content: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(content)
    assert sentences(path) == [f"{path}:{expected}"]


def test_all_mistakes_of_a_kind_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(LOG.replace("table: orders", "table: 7") + "  window: {days: 0}\nlanes: 0\n")
    assert [sentence.split(":")[1] for sentence in sentences(path)] == ["5", "6", "7"]


def test_each_kind_is_the_model_of_its_type(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    for content, summary in ((STREAMS, "1 table pattern"), (LOG, "the log of orders")):
        path.write_text(content)
        assert load_either(path).pipeline.source.summary == summary


def test_a_type_may_come_from_outside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_TYPE", "log")
    path = tmp_path / "pipeline.yaml"
    path.write_text(LOG.replace("type: log", "type: ${env:SOURCE_TYPE}"))
    assert load_either(path).pipeline.source.type == "log"


def test_what_is_shown_of_a_kind_loads_to_the_same(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(LOG + "  window: {days: 3}\n")
    shown = load_either(path).pipeline.shown()
    assert shown["source"]["window"] == {"days": 3}
    assert TwoKinds.model_validate(shown).shown() == shown


def test_the_schema_takes_each_kind_with_its_own_keys_and_no_other() -> None:
    schema = Draft202012Validator(TwoKinds.model_json_schema())
    base = {"name": "shop", "kafka": {"bootstrap.servers": "a:1"}}
    streams, log = {"type": "dynamodb-streams", "tables": ["orders"]}, {"type": "log", "table": "orders"}
    assert [schema.is_valid({**base, "source": source}) for source in (streams, log)] == [True, True]
    for wrong in ({**streams, "window": {}}, {**log, "poll": {}}, {**log, "type": "logs"}, {"table": "orders"}):
        assert not schema.is_valid({**base, "source": wrong})


class _File(Part):
    type: Literal["file"]
    path: Text


class _Queue(Part):
    type: Literal["queue"]
    depth: Whole


class _Targets(BaseModel):
    targets: tuple[Annotated[Part, ByType(_File, _Queue)], ...]
    spare: Annotated[Part, ByType(_File, _Queue)] | None = None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("targets:\n  - {type: file, path: a}\n  - type: queue\n    depth: deep\n", ["4: targets[1].depth: must be a whole number, not `deep`"]),
        ("targets:\n  - type: file\n    pat: a\n", ["2: targets[0].path: is missing; add it", "3: targets[0].pat: is not a key of `targets[0]`; did you mean `path`?"]),
        ("targets:\n  - path: a\n", ["2: targets[0].type: is missing; add e.g. `type: file`"]),
        ("targets:\n  - type: files\n", ["2: targets[0].type: must be file or queue, not `files`; did you mean `file`?"]),
        ("targets: []\nspare: {type: queue, depth: 1.5}\n", ["2: spare.depth: must be a whole number, not `1.5`"]),
        ("targets: []\nspare: {type: queu}\n", ["2: spare.type: must be file or queue, not `queu`; did you mean `queue`?"]),
    ],
)  # fmt: skip
def test_kinds_in_a_list_and_kinds_that_may_be_left_out_are_found_too(
    content: str, expected: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "targets.yaml"
    path.write_text(content)
    document = read(path)
    with pytest.raises(ValidationError) as caught:
        _Targets.model_validate({**document.data, "targets": tuple(document.data["targets"])})
    for finding in explain(caught.value, _Targets):
        document.add(*finding)
    found = sorted(document.problems.values(), key=lambda error: error.line or 0)
    assert [str(error) for error in found] == [f"{path}:{each}" for each in expected]
