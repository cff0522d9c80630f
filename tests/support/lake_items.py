"""Records for the lake's columns, and what a reader of its files makes of them again."""

from __future__ import annotations

import json
import uuid
from base64 import b64encode
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

from tailrace.formats.python_values import from_python
from tailrace.lake.column_types import column_name, top_name


class Record:
    """What the columns ask of confluent-kafka's `Message`."""

    def __init__(self, value: bytes | None, key: bytes = b'{"pk":"a"}', offset: int = 0, headers: Any = None) -> None:
        self._value, self._key, self._offset, self._headers = value, key, offset, headers

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def topic(self) -> str:
        return "shop.orders"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_000 + self._offset

    def headers(self) -> Any:
        return self._headers


def plain(value: Any) -> Any:
    """Return a value as plain JSON has it, for msgspec."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | Decimal):
        return msgspec.Raw(str(value).encode())
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in (sorted(value) if isinstance(value, set) else value)]


def debezium(item: Mapping[str, Any] | None, offset: int = 0, *, op: str = "c") -> Record:
    """Return the record of a change in Debezium's envelope."""
    image = b"null" if item is None else msgspec.json.encode(plain(item))
    before, after = (image, b"null") if op == "d" else (b"null", image)
    value = b'{"before":%b,"after":%b,"source":{"table":"orders"},"op":"%b"}' % (before, after, op.encode())
    return Record(value, offset=offset)


def dynamodb_json(item: Mapping[str, Any], offset: int = 0) -> Record:
    """Return the record of a new item as DynamoDB's streams have it."""
    images = b'{"Keys":{"pk":{"S":"a"}},"NewImage":%b,"SequenceNumber":"1"}' % from_python(item, None)
    value = b'{"eventName":"INSERT","dynamodb":%b,"eventSourceARN":"arn:aws:dynamodb:r:1:table/t/stream/s"}' % images
    return Record(value, offset=offset)


def write(folder: Path, *tables: pa.Table) -> list[Path]:
    """Write each table into a file of its own."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{uuid.uuid4().hex}.parquet" for _ in tables]
    for path, table in zip(paths, tables, strict=True):
        pyarrow.parquet.write_table(table, path)
    return paths


def by_duckdb(paths: Sequence[Path], columns: str = "*") -> list[dict[str, Any]]:
    """Return the rows of files as DuckDB reads them together."""
    names = [str(each) for each in paths]
    with duckdb.connect() as connection:
        found = connection.execute(
            f"select {columns} from read_parquet(?, union_by_name = true) order by __partition, __offset", [names]
        )
        # Not `fetchall`, which wants pytz for a time with its zone.
        rows: list[dict[str, Any]] = found.to_arrow_table().to_pylist()
        return rows


def by_pyarrow(paths: Sequence[Path], schema: pa.Schema) -> list[dict[str, Any]]:
    """Return the rows of files as pyarrow reads them, as what the newest of them has."""
    rows: list[dict[str, Any]] = pyarrow.dataset.dataset(paths, schema=schema).to_table().to_pylist()
    return sorted(rows, key=lambda row: row["__offset"])


def shows(row: Mapping[str, Any], item: Mapping[str, Any], *, top: bool = True) -> bool:
    """Return whether a row of a table, or a struct, holds exactly this item."""
    folded = {name.lower(): value for name, value in row.items()}
    seen = set()
    for attribute, value in item.items():
        name = top_name(attribute) if top else column_name(attribute)
        own, other = folded.get(name.lower()), folded.get(f"{name}__json".lower())
        seen |= {name.lower(), f"{name}__json".lower()}
        if own is not None and other is not None:
            return False
        if not (_is_json(other, value) if other is not None else _is(own, value)):
            return False
    return all(
        value is None for name, value in folded.items() if name not in seen and not (top and name.startswith("__"))
    )


def _is_json(text: str, value: Any) -> bool:
    return _same(_loads(text), _loads(msgspec.json.encode(plain(value))))


def _loads(text: str | bytes) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def _same(found: Any, wanted: Any) -> bool:
    """Return whether JSON is what was wanted. What was in a column of text is text from then on."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        found, wanted = _without_nulls(found), _without_nulls(wanted)
        return found.keys() == wanted.keys() and all(_same(found[name], wanted[name]) for name in found)
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_same, found, wanted))
    if isinstance(found, str) and not isinstance(wanted, str):
        return bool(_loads(found) == wanted)
    return type(found) is type(wanted) and bool(found == wanted)


def _without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    return {column_name(name).lower(): each for name, each in value.items() if each is not None}


def _is(found: Any, value: Any) -> bool:
    if value is None or found is None:
        return value is None and found is None
    if isinstance(found, str) and not isinstance(value, str):
        return _is_json(found, value)
    if isinstance(value, bool | str | bytes):
        return type(found) is type(value) and bool(found == value)
    if isinstance(value, int | Decimal):
        return isinstance(found, Decimal) and found == value
    if isinstance(value, Mapping):
        return isinstance(found, dict) and shows(found, value, top=False)
    members = sorted(value) if isinstance(value, set) else value
    return isinstance(found, list) and len(found) == len(members) and all(map(_is, found, members))
