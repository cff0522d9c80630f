"""Documents: each format's messages in Avro, JSON Schema and Protobuf, and the same bytes when they are read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from hypothesis import given
from hypothesis import strategies as st

from support.golden import CASES, NOW_NS, ROWS, change_of, row_of
from support.protobuf_messages import parsed
from tailrace.connect.avro_documents import avro_writer
from tailrace.connect.avro_schema import avro_schema
from tailrace.connect.protobuf_documents import protobuf_writer
from tailrace.connect.protobuf_schema import protobuf_schema
from tailrace.connect.registered_documents import DocumentKind, DocumentReader, Documents
from tailrace.connect.written import Written
from tailrace.core.change import Message
from tailrace.errors import RecordError
from tailrace.formats import FORMATS, FormatName, make_format
from tailrace.formats.documents import KEY

KINDS: tuple[DocumentKind, ...] = get_args(DocumentKind)
NAMES = [name for name, form in FORMATS.items() if form.document is not None]
TOPIC = "shop.orders"


class Ids:
    """Registers with confluent-kafka's stand-in for a registry."""

    def __init__(self) -> None:
        self.client = SchemaRegistryClient.new_client({"url": "mock://documents"})
        self.texts: dict[str, str] = {}

    def id_of(self, subject: str, written: Written) -> int:
        self.texts[subject] = written.text
        number: int = self.client.register_schema(subject, Schema(written.text, written.kind))
        return number


def documents(kind: DocumentKind, name: FormatName, ids: Ids | None = None) -> tuple[Documents, DocumentReader]:
    shape = FORMATS[name].document
    assert shape is not None
    made = Documents(kind, KEY, shape, strategy="TopicNameStrategy", ids=ids or Ids())
    return made, DocumentReader(kind, KEY, shape)


def messages(name: FormatName) -> Iterator[Message]:
    for path in [*CASES, *ROWS]:
        golden = json.loads(path.read_text())
        change = change_of(golden["record"]) if "record" in golden else row_of(golden)
        for numbers in ("exact", "string"):
            made = make_format(name, pipeline="shop", numbers="exact" if numbers == "exact" else "string")
            try:
                yield made.encode(change, NOW_NS)
            except RecordError:
                continue


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_back_is_what_was_written(kind: DocumentKind, name: FormatName) -> None:
    made, reader = documents(kind, name)
    count = 0
    for message in messages(name):
        record = made.of(message, TOPIC)
        assert record.key[:1] == b"\0"
        assert reader.key(record.key) == message.key
        if message.value is None:
            assert record.value is None
        else:
            assert record.value is not None
            assert record.value[:1] == b"\0"
            assert reader.value(record.value) == message.value
        count += 1
    assert count > 10


@pytest.mark.parametrize("name", NAMES)
def test_the_quick_writers_write_what_those_of_every_schema_write(name: FormatName) -> None:
    shape = FORMATS[name].document
    assert shape is not None
    avro, protobuf = avro_schema(shape.schema), protobuf_schema(shape.schema, optional_for_nullables=True)
    for write, every in ((avro_writer(shape), avro), (protobuf_writer(shape), protobuf)):
        for message in messages(name):
            if message.value is not None:
                assert write(message.value) == every.encode(shape.apart(message.value))


@pytest.mark.parametrize("name", NAMES)
def test_other_clients_read_avro(name: FormatName) -> None:
    ids = Ids()
    made, _ = documents("avro", name, ids)
    read = AvroDeserializer(ids.client)
    for message in messages(name):
        record = made.of(message, TOPIC)
        assert read(record.key, SerializationContext(TOPIC, MessageField.KEY)) == {"key": message.key.decode()}
        if message.value is not None:
            found = read(record.value, SerializationContext(TOPIC, MessageField.VALUE))
            assert isinstance(found, dict)
            check(name, found, json.loads(message.value))


@pytest.mark.parametrize("name", NAMES)
def test_other_clients_read_json_schema(name: FormatName) -> None:
    ids = Ids()
    made, _ = documents("json", name, ids)
    for message in messages(name):
        record = made.of(message, TOPIC)
        for field, content, plain in (("key", record.key, message.key), ("value", record.value, message.value)):
            if content is None or plain is None:
                continue
            read = JSONDeserializer(ids.texts[f"{TOPIC}-{field}"], schema_registry_client=ids.client)
            where = MessageField.KEY if field == "key" else MessageField.VALUE
            assert read(content, SerializationContext(TOPIC, where)) == json.loads(plain)


