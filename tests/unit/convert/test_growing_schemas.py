"""`schema: {mode: inferred | declared}`: from changes to records that are read with the registry's schemas."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro

from support.schema_versions import Versions
from tailrace.config import load
from tailrace.core.change import Change, Origin
from tailrace.core.page import Page
from tailrace.core.ports import SourcePage, SourceRecord
from tailrace.core.shard import ShardRef
from tailrace.kafka.headers import REASON
from tailrace.operations.record_view import header_texts
from tailrace.wiring.pipeline import make_converter
from tailrace.wiring.transformations import Transformations

FILE = """
name: shop
kafka: {bootstrap.servers: "localhost:9092"}
source: {type: dynamodb-streams, region: eu-west-1, tables: [1-orders]}
schema: {type: avro, registry: {url: "http://localhost:8081"}, %s}
"""
UNWRAP = """
connect:
  transforms: u
  transforms.u.type: io.debezium.transforms.ExtractNewRecordState
"""


def converted(tmp_path: Path, schema: str, versions: Versions, *changes: Change, more: str = "") -> Page:
    file = tmp_path / "pipeline.yaml"
    file.write_text(FILE % schema + more)
    pipeline = load(file).pipeline
    converter = make_converter(pipeline, Transformations(pipeline), ids=lambda _registry: versions)
    records = [SourceRecord(Origin("1-orders", "1", 1_700_000_000_000, b"raw"), each) for each in changes]
    return converter.convert(ShardRef("arn", "s"), SourcePage(records, None, 1, full=False), 1_000_000)


def change_of(op: Any, before: dict[str, Any] | None, after: dict[str, Any] | None) -> Change:
    def image(attributes: dict[str, Any] | None) -> bytes | None:
        return None if attributes is None else json.dumps({"id": {"S": "a"}} | attributes).encode()

    return Change(
        op=op,
        table="1-orders",
        keys=b'{"id":{"S":"a"}}',
        before=image(before),
        after=image(after),
        created_ms=1_700_000_000_000,
        event_id="e",
        sequence="1",
        shard_id="s",
        stream_arn="arn:aws:dynamodb:eu-west-1:123456789012:table/1-orders",
        region="eu-west-1",
        view_type="NEW_AND_OLD_IMAGES",
    )


CHANGES = (
    change_of("c", None, {"size": {"N": "1"}}),
    change_of("u", {"size": {"N": "1"}}, {"colour": {"S": "red"}}),
    change_of("d", {"colour": {"S": "red"}}, None),
)


def read(versions: Versions, content: bytes | None) -> Any:
    if content is None:
        return None
    schema = fastavro.parse_schema(json.loads(versions.text(int.from_bytes(content[1:5], "big"))))
    return fastavro.schemaless_reader(io.BytesIO(content[5:]), schema, None)


def test_the_envelope_grows_with_the_items(tmp_path: Path) -> None:
    versions = Versions()
    page = converted(tmp_path, "mode: inferred, numbers: string", versions, *CHANGES)
    assert [read(versions, each.key) for each in page.records] == [{"id": "a"}] * 4
    values = [read(versions, each.value) for each in page.records]
    assert [(each["op"], each["before"], each["after"]) for each in values[:3]] == [
        ("c", None, {"id": "a", "size": "1"}),
        (
            "u",
            {"id": "a", "size": "1", "colour": None},
            {"id": "a", "size": None, "colour": "red"},
        ),
        ("d", {"id": "a", "size": None, "colour": "red"}, None),
    ]
    assert values[3] is None
    names = [each.name for each in versions.schemas("shop.1-orders-value")]
    assert names == ["shop.__orders.Envelope"] * 2


def test_the_item_alone(tmp_path: Path) -> None:
    versions = Versions()
    page = converted(tmp_path, "mode: inferred, numbers: string", versions, *CHANGES[:2], more=UNWRAP)
    values = [read(versions, each.value) for each in page.records]
    assert values == [{"id": "a", "size": "1"}, {"id": "a", "size": None, "colour": "red"}]


def test_a_declared_schema(tmp_path: Path) -> None:
    fields = [{"name": "id", "type": "string"}, {"name": "size", "type": ["null", "int"], "default": None}]
    (tmp_path / "order.avsc").write_text(json.dumps({"type": "record", "name": "Order", "fields": fields}))
    declared = 'mode: declared, declared: {1-orders: "${file:order.avsc}"}'
    versions = Versions()
    page = converted(tmp_path, declared, versions, *CHANGES)
    assert read(versions, page.records[0].value)["after"] == {"id": "a", "size": 1}
    reasons = [header_texts(each.headers)[REASON] for each in page.records[1:]]
    assert len(reasons) == 2
    assert all("attribute colour is not in the declared schema" in each for each in reasons)
    page = converted(tmp_path, f"{declared}, undeclared: ignore", versions, *CHANGES)
    values = [read(versions, each.value) for each in page.records]
    assert values[1]["before"] == {"id": "a", "size": 1}
    assert [each and each["after"] for each in values[1:]] == [{"id": "a", "size": None}, None, None]
