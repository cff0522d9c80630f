"""Single message transforms: each on a record with schemas and on one without, as Apache Kafka documents them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tailrace.connect.chain import Chain
from tailrace.connect.data import TIMESTAMP, ConnectRecord, Header, Schema, struct
from tailrace.connect.errors import DataError
from tailrace.connect.options import OptionError

KAFKA = "org.apache.kafka.connect.transforms."
DEBEZIUM = "io.debezium.transforms."
PLACE = struct("Place", {"city": Schema("string"), "zip": Schema("string", optional=True)})
SCHEMA = struct("Order", {"id": Schema("string"), "n": Schema("int32"), "place": PLACE})
VALUE: dict[str, Any] = {"id": "a", "n": 7, "place": {"city": "Bern", "zip": None}}
KEY = struct("Key", {"id": Schema("string")})
WITH = ConnectRecord("shop.orders", {"id": "a"}, VALUE, KEY, SCHEMA, timestamp_ms=1767323045678)
WITHOUT = msgspec.structs.replace(WITH, key_schema=None, value_schema=None)
TOMBSTONE = msgspec.structs.replace(WITH, value=None, value_schema=None)


def chain(kind: str, **options: str) -> Chain:
    properties = {"transforms": "t", "transforms.t.type": kind}
    return Chain(properties | {f"transforms.t.{name.replace('_', '.')}": value for name, value in options.items()})


def done(record: ConnectRecord, kind: str, **options: str) -> ConnectRecord:
    result = chain(kind, **options).apply(record)
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("kind", "options", "value"),
    [
        ("Cast$Value", {"spec": "n:string"}, {**VALUE, "n": "7"}),
        ("Cast$Value", {"spec": "n:int8,id:string"}, VALUE),
        ("ExtractField$Value", {"field": "n"}, 7),
        ("ExtractField$Value", {"field": "place.city", "field_syntax_version": "V2"}, "Bern"),
        ("Flatten$Value", {"delimiter": "_"}, {"id": "a", "n": 7, "place_city": "Bern", "place_zip": None}),
        ("HoistField$Value", {"field": "row"}, {"row": VALUE}),
        ("InsertField$Value", {"static_field": "from", "static_value": "x"}, {**VALUE, "from": "x"}),
        ("InsertField$Value", {"topic_field": "topic!"}, {**VALUE, "topic": "shop.orders"}),
        ("MaskField$Value", {"fields": "id,n"}, {**VALUE, "id": "", "n": 0}),
        ("MaskField$Value", {"fields": "n", "replacement": "9"}, {**VALUE, "n": 9}),
        ("ReplaceField$Value", {"exclude": "place", "renames": "n:count"}, {"id": "a", "count": 7}),
        ("ReplaceField$Value", {"include": "id"}, {"id": "a"}),
        ("ReplaceField$Value", {"blacklist": "n,place"}, {"id": "a"}),
    ],
)
def test_values_with_and_without_schemas(kind: str, options: dict[str, str], value: object) -> None:
    for record in (WITH, WITHOUT):
        result = done(record, KAFKA + kind, **options)
        assert result.value == value
        if record is WITH and isinstance(value, dict):
            assert result.value_schema is not None
            assert [each.name for each in result.value_schema.fields] == list(value)
        assert (result.value_schema is None) is (record is WITHOUT)


def test_a_schema_follows_its_values() -> None:
    cast = done(WITH, KAFKA + "Cast$Value", spec="n:string").value_schema
    assert cast is not None
    assert cast.field("n") == msgspec.structs.replace(SCHEMA.fields[1], schema=Schema("string"))
    flat = done(WITH, KAFKA + "Flatten$Value").value_schema
    assert flat is not None
    assert [(each.name, each.schema.optional) for each in flat.fields][2:] == [
        ("place.city", False),
        ("place.zip", True),
    ]
    inserted = done(WITH, KAFKA + "InsertField$Value", timestamp_field="at")
    assert inserted.value["at"] == datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    assert inserted.value_schema is not None
    assert inserted.value_schema.fields[-1].schema == Schema("int64", True, TIMESTAMP, 1)
    assert done(WITHOUT, KAFKA + "InsertField$Value", timestamp_field="at").value["at"] == 1767323045678
    named = done(WITH, KAFKA + "SetSchemaMetadata$Value", schema_name="x.Order", schema_version="3").value_schema
    assert named == msgspec.structs.replace(SCHEMA, name="x.Order", version=3)


def test_keys() -> None:
    extracted = done(WITH, KAFKA + "ExtractField$Key", field="id")
    assert (extracted.key, extracted.key_schema) == ("a", Schema("string"))
    keyed = done(WITH, KAFKA + "ValueToKey", fields="n,id")
    assert keyed.key == {"n": 7, "id": "a"}
    assert keyed.key_schema == struct(None, {"n": Schema("int32"), "id": Schema("string")})
    assert done(WITHOUT, KAFKA + "ValueToKey", fields="n").key == {"n": 7}


@pytest.mark.parametrize(
    ("regex", "replacement", "topic"),
    [
        (r"shop\.(.*)", "lake-$1", "lake-orders"),
        (r"(\w+)\.(\w+)", "$2_$1", "orders_shop"),
        (r"(?<a>.*)", "x.${a}", "x.shop.orders"),
        (r"shop", "never", "shop.orders"),
        ("(.*)", r"a\.$1", "a.shop.orders"),
    ],
)
def test_topics_by_regular_expressions(regex: str, replacement: str, topic: str) -> None:
    assert done(WITH, KAFKA + "RegexRouter", regex=regex, replacement=replacement).topic == topic


def test_the_topics_of_a_chain_are_known_beforehand() -> None:
    routed = {
        "transforms": "a,b",
        "transforms.a.type": KAFKA + "RegexRouter",
        "transforms.a.regex": r"shop\.(.*)",
        "transforms.a.replacement": "$1",
        "transforms.b.type": DEBEZIUM + "ByLogicalTableRouter",
        "transforms.b.topic.regex": "orders",
        "transforms.b.topic.replacement": "all",
        "transforms.b.predicate": "p",
        "predicates": "p",
        "predicates.p.type": KAFKA + "predicates.RecordIsTombstone",
    }
    assert Chain(routed).topics_of("shop.orders") == ("orders", "all")
    assert Chain(routed).topics_of("other") == ("other",)
    assert Chain({}).topics_of("other") == ("other",)


def test_headers() -> None:
    inserted = done(WITH, KAFKA + "InsertHeader", header="n", value_literal="300")
    assert inserted.headers == (Header("n", 300, Schema("int16")),)
    assert done(inserted, KAFKA + "DropHeaders", headers="n,other").headers == ()
    moved = done(WITH, KAFKA + "HeaderFrom$Value", fields="id", headers="h", operation="move")
    assert moved.headers == (Header("h", "a", Schema("string")),)
    assert "id" not in moved.value
    copied = done(WITHOUT, KAFKA + "HeaderFrom$Key", fields="id", headers="h", operation="copy")
    assert (copied.headers, copied.key) == ((Header("h", "a"),), {"id": "a"})


@pytest.mark.parametrize(
    ("target", "options", "given", "expected"),
    [
        ("string", {"format": "yyyy-MM-dd HH:mm:ss.SSS"}, 1767323045678, "2026-01-02 03:04:05.678"),
        ("unix", {"format": "yyyy-MM-dd"}, "2026-01-02", 1767312000000),
        ("unix", {"format": "yyyy-MM-dd'T'HH:mm:ssX"}, "2026-01-02T01:00:00+01:00", 1767312000000),
        ("unix", {"unix_precision": "seconds"}, 1767323045, 1767323045),
        ("Timestamp", {"unix_precision": "microseconds"}, 1767323045678000, datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)),
        ("string", {"format": "EEE, d MMM yy h:mm a"}, 1767323045678, "Fri, 2 Jan 26 3:04 AM"),
    ],
)
def test_times(target: str, options: dict[str, str], given: object, expected: object) -> None:
    record = ConnectRecord("t", None, {"at": given})
    result = done(record, KAFKA + "TimestampConverter$Value", field="at", target_type=target, **options)
    assert result.value == {"at": expected}


def test_a_predicate_picks_records_and_can_be_turned_round() -> None:
    properties = {
        "transforms": "drop",
        "transforms.drop.type": KAFKA + "Filter",
        "transforms.drop.predicate": "gone",
        "predicates": "gone,ours",
        "predicates.gone.type": KAFKA + "predicates.RecordIsTombstone",
        "predicates.ours.type": KAFKA + "predicates.TopicNameMatches",
        "predicates.ours.pattern": r"shop\..*",
    }
    assert Chain(properties).apply(TOMBSTONE) is None
    assert Chain(properties).apply(WITH) is WITH
    negated = Chain(properties | {"transforms.drop.negate": "true", "transforms.drop.predicate": "ours"})
    assert negated.apply(WITH) is WITH
    assert negated.apply(msgspec.structs.replace(WITH, topic="other")) is None
    has = {**properties, "predicates.gone.type": KAFKA + "predicates.HasHeaderKey", "predicates.gone.name": "h"}
    assert Chain(has).apply(msgspec.structs.replace(WITH, headers=(Header("h", 1),))) is None


def test_tombstones_pass_transforms_of_values() -> None:
    for kind, options in (
        ("ReplaceField$Value", {"exclude": "a"}),
        ("Flatten$Value", {}),
        ("MaskField$Value", {"fields": "id"}),
        ("InsertField$Value", {"topic_field": "t"}),
        ("Cast$Value", {"spec": "n:string"}),
    ):
        assert chain(KAFKA + kind, **options).apply(TOMBSTONE) == TOMBSTONE


ENVELOPE_SCHEMA = struct(
    "orders.Envelope",
    {
        "before": msgspec.structs.replace(SCHEMA, optional=True),
        "after": msgspec.structs.replace(SCHEMA, optional=True),
        "source": struct("Source", {"table": Schema("string")}),
        "op": Schema("string"),
    },
)


def envelope(op: str) -> ConnectRecord:
    value = {
        "before": None if op == "c" else VALUE,
        "after": None if op == "d" else VALUE,
        "source": {"table": "orders"},
        "op": op,
    }
    return ConnectRecord("orders", {"id": "a"}, value, KEY, ENVELOPE_SCHEMA)


def unwrapped(record: ConnectRecord, **options: str) -> ConnectRecord | None:
    properties = {"transforms": "u", "transforms.u.type": DEBEZIUM + "ExtractNewRecordState"}
    return Chain(properties | {f"transforms.u.{name}": value for name, value in options.items()}).apply(record)


def test_the_row_instead_of_the_envelope() -> None:
    row = unwrapped(envelope("u"), **{"add.fields": "op,source.table:from", "add.headers": "op"})
    assert row is not None
    assert row.value == {**VALUE, "__op": "u", "__from": "orders"}
    assert row.value_schema is not None
    assert [each.name for each in row.value_schema.fields] == list(row.value)
    assert not row.value_schema.optional
    assert row.headers == (Header("__op", "u", Schema("string")),)
    assert unwrapped(ConnectRecord("t", None, {"no": "envelope"})) == ConnectRecord("t", None, {"no": "envelope"})


@pytest.mark.parametrize(
    ("mode", "delete", "tombstone"),
    [
        ("tombstone", "dropped", "kept"),
        ("drop", "dropped", "dropped"),
        ("rewrite", "rewritten", "dropped"),
        ("rewrite-with-tombstone", "rewritten", "kept"),
        ("delete-to-tombstone", "tombstone", "dropped"),
    ],
)
def test_deletes_of_an_unwrapped_envelope(mode: str, delete: str, tombstone: str) -> None:
    options = {"delete.tombstone.handling.mode": mode}
    result = unwrapped(envelope("d"), **options)
    if delete == "rewritten":
        assert result is not None
        assert result.value == {**VALUE, "__deleted": "true"}
        created = unwrapped(envelope("c"), **options)
        assert created is not None
        assert created.value["__deleted"] == "false"
    elif delete == "tombstone":
        assert result is not None
        assert result.value is None
    else:
        assert result is None
    assert (unwrapped(TOMBSTONE, **options) is None) is (tombstone == "dropped")


def test_the_names_before_debezium_2_5_mean_the_same() -> None:
    kept = {"drop.tombstones": "false", "delete.handling.mode": "rewrite"}
    result = unwrapped(envelope("d"), **kept)
    assert result is not None
    assert result.value["__deleted"] == "true"
    assert unwrapped(TOMBSTONE, **kept) is TOMBSTONE
    assert unwrapped(TOMBSTONE, **{"delete.handling.mode": "rewrite"}) is None


def test_tables_that_share_a_topic() -> None:
    properties = {
        "transforms": "r",
        "transforms.r.type": DEBEZIUM + "ByLogicalTableRouter",
        "transforms.r.topic.regex": r"shop\.orders(_\d+)?",
        "transforms.r.topic.replacement": "all-orders",
        "transforms.r.key.field.name": "table",
    }
    found = Chain(properties).apply(WITH)
    assert found is not None
    assert (found.topic, found.key) == ("all-orders", {"id": "a", "table": "shop.orders"})
    assert found.key_schema is not None
    assert found.key_schema.fields[-1].name == "table"
    plain = Chain(properties | {"transforms.r.key.enforce.uniqueness": "false"}).apply(WITH)
    assert plain is not None
    assert plain.key == {"id": "a"}


@pytest.mark.parametrize(
    ("properties", "name", "message"),
    [
        ({"transforms": "t"}, "transforms.t.type", "is missing"),
        ({"transforms": "t", "transforms.t.type": "com.acme.Own"}, "transforms.t.type", "is not known"),
        ({"transforms": "t", "transforms.t.type": KAFKA + "Cast"}, "transforms.t.type", "is for a part"),
        (
            {"transforms": "t", "transforms.t.type": KAFKA + "Filter", "transforms.t.x": "1"},
            "transforms.t.x",
            "not known",
        ),
        ({"transforms": "t", "transforms.t.type": KAFKA + "TimestampRouter"}, "transforms.t.type", "is not done here"),
        ({"transforms": "t,t"}, "transforms", "twice"),
        ({"transforms.u.type": KAFKA + "Filter"}, "transforms.u.type", "is not in `transforms`"),
        (
            {"transforms": "t", "transforms.t.type": KAFKA + "Filter", "transforms.t.predicate": "p"},
            "transforms.t.predicate",
            "is not in `predicates`",
        ),
        ({"predicates": "p", "predicates.p.type": "com.acme.Own"}, "predicates.p.type", "is not known"),
        (
            {"transforms": "t", "transforms.t.type": KAFKA + "Cast$Value", "transforms.t.spec": "a:money"},
            "transforms.t.spec",
            "not a type",
        ),
        (
            {"transforms": "t", "transforms.t.type": KAFKA + "InsertField$Value", "transforms.t.offset.field": "o"},
            "transforms.t.offset.field",
            "sink",
        ),
        (
            {
                "transforms": "t",
                "transforms.t.type": KAFKA + "RegexRouter",
                "transforms.t.regex": "(",
                "transforms.t.replacement": "x",
            },
            "transforms.t.regex",
            "regular expression",
        ),
        (
            {
                "transforms": "t",
                "transforms.t.type": KAFKA + "RegexRouter",
                "transforms.t.regex": "(a)",
                "transforms.t.replacement": "$2",
            },
            "transforms.t.replacement",
            "does not fit",
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_name(properties: dict[str, str], name: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Chain(properties)
    assert caught.value.name == name
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("ExtractField$Value", {"field": "none"}, "unknown field"),
        ("Cast$Value", {"spec": "id:int32"}, "cannot be cast"),
        ("ValueToKey", {"fields": "none"}, "does not exist"),
        ("HeaderFrom$Value", {"fields": "none", "headers": "h", "operation": "copy"}, "does not exist"),
        ("MaskField$Value", {"fields": "place", "replacement": "x"}, "cannot be replaced"),
        ("Flatten$Key", {}, "needs a struct or a map as the key, not str"),
    ],
)
def test_a_record_that_a_transform_cannot_take_is_refused(kind: str, options: dict[str, str], message: str) -> None:
    record = msgspec.structs.replace(WITH, key="a", key_schema=None) if kind.endswith("$Key") else WITH
    with pytest.raises(DataError, match=message):
        chain(KAFKA + kind, **options).apply(record)
