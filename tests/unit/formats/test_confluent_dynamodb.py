"""The schemas of `format: confluent-dynamodb` are those that the connector registers, so that a registry takes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tailrace.connect.avro_schema import avro_schema
from tailrace.connect.data import Schema
from tailrace.connect.json_schema import json_schema
from tailrace.connect.protobuf_schema import protobuf_schema
from tailrace.core.change import Change
from tailrace.formats import make_format

NAMESPACE = "io.confluent.connect.dynamodb"


def schemas(table: str) -> tuple[Schema, Schema, Any]:
    change = Change(
        op="c",
        table=table,
        keys=b'{"last_name":{"S":"Helen"},"first_name":{"S":"August"}}',
        before=None,
        after=b'{"last_name":{"S":"Helen"},"first_name":{"S":"August"}}',
        created_ms=1_700_000_000_000,
        event_id="e",
        sequence="1",
        shard_id="s",
        stream_arn="arn",
        region="eu-west-1",
        view_type="NEW_AND_OLD_IMAGES",
    )
    record = make_format("confluent-dynamodb", pipeline="shop", numbers="exact").connect_record(change, "t", 1)
    assert record.key_schema is not None
    assert record.value_schema is not None
    return record.key_schema, record.value_schema, record.value


def test_the_avro_schemas_are_those_of_the_connector() -> None:
    """As kafka-docker-playground shows them, in `ccloud/fm-aws-dynamodb-cdc-source`."""

    def maybe(kind: str) -> dict[str, Any]:
        return {"type": ["null", kind], "default": None}

    key, value, _ = schemas("people")
    text = [{"name": name, "type": "string"} for name in ("first_name", "last_name")]
    assert json.loads(avro_schema(key).text) == {
        "type": "record",
        "name": "ConnectDefault",
        "namespace": "io.confluent.connect.avro",
        "fields": text,
    }
    times = [{"name": name, "type": "long"} for name in ("ts_ms", "ts_us", "ts_ns")]
    null, envelope = json.loads(avro_schema(value).text)
    assert (null, envelope["connect.name"]) == ("null", f"{NAMESPACE}.people.Envelope")
    operation, *made, source, before, after = envelope["fields"]
    assert (operation, made) == ({"name": "op", "type": "string"}, times)
    assert source["type"][1]["connect.name"] == "io.confluent.connector.dynamodb.Source"
    assert source["type"][1]["fields"] == [
        {"name": "version"} | maybe("string"),
        {"name": "tableName", "type": "string"},
        {"name": "sync_mode", "type": "string"},
        *times,
        {"name": "snapshotStartTime"} | maybe("long"),
        {"name": "snapshotCount"} | maybe("int"),
        {"name": "segment"} | maybe("int"),
        {"name": "totalSegments"} | maybe("int"),
        {"name": "shard_id"} | maybe("string"),
        {"name": "seq_no"} | maybe("string"),
    ]
    document = before["type"][1]
    assert (document["name"], document["fields"]) == ("Value", [{"name": "document"} | maybe("string")])
    assert after["type"] == ["null", f"{NAMESPACE}.people.Value"]


@pytest.mark.parametrize("written", [avro_schema, json_schema, protobuf_schema])
@pytest.mark.parametrize("table", ["people", "my-table.7"])
def test_records_of_a_table_of_any_name_are_written(written: Any, table: str) -> None:
    _, schema, value = schemas(table)
    assert written(schema).encode(value)
