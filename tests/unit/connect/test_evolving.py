"""Schemas that grow with items: what is written is read by others' libraries, and workers that race agree."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import fastavro
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.protobuf_messages import parsed, value_of
from support.schema_versions import Versions
from tailrace.connect.avro_schema import avro_schema
from tailrace.connect.data import Schema, optional, struct
from tailrace.connect.errors import DataError
from tailrace.connect.evolving import FIELDS_MAX, VERSIONS_PER_MINUTE_MAX, EvolvingConverter
from tailrace.connect.inference import ConflictError, Inference, NumberType, merge
from tailrace.connect.json_schema import json_schema
from tailrace.connect.protobuf_schema import protobuf_schema
from tailrace.connect.registered import subject_of
from tailrace.connect.schema_reading import read_schema
from tailrace.connect.written import Written
from tailrace.errors import WorldError

Write = Callable[[Schema], Written]
AVRO: Write = avro_schema
JSON: Write = partial(json_schema, closed=True)
PROTOBUF: Write = partial(protobuf_schema, optional_for_nullables=True)

NUMBERS = st.integers(-(10**12), 10**12).map(lambda number: {"N": f"{Decimal(number).scaleb(-4):f}"})
LEAVES = st.one_of(
    st.sampled_from(["", "a", "ü"]).map(lambda text: {"S": text}),
    NUMBERS,
    st.booleans().map(lambda flag: {"BOOL": flag}),
    st.just({"B": "AQI="}),
    st.just({"NULL": True}),
    st.lists(st.sampled_from("abc"), min_size=1, unique=True).map(lambda texts: {"SS": texts}),
)
NAMES = st.sampled_from(["a", "b", "c", "address", "order_lines"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(NAMES, inner, max_size=3).map(lambda members: {"M": members}),
        st.lists(inner, max_size=2).map(lambda members: {"L": members}),
    ),
    max_leaves=5,
)
ITEMS = st.dictionaries(NAMES, VALUES, max_size=4).map(lambda item: {"id": {"S": "x"}, **item})


def inferred(item: dict[str, Any], numbers: NumberType = "decimal") -> tuple[Schema, Any]:
    try:
        schema, value = Inference(numbers, scale=4).struct(item, "shop.Value", frozenset(["id"]))
    except ConflictError:
        return inferred({"id": {"S": "x"}})
    assert schema is not None
    return schema, value


def converter(
    versions: Versions, write: Write = AVRO, *, auto_register: bool = True, now_s: Callable[[], float] = lambda: 0.0
) -> EvolvingConverter:
    named = subject_of("TopicNameStrategy", "value")
    return EvolvingConverter(write, named, versions, auto_register=auto_register, now_s=now_s)


def shown(write: Write, text: str, content: bytes) -> Any:
    """Return a value as a reader that is not ours has it, nulls left out."""
    if write is AVRO:
        return fastavro.schemaless_reader(io.BytesIO(content), json.loads(text), None)
    if write is JSON:
        value = json.loads(content)
        jsonschema.Draft7Validator(json.loads(text)).validate(value)
        return value
    return value_of(parsed(text, "shop.Value", content[1:]))


def without_nulls(value: Any, *, empty: bool = True) -> Any:
    if isinstance(value, dict):
        inner = {name: without_nulls(each, empty=empty) for name, each in value.items()}
        return {name: each for name, each in inner.items() if each is not None and (empty or each != [])}
    if isinstance(value, list):
        return [without_nulls(each, empty=empty) for each in value]
    return value


def as_json(value: Any) -> Any:
    """Return a value as Connect's JSON has it."""
    if isinstance(value, dict):
        return {name: as_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [as_json(each) for each in value]
    return "AQI=" if isinstance(value, bytes) else value


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(ITEMS, min_size=1, max_size=4))
@pytest.mark.parametrize(("write", "numbers"), [(AVRO, "decimal"), (JSON, "string"), (PROTOBUF, "string")])
def test_any_items_are_read_with_the_version_they_were_written_with_or_refused(
    write: Write, numbers: NumberType, items: list[dict[str, Any]]
) -> None:
    versions = Versions()
    one, other = converter(versions, write), converter(versions, write)
    for place, item in enumerate(items):
        schema, value = inferred(item, numbers)
        try:
            content = (one, other)[place % 2].encode(schema, value, "shop")
        except DataError:
            continue
        assert content is not None
        number = int.from_bytes(content[1:5], "big")
        read = shown(write, versions.text(number), content[5:])
        expected = as_json(value) if write is JSON else value
        keeps_empty = write is not PROTOBUF
        assert without_nulls(read, empty=keeps_empty) == without_nulls(expected, empty=keeps_empty)
    texts = versions.schemas("shop-value")
    for older, newer in itertools.pairwise(texts):
        assert merge(older, newer) == newer
    assert len(texts) <= len(items)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(ITEMS, ITEMS)
@pytest.mark.parametrize("write", [AVRO, JSON, PROTOBUF])
def test_any_schema_that_is_written_is_read_back(write: Write, one: dict[str, Any], other: dict[str, Any]) -> None:
    def canonical(schema: Schema) -> Schema:
        written = write(schema)
        return read_schema(written.kind, written.text)

    try:
        schemas = [canonical(inferred(each, "string")[0]) for each in (one, other)]
        merged = merge(*schemas)
    except DataError:
        return
    assert canonical(merged) == merged
    if write is not PROTOBUF:
        assert schemas[0] == inferred(one, "string")[0]


