"""Conversions: DynamoDB's attribute values to the records that consumers read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, get_args

from tailrace.core.change import Format, Headers, ViewType
from tailrace.formats import cloudevents
from tailrace.formats.cloudevents import CloudEventsFormat
from tailrace.formats.debezium import DebeziumFormat
from tailrace.formats.dynamodb_json import DynamoDBJsonFormat
from tailrace.formats.item import ItemFormat
from tailrace.formats.number import Numbers

__all__ = ["FORMATS", "FormatName", "Numbers", "headers", "make_format", "serves", "tombstone_after_delete"]

FormatName = Literal["debezium", "item", "dynamodb-json", "cloudevents"]
FORMATS: Final[tuple[FormatName, ...]] = get_args(FormatName)

_CLASSES: Final[dict[FormatName, Callable[..., Format]]] = {
    "debezium": DebeziumFormat,
    "item": ItemFormat,
    "dynamodb-json": DynamoDBJsonFormat,
    "cloudevents": CloudEventsFormat,
}


def make_format(name: FormatName, *, pipeline: str, numbers: Numbers) -> Format:
    """Make the format of a pipeline; `pipeline` is the name that its records may carry."""
    return _CLASSES[name](pipeline=pipeline, numbers=numbers)


def headers(name: FormatName) -> Headers | None:
    """Return the headers of every record of a format."""
    return cloudevents.HEADERS if name == "cloudevents" else None


def serves(name: FormatName, view_type: ViewType) -> str | None:
    """Say in a sentence why a format cannot serve a stream of this view type, or None when it can."""
    if name == "item" and view_type in {"OLD_IMAGE", "KEYS_ONLY"}:
        return (
            f"the format item needs the new image, which a stream of view type {view_type} does not carry; "
            "switch the stream to NEW_IMAGE or NEW_AND_OLD_IMAGES, or choose another format"
        )
    return None


def tombstone_after_delete(name: FormatName) -> bool:
    """Return whether a delete needs a tombstone after it: not when its own value is null already."""
    return name != "item"
