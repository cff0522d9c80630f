"""Rows of a lake that are made without a format: where a record was, and a region by its offset."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from confluent_kafka import Message

from tailrace.lake.columns import Refused

SCHEMA = pa.schema(
    [
        ("__ts", pa.timestamp("ms", "UTC")),
        ("__topic", pa.string()),
        ("__partition", pa.int32()),
        ("__offset", pa.int64()),
        ("region", pa.string()),
    ]
)


class PlainRows:
    """What `Rows` asks for."""

    def __init__(self, known: pa.Schema | None = None, *, regions: int = 1, widens_every: int = 1 << 62) -> None:
        """A column comes with each so many offsets."""
        self._rows: list[tuple[object, ...]] = []
        self._regions = regions
        self._widens_every = widens_every
        self._columns = len(known) - len(SCHEMA) if known is not None else 0

    @property
    def size_bytes(self) -> int:
        return 100 * len(self._rows)

    @property
    def schema(self) -> pa.Schema:
        more = [pa.field(f"column{number}", pa.string()) for number in range(self._columns)]
        return pa.schema([*SCHEMA, *more])

    def append(self, messages: Sequence[Message]) -> list[Refused]:
        for each in messages:
            offset = each.offset() or 0
            where = (each.timestamp()[1], each.topic(), each.partition(), offset)
            self._rows.append((*where, f"r{offset % self._regions}"))
            self._columns = max(self._columns, offset // self._widens_every)
        return []

    def adopt(self, agreed: pa.Schema) -> None:
        assert set(self.schema.names) <= set(agreed.names)
        self._columns = sum(name.startswith("column") for name in agreed.names)

    def take(self) -> pa.Table:
        columns = list(zip(*self._rows, strict=True)) if self._rows else [()] * len(SCHEMA)
        self._rows = []
        arrays = [pa.array(each, field.type) for each, field in zip(columns, SCHEMA, strict=True)]
        empty = [pa.nulls(len(arrays[0]), pa.string())] * self._columns
        return pa.table([*arrays, *empty], schema=self.schema)

    def widened(self) -> list[str]:
        return []


class NothingSetAside:
    """What `SetAside` asks for."""

    def add(self, refused: Sequence[Refused]) -> None:
        assert not refused

    def flush(self) -> None:
        pass