def note(name: str, schema: Schema | None = None) -> tuple[Schema, dict[str, Any]]:
    """Return a schema with one more attribute, and a value of it."""
    fields = {"id": Schema("string"), name: optional(schema or Schema("string"))}
    return struct("shop.Value", fields), {"id": "x", name: "text"}


def fields(versions: Versions, number: int = -1) -> list[str]:
    return [each.name for each in versions.schemas("shop-value")[number].fields]


@pytest.mark.parametrize("write", [AVRO, JSON, PROTOBUF])
def test_workers_that_race_agree(write: Write) -> None:
    versions = Versions()
    one, other = converter(versions, write), converter(versions, write)
    for each in (one, other):
        each.encode(*note("a"), "shop")
    assert versions.calls == ["versions", "register", "versions", "version", "versions", "version"]
    # While `one` merges b, `other` registers c: the registry takes both, and only the first counts.
    versions.before_register = lambda: other.encode(*note("c"), "shop")
    content = one.encode(*note("b"), "shop")
    assert [fields(versions, place) for place in range(4)] == [
        ["id", "a"],
        ["id", "a", "c"],
        ["id", "a", "b"],
        ["id", "a", "c", "b"],
    ]
    assert content is not None
    assert int.from_bytes(content[1:5], "big") == 4
    versions.calls.clear()
    for each in (one, other, converter(versions, write)):
        for name in "abc":
            content = each.encode(*note(name), "shop")
            assert content is not None
    assert fields(versions) == ["id", "a", "c", "b"]
    assert "register" not in versions.calls
    count = len(versions.calls)
    other.encode(*note("a"), "shop")
    assert len(versions.calls) == count


def test_a_loser_that_is_refused_goes_on_from_the_winner() -> None:
    versions = Versions(check=lambda older, newer: merge(older, newer) == newer)
    one, other = converter(versions), converter(versions)
    one.encode(*note("a"), "shop")
    versions.before_register = lambda: other.encode(*note("c"), "shop")
    one.encode(*note("b"), "shop")
    assert fields(versions) == ["id", "a", "c", "b"]


def test_what_the_registry_refuses_is_told_once_and_not_for_long_asked() -> None:
    versions = Versions(check=lambda _older, _newer: False)
    made = converter(versions)
    made.encode(*note("a"), "shop")
    with pytest.raises(DataError, match="not compatible"):
        made.encode(*note("b"), "shop")
    assert made.encode(*note("a"), "shop") is not None
    assert fields(versions) == ["id", "a"]


def test_an_attribute_of_two_types_costs_no_call() -> None:
    versions = Versions()
    made = converter(versions)
    made.encode(*note("a"), "shop")
    versions.calls.clear()
    with pytest.raises(ConflictError, match="attribute a is text and a boolean"):
        made.encode(*note("a", Schema("boolean")), "shop")
    assert versions.calls == []


def test_without_registering() -> None:
    versions, now_s = Versions(), [0.0]
    made = converter(versions, auto_register=False, now_s=lambda: now_s[0])
    with pytest.raises(WorldError, match="has no schema for shop-value"):
        made.encode(*note("a"), "shop")
    converter(versions).encode(*note("a"), "shop")
    now_s[0] = 31
    assert made.encode(*note("a"), "shop") is not None
    versions.calls.clear()
    for _ in range(3):
        with pytest.raises(DataError, match="does not take b, and none is to be registered here"):
            made.encode(*note("b"), "shop")
    assert versions.calls == []


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("AVRO", "{", "version 1: it is no schema in AVRO"),
        ("AVRO", '{"type": "enum", "name": "a.B", "symbols": ["c"]}', "version 1: it has enum, a type"),
        ("AVRO", '{"type": "record", "name": "a.B", "fields": []}', "it is the schema of a.B, not of shop.Value"),
        ("JSON", '{"type": "object"}', "version 1 is in JSON, not in AVRO"),
    ],
)
def test_a_subject_of_someone_else(kind: Any, text: str, message: str) -> None:
    versions = Versions()
    versions.register("shop-value", Written(kind, text, None, lambda _value: b""))
    with pytest.raises(WorldError, match=f"cannot extend: {message}"):
        converter(versions).encode(*note("a"), "shop")


def test_names_that_are_data() -> None:
    versions, now_s = Versions(), [0.0]
    made = converter(versions, now_s=lambda: now_s[0])
    for place in range(VERSIONS_PER_MINUTE_MAX):
        made.encode(*note(f"a{place}"), "shop")
    with pytest.raises(WorldError, match="changed 60 times within a minute"):
        made.encode(*note("more"), "shop")
    now_s[0] = 60
    made.encode(*note("more"), "shop")
    wide = struct("shop.Value", {f"b{place}": optional(Schema("string")) for place in range(FIELDS_MAX)})
    versions.calls.clear()
    with pytest.raises(DataError, match=r"would have 1062 fields, and may have 1000"):
        made.encode(wide, {}, "shop")
    assert versions.calls == []


def test_an_empty_list_gets_its_type_later() -> None:
    versions = Versions()
    made = converter(versions)
    for members in ([], [{"NULL": True}], [{"N": "1"}]):
        schema, value = inferred({"id": {"S": "x"}, "list": {"L": members}})
        assert made.encode(schema, value, "shop") is not None
    types = [each.fields[1].schema.values for each in versions.schemas("shop-value")]
    assert [each and each.name for each in types] == [None, "org.apache.kafka.connect.data.Decimal"]
