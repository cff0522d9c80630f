"""Ready-made answers of GetRecords, of Kinesis too, and Scan, the same for the same seed: items of mixed types."""

from __future__ import annotations

import base64
import json
import random
from functools import lru_cache
from typing import Any, Final

SEED: Final = 7
SIZES: Final = (100, 400, 4_000, 100_000)
"""Bytes of an item as DynamoDB counts them: names and values."""
USUAL_SIZE: Final = 400
_RECORDS_MAX: Final = 1_000
_PAGE_BYTES: Final = 1 << 20
_BYTES_A_READ_UNIT: Final = 4_096
_WORDS: Final = (
    *("amber", "basalt", "cedar", "delta", "ember", "fjord", "granite", "harbor"),
    *("indigo", "jasper", "kelp", "larch", "maple", "nickel", "ochre"),
)
_INDEX_DIGITS: Final = 19
_FIRST_LOG_SEQUENCE: Final = 49 * 10**54


def records_per_page(item_bytes: int) -> int:
    """Return how many records a page holds: 1,000, or what two images of each leave of 1 MB."""
    return min(_RECORDS_MAX, _PAGE_BYTES // (2 * item_bytes))


@lru_cache
def templates(item_bytes: int, seed: int = SEED) -> tuple[bytes, ...]:
    """Return the records of a page; each is a bytes template, see `records`."""
    draw = random.Random(seed)
    return tuple(_template(draw, item_bytes) for _ in range(records_per_page(item_bytes)))


def records(item_bytes: int, first: int, count: int, created_s: int, seed: int = SEED) -> bytes:
    """Return so many records from index `first` on, separated by commas; key and sequence number are the index."""
    pool = templates(item_bytes, seed)
    parts = []
    for index in range(first, first + count):
        parts.append(pool[index % len(pool)] % (created_s, index, index, index, index, index))
    return b",".join(parts)


def page(item_bytes: int, number: int = 0, created_s: int = 1_700_000_000) -> bytes:
    """Return the `number`-th full page of a shard; no two hold the same items."""
    count = records_per_page(item_bytes)
    body = records(item_bytes, number * count, count, created_s, SEED + number)
    return b'{"Records":[%b],"NextShardIterator":"next"}' % body


@lru_cache
def log_templates(item_bytes: int, seed: int = SEED) -> tuple[bytes, ...]:
    """Return the same changes as `templates` does, as DynamoDB writes them to Kinesis; see `log_records`."""
    draw = random.Random(seed)
    return tuple(_log_template(draw, item_bytes) for _ in range(records_per_page(item_bytes)))


def log_records(item_bytes: int, first: int, count: int, created_ms: int, seed: int = SEED) -> bytes:
    """Return so many records of Kinesis from index `first` on, separated by commas; each has its data in base64.

    Each change is a microsecond later than the one before it.
    """
    pool = log_templates(item_bytes, seed)
    parts = []
    for index in range(first, first + count):
        change = pool[index % len(pool)] % (index, created_ms * 1_000 + index, index, index, index)
        parts.append(
            b'{"ApproximateArrivalTimestamp":%d.%03d,"Data":"%b","PartitionKey":"%032X","SequenceNumber":"%d"}'
            % (*divmod(created_ms, 1_000), base64.b64encode(change), index, _FIRST_LOG_SEQUENCE + index)
        )
    return b",".join(parts)


def log_page(item_bytes: int, number: int = 0, created_ms: int = 1_700_000_000_000) -> bytes:
    """Return the same changes as `page` does, as Kinesis hands them out."""
    count = records_per_page(item_bytes)
    body = log_records(item_bytes, number * count, count, created_ms, SEED + number)
    return b'{"MillisBehindLatest":0,"Records":[%b],"NextShardIterator":"next"}' % body


def log_index(sequence: str) -> int:
    """Return the index of the record of Kinesis that has a sequence number."""
    return int(sequence) - _FIRST_LOG_SEQUENCE


def items_per_page(item_bytes: int) -> int:
    """Return how many items a page of a scan holds: 1 MB of them."""
    return _PAGE_BYTES // item_bytes


@lru_cache
def item_templates(item_bytes: int, seed: int = SEED) -> tuple[bytes, ...]:
    """Return the items of a page; each is a bytes template that takes the item's index."""
    draw = random.Random(seed)
    made = (_item(draw, item_bytes) for _ in range(items_per_page(item_bytes)))
    return tuple(_text(item).replace("@index", f"%0{_INDEX_DIGITS}d").encode() for item in made)


def scanned(item_bytes: int, first: int = 0, count: int | None = None, *, is_last: bool = False) -> bytes:
    """Return a page of a scan: `count` items from index `first` on, as many as a page holds when it is None."""
    pool = item_templates(item_bytes)[:count]
    items = [template % (first + place) for place, template in enumerate(pool)]
    last = _text({"id": {"S": f"order-{first + len(pool) - 1:0{_INDEX_DIGITS}d}"}, "line": {"N": "0"}}).encode()
    return (
        b'{"ConsumedCapacity":{"CapacityUnits":%.1f,"TableName":"orders"},"Count":%d,"Items":[%b],%b"ScannedCount":%d}'
    ) % (
        len(pool) * item_bytes / _BYTES_A_READ_UNIT,
        len(pool),
        b",".join(items),
        b"" if is_last else b'"LastEvaluatedKey":%b,' % last,
        len(pool),
    )


def index_of(key: bytes) -> int:
    """Return the index of the record that a message key was made of."""
    text: str = json.loads(key)["id"]
    return int(text.removeprefix("order-"))


def _template(draw: random.Random, item_bytes: int) -> bytes:
    old, new = _images(draw, item_bytes)
    record = {
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": "@created",
            "Keys": {"id": old["id"], "line": old["line"]},
            "NewImage": new,
            "OldImage": old,
            "SequenceNumber": "@index",
            "SizeBytes": 2 * item_bytes,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventID": f"{draw.randrange(16**13):013x}@index",
        "eventName": "MODIFY",
        "eventSource": "aws:dynamodb",
        "eventVersion": "1.1",
    }
    return _as_template(record)


def _log_template(draw: random.Random, item_bytes: int) -> bytes:
    old, new = _images(draw, item_bytes)
    record = {
        "awsRegion": "us-east-1",
        "eventID": f"{draw.randrange(16**13):013x}@index",
        "eventName": "MODIFY",
        "userIdentity": None,
        "recordFormat": "application/json",
        "tableName": "orders",
        "dynamodb": {
            "ApproximateCreationDateTime": "@created",
            "Keys": {"id": old["id"], "line": old["line"]},
            "NewImage": new,
            "OldImage": old,
            "SizeBytes": 2 * item_bytes,
            "ApproximateCreationDateTimePrecision": "MICROSECOND",
        },
        "eventSource": "aws:dynamodb",
    }
    return _as_template(record)


def _images(draw: random.Random, item_bytes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw an item before and after its change."""
    old = _item(draw, item_bytes)
    new = old | {"total": {"N": f"{draw.randrange(10**6)}.{draw.randrange(100):02}"}, "version": {"N": "8"}}
    return old, new


def _as_template(record: dict[str, Any]) -> bytes:
    text = _text(record).replace('"@created"', "%d")
    return text.replace("@index", f"%0{_INDEX_DIGITS}d").encode()


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _item(draw: random.Random, item_bytes: int) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": {"S": "order-@index"},
        "line": {"N": str(draw.randrange(100))},
        "total": {"N": f"{draw.randrange(10**6)}.{draw.randrange(100):02}"},
        "version": {"N": "7"},
    }
    if item_bytes >= USUAL_SIZE:
        item |= {
            "paid": {"BOOL": draw.random() < 0.5},
            "cancelled": {"NULL": True},
            "customer": {"M": {"name": {"S": _words(draw, 2)}, "city": {"S": "Zürich"}, "age": {"N": "41"}}},
            "lines": {"L": [_line(draw) for _ in range(2)]},
            "tags": {"SS": draw.sample(_WORDS, 3)},
            "scores": {"NS": [str(number) for number in draw.sample(range(1_000), 3)]},
            "seal": {"B": base64.b64encode(draw.randbytes(16)).decode()},
        }
    number = 0
    while (room := item_bytes - _size(item)) > 12:
        item[f"note{number}"] = {"S": _words(draw, min(room - 6, 2_000) // 7 + 1)[: min(room - 6, 2_000)]}
        number += 1
    return item


def _line(draw: random.Random) -> dict[str, Any]:
    price = f"{draw.randrange(1_000)}.{draw.randrange(100):02}"
    return {"M": {"sku": {"S": _words(draw, 1)}, "count": {"N": str(draw.randrange(9))}, "price": {"N": price}}}


def _words(draw: random.Random, count: int) -> str:
    return " ".join(draw.choices(_WORDS, k=count))


def _size(value: Any) -> int:
    """Count names and values; a type's tag counts nothing, an index counts with its digits."""
    if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in {"S", "N", "B", "SS", "NS", "L", "M"}:
        return _size(next(iter(value.values())))
    if isinstance(value, dict):
        return sum(len(name) + _size(member) for name, member in value.items())
    if isinstance(value, list):
        return sum(_size(member) for member in value)
    return len(value.replace("@index", "0" * _INDEX_DIGITS)) if isinstance(value, str) else 1
