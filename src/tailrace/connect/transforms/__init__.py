"""Single message transforms, by their Java classes: Apache Kafka's, and two of Debezium's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol, runtime_checkable

from tailrace.connect.data import ConnectRecord
from tailrace.connect.options import Options
from tailrace.connect.transforms.casting import Cast, Flatten
from tailrace.connect.transforms.debezium import ByLogicalTableRouter, ExtractNewRecordState
from tailrace.connect.transforms.fields import (
    ExtractField,
    HoistField,
    InsertField,
    MaskField,
    ReplaceField,
    ValueToKey,
)
from tailrace.connect.transforms.part import Part
from tailrace.connect.transforms.record_headers import DropHeaders, HeaderFrom, InsertHeader
from tailrace.connect.transforms.routing import Filter, RegexRouter, SetSchemaMetadata
from tailrace.connect.transforms.timestamps import TimestampConverter


class Transform(Protocol):
    """A single message transform."""

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return the record, changed or not; None leaves it out. Raises `DataError` for one that it cannot take."""
        ...


@runtime_checkable
class Router(Protocol):
    """A transform that chooses another topic by the name of the topic alone."""

    def route(self, topic: str) -> str:
        """Return the topic that records of a topic go to."""
        ...


_KAFKA: Final = "org.apache.kafka.connect.transforms."
_DEBEZIUM: Final = "io.debezium.transforms."

Maker = Callable[[Options, Part], Transform]

_OF_A_PART: Final[Mapping[str, Maker]] = {
    "Cast": Cast,
    "ExtractField": ExtractField,
    "Flatten": Flatten,
    "HeaderFrom": HeaderFrom,
    "HoistField": HoistField,
    "InsertField": InsertField,
    "MaskField": MaskField,
    "ReplaceField": ReplaceField,
    "SetSchemaMetadata": SetSchemaMetadata,
    "TimestampConverter": TimestampConverter,
}
_OF_RECORDS: Final[Mapping[str, Maker]] = {
    f"{_KAFKA}DropHeaders": DropHeaders,
    f"{_KAFKA}Filter": Filter,
    f"{_KAFKA}InsertHeader": InsertHeader,
    f"{_KAFKA}RegexRouter": RegexRouter,
    f"{_KAFKA}ValueToKey": ValueToKey,
    f"{_DEBEZIUM}ByLogicalTableRouter": ByLogicalTableRouter,
    f"{_DEBEZIUM}ExtractNewRecordState": ExtractNewRecordState,
}

REFUSED: Final[Mapping[str, str]] = {
    f"{_KAFKA}TimestampRouter": "topics must be known before records are: route with tailrace's own `transform`",
}
"""Transforms that are known and not done here, and what to do instead."""

TRANSFORMS: Final[Mapping[str, tuple[Maker, Part]]] = {
    **{f"{_KAFKA}{name}$Key": (maker, "key") for name, maker in _OF_A_PART.items()},
    **{f"{_KAFKA}{name}$Value": (maker, "value") for name, maker in _OF_A_PART.items()},
    **{name: (maker, "value") for name, maker in _OF_RECORDS.items()},
}
"""What makes each transform, by its class, and the part of the record that it works on."""