@pytest.mark.parametrize("name", NAMES)
def test_other_clients_read_protobuf(name: FormatName) -> None:
    ids = Ids()
    made, _ = documents("protobuf", name, ids)
    shape = FORMATS[name].document
    assert shape is not None
    for message in messages(name):
        record = made.of(message, TOPIC)
        key = parsed(ids.texts[f"{TOPIC}-key"], "io.tailrace.Key", record.key[6:])
        assert key.key == message.key.decode()
        if record.value is not None and message.value is not None:
            found = parsed(ids.texts[f"{TOPIC}-value"], str(shape.schema.name), record.value[6:])
            check(name, shown(found), json.loads(message.value))


def shown(message: Any) -> dict[str, Any]:
    """A message of Protobuf as a dict; a field without a value is left out."""
    return {
        field.name: shown(value) if field.message_type else list(value) if field.is_repeated else value
        for field, value in message.ListFields()
    }


def check(name: FormatName, found: dict[str, Any], plain: dict[str, Any]) -> None:
    """Compare what another client read with the format's own JSON."""
    if name == "item":
        assert json.loads(found["item"]) == plain
        return
    compare(found, plain)


def compare(found: dict[str, Any], plain: dict[str, Any]) -> None:
    for field, value in plain.items():
        other = found.get(field)
        if isinstance(value, dict) and isinstance(other, str):
            assert json.loads(other) == value
        elif isinstance(value, dict):
            assert isinstance(other, dict)
            compare(other, value)
        else:
            assert other == value, field
    assert all(found[field] is None for field in found.keys() - plain.keys())


READERS = {kind: [documents(kind, name)[1] for name in NAMES] for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@given(content=st.binary(max_size=200))
def test_other_bytes_stay_as_they_are_or_are_read_as_json(kind: DocumentKind, content: bytes) -> None:
    for reader in READERS[kind]:
        for given_bytes in (content, b"\0\0\0\0\1" + content):
            for read in (reader.key, reader.value):
                found = read(given_bytes)
                assert found in (given_bytes, given_bytes[5:]) or found[:1] == b"{"


@pytest.mark.parametrize("kind", ["avro", "protobuf"])
@pytest.mark.parametrize("name", NAMES)
def test_a_record_that_is_cut_or_has_more_is_no_document(kind: DocumentKind, name: FormatName) -> None:
    made, reader = documents(kind, name)
    message = next(each for each in messages(name) if each.value is not None)
    record = made.of(message, TOPIC)
    assert record.value is not None
    for wrong in (record.value[:-1], record.value[:20], record.value + b"\x07"):
        assert reader.value(wrong) == wrong


@pytest.mark.parametrize("kind", KINDS)
def test_plain_json_in_the_same_topic_is_read_too(kind: DocumentKind) -> None:
    _, reader = documents(kind, "debezium")
    for message in messages("debezium"):
        assert reader.key(message.key) == message.key
        assert reader.value(message.value or b"{}") == message.value


@pytest.mark.parametrize("kind", ["avro", "protobuf"])
def test_a_message_with_a_field_that_the_schema_lacks_is_refused(kind: DocumentKind) -> None:
    made, _ = documents(kind, "cloudevents")
    with pytest.raises(RecordError, match="the message is not what its schema holds"):
        made.of(Message(b'{"id":"a"}', b'{"specversion":"1.0","more":1}'), TOPIC)


def test_the_header_that_says_json_is_left_out() -> None:
    made, _ = documents("avro", "cloudevents")
    message = next(messages("cloudevents"))
    assert message.headers
    assert made.of(message, TOPIC).headers is None


def test_a_schema_is_asked_for_once_for_each_topic() -> None:
    class Counting(Ids):
        count = 0

        def id_of(self, subject: str, written: Written) -> int:
            self.count += 1
            return super().id_of(subject, written)

    ids = Counting()
    made, _ = documents("avro", "debezium", ids)
    for message in messages("debezium"):
        made.of(message, TOPIC)
    assert ids.count == 2
    made.of(next(messages("debezium")), "shop.users")
    assert ids.count == 4
