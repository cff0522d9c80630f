"""Records of a topic to a Parquet file on one core, against the usual loop."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet
from boto3.dynamodb.types import TypeDeserializer

from benchmarks.lab import MEASURED_CORE, Cell, Lab, Table
from benchmarks.measure import Step, interleave, on_core
from tailrace.formats import Format
from tailrace.formats.debezium import DebeziumFormat
from tailrace.formats.dynamodb_json import DynamoDBJsonFormat
from tailrace.formats.python_values import from_python
from tailrace.lake.columns import TableColumns

NAIVE = "naive"
RECORDS = 10_000
_BATCH = 2_000
"""So many records one poll of a consumer brings."""


class _Record:
    """What both contenders read of a confluent-kafka `Message`."""

    __slots__ = ("_offset", "_value")

    def __init__(self, offset: int, value: bytes) -> None:
        self._offset, self._value = offset, value

    def key(self) -> bytes:
        return b'{"pk":"customer#1","sk":"order#1"}'

    def value(self) -> bytes:
        return self._value

    def topic(self) -> str:
        return "bench.orders"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_000

    def headers(self) -> None:
        return None


def to_parquet(lab: Lab) -> Table:
    """Measure items with few attributes and with many, nested ones, in Debezium's envelope and as DynamoDB's JSON.

    *mixed* items have two attributes with values of several types, which the usual loop cannot put into columns: it is
    given the items without.
    """
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    for name, make, form in lab.some(_CASES):
        records = [_RECORDS[form](number, make) for number in range(RECORDS)]
        size_bytes = sum(len(each.value()) for each in records) / RECORDS
        usual = [_RECORDS[form](number, _nested if make is _mixed else make) for number in range(RECORDS)]
        contenders: dict[str, Step] = {
            NAIVE: partial(_naive, _IMAGES[form], usual, lab.folder / "naive.parquet"),
            "tailrace": partial(_lake, TableColumns([form]), records, lab.folder / "lake.parquet"),
        }
        with on_core(MEASURED_CORE):
            rates = interleave(contenders, rounds=lab.rounds, seconds=lab.round_s)
        for how, rate in rates.items():
            times = rate.times(rates[NAIVE])
            cells: list[Cell] = [round(rate.cpu), round(rate.cpu * size_bytes / 1e6, 1), round(1e6 / rate.cpu, 1)]
            rows.append([f"{name}, {size_bytes:,.0f} B", how, *cells, round(times, 1)])
            figures[f"{name} {how}"] = times
    columns = ["record", "how", "changes/CPU s", "MB/CPU s", "µs CPU a change", "times naive"]
    return Table("Lake: records of a topic to a Parquet file", columns, rows, figures=figures)


def _naive(image: Callable[[Any], tuple[str, dict[str, Any]]], records: Sequence[_Record], path: Path) -> int:
    rows = []
    for record in records:
        op, item = image(json.loads(record.value()))
        rows.append({**item, "__op": op, "__offset": record.offset(), "__ts": record.timestamp()[1]})
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    return len(records)


def _lake(columns: TableColumns, records: Sequence[_Record], path: Path) -> int:
    for begin in range(0, len(records), _BATCH):
        columns.append(records[begin : begin + _BATCH])
    pyarrow.parquet.write_table(columns.take(), path, compression="zstd")
    return len(records)


def _record(number: int, make: Callable[[int], dict[str, Any]]) -> _Record:
    after = make(number)
    before = {**after, "status": "open"} if number % 3 else None
    source = {
        **{"version": "0.1.0", "connector": "dynamodb", "name": "shop", "snapshot": "false", "db": "123456789012"},
        **{"table": "orders", "shard": "shardId-00000001714564800000-a1b2c3d4", "region": "eu-central-1"},
        "stream": "arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/2024-05-01T12:00:00.000",
        **{"view_type": "NEW_AND_OLD_IMAGES", "sequence": f"{number:021}", "event_id": f"{number:032x}"},
    }
    times = {"ts_ms": 1_700_000_000_000, "ts_us": 1_700_000_000_000_000, "ts_ns": 1_700_000_000_000_000_000}
    envelope = {
        **{"before": before, "after": after, "source": {**source, **times}, "op": "u" if before else "c"},
        **times,
        "transaction": None,
    }
    return _Record(number, json.dumps(envelope, separators=(",", ":")).encode())


def _dynamodb_json(number: int, make: Callable[[int], dict[str, Any]]) -> _Record:
    images = [from_python(_exact(each), None) for each in (make(number), {**make(number), "status": "open"})]
    arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/2024-05-01T12:00:00.000"
    old = b',"OldImage":%b' % images[1] if number % 3 else b""
    changed = b'{"Keys":{"pk":{"S":"a"}},"NewImage":%b%b,"SequenceNumber":"%021d"}' % (images[0], old, number)
    value = b'{"eventID":"%032x","eventName":"%b","eventVersion":"1.1","eventSource":"aws:dynamodb","dynamodb":%b,' % (
        *(number, b"MODIFY" if old else b"INSERT", changed),
    )
    return _Record(number, value + b'"eventSourceARN":"%b"}' % arn.encode())


def _exact(value: Any) -> Any:
    """Return a value with the numbers that DynamoDB takes."""
    if isinstance(value, dict):
        return {name: _exact(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_exact(each) for each in value]
    return Decimal(str(value)) if isinstance(value, float) else value


def _of_debezium(envelope: Any) -> tuple[str, dict[str, Any]]:
    return envelope["op"], envelope["after"] or envelope["before"]


_untyped = TypeDeserializer().deserialize


def _of_dynamodb(record: Any) -> tuple[str, dict[str, Any]]:
    image = record["dynamodb"].get("NewImage") or record["dynamodb"]["OldImage"]
    return record["eventName"], {name: _untyped(each) for name, each in image.items()}


def _flat(number: int) -> dict[str, Any]:
    return {
        "pk": f"customer#{number * 7_919 % 100_000}",
        "sk": f"order#{number:012}",
        "status": ("open", "paid", "sent", "returned")[number % 4],
        "total": number % 100_000 / 100,
        "quantity": number % 19 + 1,
        "created_at": "2024-05-01T12:00:00.000Z",
        "gift": number % 10 == 0,
        "note": "please leave the parcel with a neighbour if nobody is at home ",
    }


def _nested(number: int) -> dict[str, Any]:
    lines = [{"sku": f"sku-{number * 31 % 10_000}", "price": number % 9_999 / 100, "n": each} for each in range(1, 4)]
    place = {"lat": 52 + number % 1_000 / 1_000, "lon": 13 + number % 999 / 1_000}
    address = {"street": f"Main Street {number % 500}", "city": "Berlin", "zip": "10115", "geo": place}
    tags = ["new", "sale", "bulk"][: number % 4]
    return {**_flat(number), "email": f"user{number}@example.com", "address": address, "tags": tags, "lines": lines}


def _mixed(number: int) -> dict[str, Any]:
    reference: Any = number if number % 3 else f"old-{number}"
    result: Any = {"code": number % 7} if number % 2 else [number, "retry", None]
    return {**_nested(number), "reference": reference, "result": result}


_RECORDS: Final = {DebeziumFormat: _record, DynamoDBJsonFormat: _dynamodb_json}
_IMAGES: Final = {DebeziumFormat: _of_debezium, DynamoDBJsonFormat: _of_dynamodb}
_CASES: Final[Sequence[tuple[str, Callable[[int], dict[str, Any]], type[Format]]]] = (
    ("nested", _nested, DebeziumFormat),
    ("flat", _flat, DebeziumFormat),
    ("nested and mixed", _mixed, DebeziumFormat),
    ("nested, dynamodb-json", _nested, DynamoDBJsonFormat),
    ("flat, dynamodb-json", _flat, DynamoDBJsonFormat),
)
