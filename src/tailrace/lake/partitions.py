"""Takes rows apart by the directories that they belong to. Pure.

A row's directory follows from its values alone, not from the types that they have in one table or another: a range of
offsets that is read again falls into the same files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.config.lake import PartitionBy

NONE: Final = "__HIVE_DEFAULT_PARTITION__"
"""Hive's directory of rows without a value; lists, maps and bytes are none."""
_CHARACTERS_MAX: Final = 100
_ESCAPED: Final = re.compile(r"[\x00-\x1f\x7f\"#%'*/:=?\\{}\[\]^]")
_FORMATS: Final = {"year": "%Y", "month": "%Y-%m", "day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H"}


def split(table: pa.Table, partition_by: Sequence[PartitionBy]) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of each directory in their order, with its name.

    For example `tailrace_ts_day=2026-01-31/tailrace_by_region=eu`.
    """
    if not partition_by or not table.num_rows:
        yield "", table
        return
    directories: list[str] = [""]
    codes = pa.array([0] * table.num_rows, pa.int64())
    for by in partition_by:
        names, own = _coded(table, by)
        codes = pc.add(pc.multiply(codes, len(names)), own)
        combined = pc.unique(codes).to_pylist()
        directories = [
            "/".join(
                part for part in (directories[code // len(names)], f"{by.directory}={names[code % len(names)]}") if part
            )
            for code in combined
        ]
        codes = pc.index_in(codes, value_set=pa.array(combined, pa.int64())).cast(pa.int64())
    if len(directories) == 1:
        yield directories[0], table
        return
    order = pc.sort_indices(codes)  # stable
    runs = pc.run_end_encode(codes.take(order))
    begin = 0
    for code, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield directories[code], table.take(order.slice(begin, end - begin))
        begin = end


def _coded(table: pa.Table, by: PartitionBy) -> tuple[list[str], pa.Array]:
    """Return the distinct names, and the number of each row's."""
    if by.column not in table.column_names:
        return [NONE], pa.array([0] * table.num_rows, pa.int64())
    column = table.column(by.column).combine_chunks()
    if by.unit:
        column = pc.floor_temporal(column.cast(pa.timestamp("ms")), unit=by.unit)
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return [NONE], pa.array([0] * table.num_rows, pa.int64())
    coded = column.dictionary_encode(null_encoding="encode") if not pa.types.is_dictionary(column.type) else column
    texts = [_text(value, by) for value in coded.dictionary.to_pylist()]
    names = list(dict.fromkeys(texts))
    number = {name: index for index, name in enumerate(names)}
    return names, pa.array([number[text] for text in texts], pa.int64()).take(coded.indices)


def _text(value: Any, by: PartitionBy) -> str:
    """Return what a directory calls a value."""
    if isinstance(value, datetime):
        return value.strftime(_FORMATS[by.unit or "hour"])
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return _number(Decimal(str(value)))
    if not isinstance(value, str) or not value:
        return NONE
    return _ESCAPED.sub(lambda match: f"%{ord(match[0]):02X}", value[:_CHARACTERS_MAX])


def _number(value: Decimal) -> str:
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text)[:_CHARACTERS_MAX]
