"""Any item becomes the same record, whether a scan, an export in DynamoDB JSON or one in Ion carried it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.dynamodb_items import as_aws_sends, items
from support.exports import full_line, incremental_line
from tailrace.core.change import Change, Message
from tailrace.core.ports import SourceRecord, TableFacts
from tailrace.formats.debezium import DebeziumFormat
from tailrace.sources.dynamodb.export_ion import parse_ion
from tailrace.sources.dynamodb.export_lines import ParseLine, decode_line, parse_json
from tailrace.sources.dynamodb.rows import RowsOf, decode_item

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders"
ROWS_OF = RowsOf(TableFacts("orders", ARN, {"id": "S"}, item_count=0, size_bytes=0, read_capacity=None), "true", 1000)
LOADED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""On a busy machine an example takes what it takes."""
PARSERS: dict[str, ParseLine] = {"DYNAMODB_JSON": parse_json, "ION": parse_ion}


def in_plain_numbers(attributes: dict[str, Any]) -> dict[str, Any]:
    """Write numbers as DynamoDB does: without exponent, sign of zero, and zeros at the end of a fraction."""
    return {name: _plain(typed) for name, typed in attributes.items()}


def _plain(typed: dict[str, Any]) -> dict[str, Any]:
    ((tag, value),) = typed.items()
    match tag:
        case "N":
            value = f"{Decimal(value) or Decimal():f}"
            value = value.rstrip("0").rstrip(".") if "." in value else value
        case "NS":
            value = [_plain({"N": member})["N"] for member in value]
        case "M":
            value = in_plain_numbers(value)
        case "L":
            value = list(map(_plain, value))
    return {tag: value}


whole_items = items.map(lambda item: in_plain_numbers(as_aws_sends(item)) | {"id": {"S": "a"}})


def message(record: SourceRecord) -> Message:
    assert record.change is not None, record.error
    return DebeziumFormat(pipeline="p", numbers="exact").encode(record.change, 0)


@pytest.mark.parametrize("output_format", ["DYNAMODB_JSON", "ION"])
@settings(LOADED)
@given(item=whole_items)
def test_an_item_of_a_full_export_becomes_the_record_of_a_scan(output_format: str, item: dict[str, Any]) -> None:
    line = full_line(item, output_format).encode()
    assert b"\n" not in line

    record = decode_line(line, PARSERS[output_format], ROWS_OF, incremental=False)

    scanned = decode_item(json.dumps(item).encode(), ROWS_OF)
    assert message(record) == message(scanned)


@pytest.mark.parametrize("output_format", ["DYNAMODB_JSON", "ION"])
@settings(LOADED, max_examples=30)
@given(old=whole_items, new=whole_items)
def test_changes_of_an_incremental_export_have_their_images(
    output_format: str, old: dict[str, Any], new: dict[str, Any]
) -> None:
    keys = {"id": {"S": "a"}}

    def change(before: dict[str, Any] | None, after: dict[str, Any] | None) -> Change:
        line = incremental_line((keys, before, after), 1000, output_format).encode()
        record = decode_line(line, PARSERS[output_format], ROWS_OF, incremental=True)
        assert record.change is not None, record.error
        return record.change

    assert json.loads(change(old, new).after or b"") == new
    assert json.loads(change(old, None).before or b"") == old
    assert change(None, None).op == "d"
    assert json.loads(change(None, None).keys) == keys


@pytest.mark.parametrize("parse", PARSERS.values())
@settings(LOADED)
@given(line=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_no_line_stops_a_file(parse: ParseLine, line: bytes) -> None:
    record = decode_line(line, parse, ROWS_OF, incremental=False)

    assert record.error is not None
    assert record.origin.raw == line
