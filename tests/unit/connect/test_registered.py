"""Avro, JSON Schema and Protobuf as a registry's other clients read them: confluent-kafka's own deserializers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema as RegisteredSchema
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from support.protobuf_messages import parsed
from support.schema_versions import Versions
from tailrace.connect.avro_schema import avro_schema
from tailrace.connect.converters import converter
from tailrace.connect.data import DATE, TIME, TIMESTAMP, Schema, decimal, optional, struct
from tailrace.connect.errors import DataError
from tailrace.connect.options import OptionError
from tailrace.connect.protobuf_schema import protobuf_schema
from tailrace.connect.registered import AVRO, JSON_SCHEMA, PROTOBUF, Registry
from tailrace.connect.written import Written

URL = {"value.converter.schema.registry.url": "mock://registered"}
PLAIN = {
    "text": Schema("string"),
    "maybe": Schema("string", optional=True),
    "small": Schema("int8"),
    "long": Schema("int64"),
    "double": Schema("float64"),
    "yes": Schema("boolean"),
    "raw": Schema("bytes"),
    "list": Schema("array", values=Schema("int32")),
    "map": Schema("map", keys=Schema("string"), values=Schema("string")),
    "inner": struct("shop.Inner", {"n": optional(Schema("int64"))}, optional=True),
}
ORDER = struct("shop.Order", PLAIN)
VALUE = {
    "text": "a",
    "maybe": None,
    "small": -3,
    "long": -(1 << 63),
    "double": 1.5,
    "yes": True,
    "raw": b"\x00\xff",
    "list": [1, 300, -1],
    "map": {"k": "v"},
    "inner": {"n": 7},
}
CONTEXT = SerializationContext("orders", MessageField.VALUE)


class Ids(Versions):
    """Registers with confluent-kafka's stand-in for a registry."""

    def __init__(self) -> None:
        super().__init__()
        self.client = SchemaRegistryClient.new_client({"url": "mock://registered"})
        self.asked: list[tuple[str, Written]] = []

    def id_of(self, subject: str, written: Written) -> int:
        self.asked.append((subject, written))
        number: int = self.client.register_schema(subject, RegisteredSchema(written.text, written.kind))
        return number


def encoder(
    kind: str, options: dict[str, str] | None = None
) -> tuple[Ids, Callable[[Schema | None, Any], bytes | None]]:
    ids = Ids()
    made = converter({"value.converter": kind} | URL | (options or {}), "value", lambda _registry: ids)
    return ids, lambda schema, value: made.encode(schema, value, "orders")


def test_avro() -> None:
    ids, encode = encoder(AVRO)
    assert AvroDeserializer(ids.client)(encode(ORDER, VALUE), CONTEXT) == VALUE
    (subject, written), *_ = ids.asked
    assert (subject, written.name) == ("orders-value", "shop.Order")
    shown = json.loads(written.text)
    assert (shown["namespace"], shown["name"], shown["connect.name"]) == ("shop", "Order", "shop.Order")
    assert {"name": "maybe", "type": ["null", "string"], "default": None} in shown["fields"]
    assert {"name": "small", "type": {"type": "int", "connect.type": "int8"}} in shown["fields"]


def test_logical_types_of_avro() -> None:
    schema = struct(
        "shop.Times",
        {
            "price": decimal(2),
            "at": Schema("int64", name=TIMESTAMP, version=1),
            "day": Schema("int32", name=DATE, version=1),
            "clock": Schema("int32", name=TIME, version=1),
        },
    )
    value = {
        "price": Decimal("-12.30"),
        "at": datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC),
        "day": date(1969, 12, 31),
        "clock": time(23, 59, 59, 999000),
    }
    ids, encode = encoder(AVRO)
    assert AvroDeserializer(ids.client)(encode(schema, value), CONTEXT) == value


def test_a_default_comes_first_in_avro() -> None:
    schema = struct("shop.Default", {"n": Schema("int32", optional=True, default=8)})
    ids, encode = encoder(AVRO)
    read = AvroDeserializer(ids.client)
    assert [read(encode(schema, {"n": each}), CONTEXT) for each in (1, None)] == [{"n": 1}, {"n": None}]
    assert json.loads(ids.asked[0][1].text)["fields"][0] == {"name": "n", "type": ["int", "null"], "default": 8}


def test_json_schema() -> None:
    ids, encode = encoder(JSON_SCHEMA)
    content = encode(ORDER, VALUE)
    assert content is not None
    text = ids.asked[0][1].text
    assert JSONDeserializer(text, schema_registry_client=ids.client)(content, CONTEXT) == VALUE | {"raw": "AP8="}
    properties = json.loads(text)["properties"]
    assert properties["maybe"] == {"oneOf": [{"type": "null"}, {"type": "string"}], "connect.index": 1}
    assert properties["long"] == {"type": "integer", "connect.type": "int64", "connect.index": 3}


