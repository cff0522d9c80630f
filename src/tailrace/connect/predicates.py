"""Apache Kafka's predicates: which records a transform is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tailrace.connect.data import ConnectRecord
from tailrace.connect.options import Options

Predicate = Callable[[ConnectRecord], bool]

_PACKAGE: Final = "org.apache.kafka.connect.transforms.predicates."


def _topic_name_matches(options: Options) -> Predicate:
    pattern = options.pattern("pattern")
    return lambda record: pattern.fullmatch(record.topic) is not None


def _has_header_key(options: Options) -> Predicate:
    name = options.text("name")
    return lambda record: any(each.name == name for each in record.headers)


def _record_is_tombstone(options: Options) -> Predicate:
    del options
    return lambda record: record.value is None


PREDICATES: Final[Mapping[str, Callable[[Options], Predicate]]] = {
    f"{_PACKAGE}TopicNameMatches": _topic_name_matches,
    f"{_PACKAGE}HasHeaderKey": _has_header_key,
    f"{_PACKAGE}RecordIsTombstone": _record_is_tombstone,
}
