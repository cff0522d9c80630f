"""Conversions: DynamoDB's attribute values to the records that consumers read. Here is the registry of the formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from tailrace.formats.cloudevents import CloudEventsFormat
from tailrace.formats.confluent_dynamodb import ConfluentDynamoDBFormat
from tailrace.formats.debezium import DebeziumFormat
from tailrace.formats.dynamodb_json import DynamoDBJsonFormat
from tailrace.formats.format import Format, ReadRecord
from tailrace.formats.item import ItemFormat
from tailrace.formats.number import Numbers
from tailrace.formats.trustpilot import TrustpilotFormat

__all__ = ["FORMATS", "Format", "FormatName", "Numbers", "ReadRecord", "make_format", "read"]

FormatName = Literal["debezium", "item", "dynamodb-json", "cloudevents", "trustpilot", "confluent-dynamodb"]

FORMATS: Final[Mapping[FormatName, type[Format]]] = {
    "debezium": DebeziumFormat,
    "item": ItemFormat,
    "dynamodb-json": DynamoDBJsonFormat,
    "cloudevents": CloudEventsFormat,
    "trustpilot": TrustpilotFormat,
    "confluent-dynamodb": ConfluentDynamoDBFormat,
}

_READERS: Final = sorted(FORMATS.values(), key=lambda each: not (each.tells_position or each.names_table))
"""Any object may be a bare item: the formats that say what they are come first."""


def make_format(name: FormatName, *, pipeline: str, numbers: Numbers) -> Format:
    """Make the format of a pipeline; `pipeline` is the name that its records may carry."""
    return FORMATS[name](pipeline=pipeline, numbers=numbers)


def read(value: bytes) -> ReadRecord | None:
    """Return what a record's value says, whichever format wrote it; None for a value of none."""
    return next((found for each in _READERS if (found := each.read(value)) is not None), None)
