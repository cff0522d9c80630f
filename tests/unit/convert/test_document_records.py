"""`schema` with `mode: document`: what a page becomes, whoever made its messages, and what is compared as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.schema_versions import Versions
from tailrace.config import Pipeline, load
from tailrace.connect.registered import Registry
from tailrace.connect.written import Written
from tailrace.convert.converter import documented
from tailrace.core.change import Change, Message, Origin
from tailrace.core.page import Outgoing, Page
from tailrace.core.ports import SourcePage, SourceRecord
from tailrace.core.shard import ShardRef
from tailrace.errors import UnreachableError
from tailrace.wiring.pipeline import make_converter, make_documents, record_reader
from tailrace.wiring.transformations import Transformations

BASE = """
name: shop
kafka: {bootstrap.servers: "localhost:9092"}
source: {type: dynamodb-streams, region: eu-west-1, tables: [orders]}
"""
SCHEMA = "schema: {type: %s, registry: {url: mock://convert}}\n"
SHARD = ShardRef("arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/1", "s")
CHANGE = Change(
    op="d",
    table="orders",
    keys=b'{"id":{"S":"a"}}',
    before=b'{"id":{"S":"a"},"n":{"N":"1.50"}}',
    after=None,
    created_ms=1_700_000_000_000,
    event_id="e",
    sequence="1",
    shard_id="s",
    stream_arn=SHARD.stream,
    region="eu-west-1",
    view_type="NEW_AND_OLD_IMAGES",
)
ORIGIN = Origin("orders", "1", 1_700_000_000_000, b"raw")


class Ids(Versions):
    """A registry whose ids are in the order in which it is asked, unless it is down."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self.registry = registry
        self.subjects: list[str] = []
        self.is_down = False

    def id_of(self, subject: str, written: Written) -> int:
        if self.is_down:
            raise UnreachableError("the schema registry does not answer")
        self.subjects.append(subject)
        assert written.kind in {"AVRO", "JSON", "PROTOBUF"}
        return len(self.subjects)


@pytest.fixture(params=["avro", "json", "protobuf"])
def schema(request: pytest.FixtureRequest) -> str:
    return SCHEMA.replace("%s", str(request.param))


def pipeline_of(tmp_path: Path, *more: str) -> Pipeline:
    file = tmp_path / "pipeline.yaml"
    file.write_text(BASE + "".join(more))
    return load(file).pipeline


def convert(pipeline: Pipeline, *records: SourceRecord, **options: Any) -> Page:
    converter = make_converter(pipeline, Transformations(pipeline), **options)
    return converter.convert(SHARD, SourcePage(list(records), None, 1, full=False), 1_000_000)


def plain(pipeline: Pipeline, records: list[Outgoing]) -> list[tuple[str, bytes | None, bytes | None]]:
    reader = record_reader(pipeline)
    return [(r.topic, r.key and reader.key(r.key), r.value and reader.value(r.value)) for r in records]


def test_records_are_documents_of_what_they_were_without_a_schema(tmp_path: Path, schema: str) -> None:
    without = convert(pipeline_of(tmp_path), SourceRecord(ORIGIN, CHANGE))
    pipeline = pipeline_of(tmp_path, schema)
    page = convert(pipeline, SourceRecord(ORIGIN, CHANGE), ids=Ids)
    assert [(each.key or b"")[:5] for each in page.records] == [b"\0\0\0\0\1"] * 2
    assert [each.value and each.value[:5] for each in page.records] == [b"\0\0\0\0\2", None]
    assert plain(pipeline, page.records) == [(each.topic, each.key, each.value) for each in without.records]
    as_json = convert(pipeline, SourceRecord(ORIGIN, CHANGE), as_json=True)
    assert as_json.records == without.records
    wrapper = make_documents(pipeline, Ids)
    assert wrapper is not None
    assert documented(as_json, wrapper).records == page.records


def test_messages_that_are_made_natively_are_wrapped_too(tmp_path: Path, schema: str) -> None:
    pipeline = pipeline_of(tmp_path, schema)
    (made, _) = convert(pipeline, SourceRecord(ORIGIN, CHANGE), as_json=True).records
    native = SourceRecord(ORIGIN, None, message=Message(made.key or b"", made.value), deletes=True)
    page = convert(pipeline, native, ids=Ids)
    assert page.records == convert(pipeline, SourceRecord(ORIGIN, CHANGE), ids=Ids).records
    assert page.native_counts == {"orders": 1}


def test_subjects_are_those_of_the_topic_that_a_change_is_routed_to(tmp_path: Path) -> None:
    made: list[Ids] = []

    def ids(registry: Registry) -> Ids:
        made.append(Ids(registry))
        return made[-1]

    route = 'transform: [{route: {by: op, topics: {d: "archive.{table}"}}}]\n'
    for strategy, expected in (
        ("TopicNameStrategy", ["archive.orders-key", "archive.orders-value"]),
        ("RecordNameStrategy", ["io.tailrace.Key", "io.tailrace.debezium.Envelope"]),
        ("TopicRecordNameStrategy", ["archive.orders-io.tailrace.Key", "archive.orders-io.tailrace.debezium.Envelope"]),
    ):
        schema = f"""schema:
  type: avro
  registry: {{url: "http://user:password@localhost"}}
  subject_name_strategy: {strategy}
  auto_register: false
"""
        convert(pipeline_of(tmp_path, schema, route), SourceRecord(ORIGIN, CHANGE), ids=ids)
        assert made[-1].subjects == expected
        assert not made[-1].registry.auto_register
        assert made[-1].registry.properties["url"] == "http://user:password@localhost"


def test_a_registry_that_is_down_holds_the_page_back(tmp_path: Path, schema: str) -> None:
    pipeline = pipeline_of(tmp_path, schema)
    ids = Ids(Registry({}, True))
    converter = make_converter(pipeline, Transformations(pipeline), ids=lambda _registry: ids)
    source = SourcePage([SourceRecord(ORIGIN, CHANGE)], None, 1, full=False)
    ids.is_down = True
    with pytest.raises(UnreachableError):
        converter.convert(SHARD, source, 1)
    ids.is_down = False
    assert len(converter.convert(SHARD, source, 1).records) == 2
    ids.is_down = True  # its ids are known
    assert len(converter.convert(SHARD, source, 1).records) == 2


def test_a_dead_letter_is_the_record_of_the_source(tmp_path: Path, schema: str) -> None:
    pipeline = pipeline_of(tmp_path, schema)
    bad = SourceRecord(ORIGIN, None)
    (letter,) = convert(pipeline, bad, ids=Ids).records
    assert (letter.is_dead_letter, letter.value) == (True, b"raw")
    wrapper = make_documents(pipeline, Ids)
    assert wrapper is not None
    assert documented(convert(pipeline, bad, as_json=True), wrapper).records[0].value == b"raw"


@pytest.mark.parametrize("name", ["item", "dynamodb-json", "cloudevents"])
def test_every_format_of_its_own(tmp_path: Path, schema: str, name: str) -> None:
    without = convert(pipeline_of(tmp_path, f"format: {name}\n"), SourceRecord(ORIGIN, CHANGE))
    pipeline = pipeline_of(tmp_path, schema, f"format: {name}\n")
    page = convert(pipeline, SourceRecord(ORIGIN, CHANGE), ids=Ids)
    assert plain(pipeline, page.records) == [(each.topic, each.key, each.value) for each in without.records]
    assert all(each.headers is None for each in page.records)
