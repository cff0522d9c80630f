"""`schema: {type: connect-json}`: Debezium's envelope with schemas, and what cannot have one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tailrace.config import load
from tailrace.core.change import Change, Origin
from tailrace.core.page import Page
from tailrace.core.ports import SourcePage, SourceRecord
from tailrace.core.shard import ShardRef
from tailrace.errors import FileError
from tailrace.wiring.pipeline import make_converter
from tailrace.wiring.transformations import Transformations

BASE = """
name: shop
kafka: {bootstrap.servers: "localhost:9092"}
source: {type: dynamodb-streams, region: eu-west-1, tables: [orders]}
schema: {type: connect-json}
"""
UNWRAP = """
connect:
  transforms: u
  transforms.u.type: io.debezium.transforms.ExtractNewRecordState
"""


def converted(tmp_path: Path, more: str, *changes: Change) -> Page:
    file = tmp_path / "pipeline.yaml"
    file.write_text(BASE + more)
    pipeline = load(file).pipeline
    converter = make_converter(pipeline, Transformations(pipeline))
    records = [SourceRecord(Origin("orders", "1", 1_700_000_000_000, b"raw"), each) for each in changes]
    return converter.convert(ShardRef("arn", "s"), SourcePage(records, None, 1, full=False), 1_000_000)


def change_of(op: Any, before: str | None, after: str | None, *, in_stream: bool = True) -> Change:
    return Change(
        op=op,
        table="orders",
        keys=b'{"id":{"S":"a"}}',
        before=before.encode() if before else None,
        after=after.encode() if after else None,
        created_ms=1_700_000_000_000,
        event_id="e" if in_stream else "",
        sequence="1" if in_stream else "",
        shard_id="s" if in_stream else "",
        stream_arn="arn:aws:dynamodb:eu-west-1:123456789012:table/orders",
        region="eu-west-1",
        view_type="NEW_AND_OLD_IMAGES",
        snapshot=None if in_stream else "true",
    )


def fields(schema: dict[str, Any]) -> dict[str, Any]:
    return {each["field"]: each for each in schema["fields"]}


def test_an_update_that_removes_an_attribute_has_it_as_null(tmp_path: Path) -> None:
    old, new = '{"id":{"S":"a"},"note":{"S":"x"},"n":{"N":"1"}}', '{"id":{"S":"a"},"n":{"N":"1.5"}}'
    [record] = converted(tmp_path, "", change_of("u", old, new)).records
    key, value = json.loads(record.key or b""), json.loads(record.value or b"")
    assert key == {
        "schema": {
            "type": "struct",
            "fields": [{"type": "string", "optional": False, "field": "id"}],
            "optional": False,
            "name": "shop.orders.Key",
        },
        "payload": {"id": "a"},
    }
    schema, payload = value["schema"], value["payload"]
    assert schema["name"] == "shop.orders.Envelope"
    assert [*fields(schema)] == ["before", "after", "source", "transaction", "op", "ts_ms", "ts_us", "ts_ns"]
    for image in ("before", "after"):
        shown = fields(schema)[image]
        assert (shown["name"], shown["optional"]) == ("shop.orders.Value", True)
        assert {name: (each["type"], each["optional"]) for name, each in fields(shown).items()} == {
            "id": ("string", False),
            "n": ("bytes", True),
            "note": ("string", True),
        }
        assert fields(shown)["n"]["parameters"] == {"scale": "9"}
    assert payload["after"] == {"id": "a", "n": "WWgvAA==", "note": None}  # 1500000000 in base64
    assert payload["before"]["note"] == "x"
    assert (payload["op"], payload["source"]["table"], payload["source"]["sequence"]) == ("u", "orders", "1")


def test_a_row_of_a_snapshot_and_a_delete_without_its_old_image(tmp_path: Path) -> None:
    row = change_of("r", None, '{"id":{"S":"a"}}', in_stream=False)
    read, deleted, tombstone = converted(tmp_path, "", row, change_of("d", None, None)).records
    payload = json.loads(read.value or b"")["payload"]
    assert (payload["op"], payload["source"]["snapshot"], payload["source"]["shard"]) == ("r", "true", None)
    payload = json.loads(deleted.value or b"")["payload"]
    assert (payload["before"], payload["after"]) == ({"id": "a"}, None)
    assert payload["source"]["keys_only"] == ["before"]
    assert tombstone.value is None
    assert tombstone.key == read.key == deleted.key


def test_debeziums_transform_leaves_the_row_with_its_schema(tmp_path: Path) -> None:
    [record] = converted(tmp_path, UNWRAP, change_of("c", None, '{"id":{"S":"a"},"ok":{"BOOL":true}}')).records
    value = json.loads(record.value or b"")
    assert value["schema"]["name"] == "shop.orders.Value"
    assert value["payload"] == {"id": "a", "ok": True}


@pytest.mark.parametrize(
    ("after", "wrong"),
    [
        ('{"id":{"S":"a"},"n":{"S":"x"}}', "attribute n is text and a number: a schema needs one type for it"),
        ('{"id":{"S":"a"},"n":{"N":"1E-10"}}', "the number 1E-10 has more than 9 digits behind the point"),
    ],
)
def test_what_has_no_schema_is_a_dead_letter(tmp_path: Path, after: str, wrong: str) -> None:
    [record] = converted(tmp_path, "", change_of("u", '{"id":{"S":"a"},"n":{"N":"1"}}', after)).records
    assert record.topic == "shop.dead-letters"
    assert wrong in dict(record.headers or [])["__connect.errors.exception.message"].decode()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("format: item", "schema: needs the format debezium, not item"),
        (
            "connect: {value.converter: org.apache.kafka.connect.storage.StringConverter}",
            "connect.value.converter: is given beside `schema`, which says how records are written",
        ),
        ("snapshot: when_needed", "needs records that can be read back, and those of `schema` cannot"),
    ],
)
def test_keys_that_do_not_agree(tmp_path: Path, more: str, sentence: str) -> None:
    with pytest.raises(FileError) as error:
        converted(tmp_path, more)
    assert sentence in str(error.value)


def test_a_source_of_raw_records_has_no_changes_to_infer_schemas_from(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    source = "source: {type: kinesis, region: eu-west-1, streams: [events], records: raw}\n"
    lines = [line for line in BASE.splitlines(keepends=True) if not line.startswith("source")]
    file.write_text("".join(lines) + source + 'topic: "{stream}"\n')
    with pytest.raises(FileError, match="the records of the streams are raw"):
        load(file)
