"""A redrive knows its records in topics by the JSON that documents were made of, whatever the ids of their schemas."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import Message

from support.schema_versions import Versions
from tailrace.config import Pipeline, load
from tailrace.connect.written import Written
from tailrace.convert.converter import documented
from tailrace.core.change import Change, Origin
from tailrace.core.page import Outgoing, Page
from tailrace.core.ports import SourcePage, SourceRecord
from tailrace.core.redrive import Published
from tailrace.core.shard import ShardRef
from tailrace.operations.republisher import compare
from tailrace.wiring.pipeline import make_converter, make_documents
from tailrace.wiring.transformations import Transformations

SHARD = ShardRef("arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/1", "s")


@dataclasses.dataclass
class Held:
    """A record of a topic."""

    record: Outgoing

    def key(self) -> bytes | None:
        return self.record.key

    def value(self) -> bytes | None:
        return self.record.value

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, self.record.timestamp_ms


class Ids(Versions):
    """A registry with one id for all."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def id_of(self, subject: str, written: Written) -> int:
        return self.number


def pipeline_of(folder: Path, kind: str, format_name: str) -> Pipeline:
    file = folder / "pipeline.yaml"
    file.write_text(f"""
name: shop
kafka: {{bootstrap.servers: "localhost:9092"}}
source: {{type: dynamodb-streams, region: us-east-1, tables: [orders]}}
format: {format_name}
schema: {{type: {kind}, registry: {{url: "http://localhost"}}}}
""")
    return load(file).pipeline


def page_of(pipeline: Pipeline, sequence: str, note: str) -> Page:
    item = b'{"id":{"S":"a"},"note":{"S":"%b"}}' % note.encode()
    change = Change(
        op="c",
        table="orders",
        keys=b'{"id":{"S":"a"}}',
        before=None,
        after=item,
        created_ms=int(sequence) * 1_000,
        event_id=sequence,
        sequence=sequence,
        shard_id="s",
        stream_arn=SHARD.stream,
        region="us-east-1",
        view_type="NEW_AND_OLD_IMAGES",
    )
    source = SourceRecord(Origin("orders", sequence, change.created_ms, b""), change)
    converter = make_converter(pipeline, Transformations(pipeline), as_json=True, ids=lambda _registry: Ids(1))
    return converter.convert(SHARD, SourcePage([source], None, 1, full=False), 1)


@pytest.mark.parametrize("kind", ["avro", "json", "protobuf"])
@pytest.mark.parametrize("format_name", ["debezium", "item", "dynamodb-json", "cloudevents"])
def test_what_the_topic_holds(tmp_path: Path, kind: str, format_name: str) -> None:
    pipeline = pipeline_of(tmp_path, kind, format_name)
    old, new = page_of(pipeline, "1", "old"), page_of(pipeline, "2", "new")
    for page, is_newer in ((old, False), (new, True)):
        published = Published()
        published.want(SHARD, old.records)
        documents = make_documents(pipeline, lambda _registry: Ids(77))
        assert documents is not None
        for record in documented(page, documents).records:
            compare(published, pipeline)(record.topic, cast(Message, cast(Any, Held(record))))
        (wanted,) = old.records
        holds = published.take_same(wanted) if format_name == "item" else published.holds(SHARD, wanted)
        assert holds is not is_newer
        assert published.has_newer(SHARD, wanted) is is_newer