@pytest.mark.parametrize("nullables", [False, True])
def test_protobuf(nullables: bool, tmp_path: Any) -> None:
    ids, encode = encoder(PROTOBUF, {"value.converter.optional.for.nullables": str(nullables).lower()})
    content = encode(ORDER, VALUE | {"maybe": ""})
    assert content is not None
    assert content[5:6] == b"\x00"
    read = parsed(ids.asked[0][1].text, "shop.Order", content[6:])
    assert read.text == "a"
    assert (read.small, read.long, read.double, read.yes) == (-3, -(1 << 63), 1.5, True)
    assert (read.raw, list(read.list), dict(read.map), read.inner.n) == (b"\x00\xff", [1, 300, -1], {"k": "v"}, 7)
    if nullables:
        assert read.HasField("maybe")
        assert not parsed(ids.asked[0][1].text, "shop.Order", (encode(ORDER, VALUE) or b"")[6:]).HasField("maybe")


def test_a_null_is_a_tombstone_and_needs_no_registry() -> None:
    ids, encode = encoder(AVRO)
    assert encode(None, None) is None
    assert ids.asked == []


def test_bare_values() -> None:
    ids, encode = encoder(AVRO)
    assert AvroDeserializer(ids.client)(encode(Schema("bytes", optional=True), b"\x01"), CONTEXT) == b"\x01"
    _, encode = encoder(PROTOBUF)
    with pytest.raises(DataError, match="structs only"):
        encode(Schema("string"), "a")


@pytest.mark.parametrize(
    ("strategy", "subject"),
    [
        ("io.confluent.kafka.serializers.subject.RecordNameStrategy", "shop.Order"),
        ("io.confluent.kafka.serializers.subject.TopicRecordNameStrategy", "orders-shop.Order"),
    ],
)
@pytest.mark.parametrize("kind", [AVRO, JSON_SCHEMA, PROTOBUF])
def test_subjects(strategy: str, subject: str, kind: str) -> None:
    ids, encode = encoder(kind, {"value.converter.value.subject.name.strategy": strategy})
    encode(ORDER, VALUE)
    assert ids.asked[0][0] == subject
    if kind == AVRO:
        with pytest.raises(DataError, match="names subjects by records"):
            encode(Schema("string"), "a")


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        (None, {"a": 1}, "has no schema"),
        (Schema("int64"), 1 << 63, "does not fit into 64 bits"),
        (Schema("int64"), "a", "does not fit its Avro schema"),
        (Schema("string"), None, None),
        (struct("a.B", {"c": Schema("string")}), {"c": None}, "does not fit its Avro schema"),
        (Schema("map", keys=Schema("int32"), values=Schema("string")), {}, "keys are not strings"),
    ],
)
def test_what_cannot_be_avro(schema: Schema | None, value: Any, message: str | None) -> None:
    _, encode = encoder(AVRO)
    if message is None:
        assert encode(schema, value) is None
        return
    with pytest.raises(DataError, match=message):
        encode(schema, value)


def test_a_name_is_of_one_struct_only() -> None:
    twice = struct("a.B", {"x": struct("a.C", {}), "y": struct("a.C", {"z": Schema("string")})})
    for write in (avro_schema, protobuf_schema):
        with pytest.raises(DataError, match="two structs have the name"):
            write(twice)
    same = struct("a.B", {"x": struct("a.C", {}), "y": struct("a.C", {}, optional=True)})
    assert json.loads(avro_schema(same).text)["fields"][1]["type"] == ["null", "a.C"]
    assert protobuf_schema(same).text.count("message C") == 1


@pytest.mark.parametrize(
    ("options", "name", "message"),
    [
        ({"value.converter.schema.registry.url": ""}, "schema.registry.url", "is missing"),
        ({"value.converter.value.subject.name.strategy": "Own"}, "value.subject.name.strategy", "must be one of"),
        ({"value.converter.colour": "red"}, "colour", "is not known"),
        ({"value.converter.schema.registry.ssl.truststore.type": "JKS"}, "truststore.type", "must be one of PEM"),
        ({"value.converter.auto.register.schemas": "maybe"}, "auto.register.schemas", "true or false"),
    ],
)
def test_options_that_are_wrong(options: dict[str, str], name: str, message: str) -> None:
    with pytest.raises(OptionError, match=message) as raised:
        encoder(AVRO, options)
    assert raised.value.name.endswith(name)


def test_how_the_registry_is_reached() -> None:
    found: list[Registry] = []

    def make_ids(registry: Registry) -> Ids:
        found.append(registry)
        return Ids()

    options = {
        "key.converter": AVRO,
        "key.converter.schema.registry.url": "https://registry",
        "key.converter.basic.auth.credentials.source": "USER_INFO",
        "key.converter.basic.auth.user.info": "user:password",
        "key.converter.schema.registry.ssl.truststore.location": "/ca.pem",
        "key.converter.schema.registry.ssl.truststore.type": "PEM",
        "key.converter.auto.register.schemas": "false",
        "key.converter.bearer.auth.credentials.source": "STATIC_TOKEN",
    }
    converter(options, "key", make_ids)
    properties = {
        "url": "https://registry",
        "basic.auth.user.info": "user:password",
        "ssl.ca.location": "/ca.pem",
        "bearer.auth.credentials.source": "STATIC_TOKEN",
    }
    assert found == [Registry(properties, auto_register=False)]
