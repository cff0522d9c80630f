"""The records of a topic as columns: one row a change, with the attributes of its item under their own names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa

from tailrace.config.lake_columns import ColumnOptions
from tailrace.errors import RecordError, excerpt
from tailrace.formats import Format
from tailrace.lake import reshape, values
from tailrace.lake.column_types import JSON_SUFFIX, OURS, ClashError, Column, Fields, read_fields, top_name
from tailrace.lake.declared import Declared
from tailrace.lake.plain_json import PlainJson
from tailrace.lake.rows import Message, Rows, read_rows

COLUMNS_MAX: Final = 10_000
"""So many columns a table has at most."""
BLOCK_ROWS: Final = 1_000
_LOOK_ROWS: Final = 100
"""So many rows are looked at one by one for a first surprise: mostly the rest is like them."""
_FAILURES_MAX: Final = 6

_HEADERS: Final = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
_TYPES: Final = (pa.string(), pa.timestamp("ms", "UTC"), pa.string(), pa.int32(), pa.int64(), _HEADERS)
OUR_COLUMNS: Final = pa.schema([pa.field(*each) for each in zip(OURS, _TYPES, strict=True)])
_DECLARE: Final = "declare the column in `columns` of the lake, or correct what writes the item"

_key_of: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Refused(NamedTuple):
    """A record that is no row, and why."""

    message: Any
    error: RecordError
    is_by_table: bool = False
    """Whether it is so for what this table has already; one of other columns may take it."""


class _NoRoomError(RecordError):
    """The table has no more columns."""


class _Chunk(NamedTuple):
    """Rows of one call of `append`."""

    ours: list[pa.Array]
    items: pa.StructArray | None
    """Their attributes; None when no column has a type yet."""

    @property
    def size_bytes(self) -> int:
        held = self.ours if self.items is None else [*self.ours, self.items]
        return sum(int(each.nbytes) for each in held)


class TableColumns:
    """The rows of one topic partition that were not taken yet. Pure, and not for several threads."""

    def __init__(
        self,
        formats: Sequence[type[Format]],
        options: Mapping[str, ColumnOptions] | None = None,
        known: pa.Schema | None = None,
        *,
        fixed: bool = False,
        keyed: bool = False,
    ) -> None:
        """Begin with the columns that the table has already, `known`.

        `formats` may have written the topic: the first that reads a value counts. `options` is by attribute. With
        `fixed` the table keeps the types of its columns; with `keyed` a record whose key does not fit them is refused.
        """
        self.keys: tuple[str, ...] = ()
        """The columns of the item's key, as the last records have them; empty where a key is no object."""
        self._formats = formats
        self._declared = Declared(options or {})
        self._fixed = fixed
        self._keyed = keyed
        self._fields = self._read(known)
        self._dropped = Fields()
        self._plain: PlainJson | None = None
        """Made with the first rows after a change of columns."""
        self._failures = 0
        self._passes = 0
        self._chunks: list[_Chunk] = []
        self._size_bytes = 0
        self._widened: list[str] = []

    @property
    def rows(self) -> int:
        """How many were not taken yet."""
        return sum(len(each.ours[0]) for each in self._chunks)

    @property
    def size_bytes(self) -> int:
        """What they occupy in memory; a Parquet file of them is smaller."""
        return self._size_bytes

    @property
    def schema(self) -> pa.Schema:
        """The columns of the next table: ours, then all that were ever seen."""
        return pa.schema([*OUR_COLUMNS, *self._fields.arrow()])

    def append(self, messages: Sequence[Message]) -> list[Refused]:
        """Add records of one partition in the order of their offsets; return those that are no rows.

        Tombstones are left out.
        """
        refused: list[Refused] = []
        # A block at a time: blocks that fit into the processor's cache are read fastest.
        for begin in range(0, len(messages), BLOCK_ROWS):
            rows, unreadable = read_rows(messages[begin : begin + BLOCK_ROWS], self._formats)
            refused += [Refused(each, self._unreadable()) for each in unreadable]
            if rows:
                self._learn_keys(rows.messages[-1])
                self._add(rows, refused)
        refused.sort(key=lambda each: each.message.offset())
        return refused

    def settle(self) -> None:
        """Give new columns of numbers all the room there is, before a table gets them that keeps their types."""
        self._fields.settle()
        self._plain = None

    def adopt(self, agreed: pa.Schema) -> None:
        """Take over what all writers of the table agreed on: it has all columns of `schema`, and may have more."""
        if agreed == self.schema:
            return
        fields = self._read(agreed)
        fields.join(self._fields)
        self._fields = fields
        self._plain = None

    def take(self) -> pa.Table:
        """Return the rows in the order of their offsets, and begin again. The columns stay."""
        chunks, self._chunks, self._size_bytes = self._chunks, [], 0
        # First all, as reshaping may find values that need a column of their own.
        for _ in range(2):
            shaped = [reshape.to_fields(each.items, self._fields, len(each.ours[0])) for each in chunks]
        schema = self.schema
        return pa.Table.from_batches(
            [
                pa.RecordBatch.from_arrays([*each.ours, *arrays], schema=schema)
                for each, arrays in zip(chunks, shaped, strict=True)
            ],
            schema=schema,
        )

    def widened(self) -> list[str]:
        """Return, in a sentence each, which columns hold values of other types since the last call."""
        told, self._widened = self._widened, []
        return told

    def _read(self, schema: pa.Schema | None) -> Fields:
        fields = Fields(self._declared.name_of, COLUMNS_MAX)
        for name, arrow_type in self._declared.types.items():
            column = Column("declared")
            column.declared = arrow_type
            fields.add(name, column)
        return read_fields(fields, [each for each in schema or [] if each.name not in OURS], fixed=self._fixed)

    def _unreadable(self) -> RecordError:
        return RecordError(
            "the value is of no format that tailrace reads as an item", hint="look at what else writes to the topic"
        )

    def _learn_keys(self, message: Message) -> None:
        try:
            names = _key_of(message.key() or b"")
        except msgspec.MsgspecError:
            return
        self.keys = tuple(self._fields.known(each) or self._declared.name_of(each) for each in names)

    def _add(self, rows: Rows, refused: list[Refused]) -> None:
        """Add the rows of a block."""
        while rows:
            arrays = self._quickly(rows)
            if arrays is not None:
                self._keep(rows, arrays)
                return
            count = _LOOK_ROWS if self._failures == 1 else len(rows)
            kept, arrays = self._one_by_one(rows.cut(0, count), refused)
            if kept:
                self._keep(kept, arrays)
            rows = rows.cut(count, len(rows))

    def _quickly(self, rows: Rows) -> list[pa.Array] | None:
        """Return the arrays of rows that need no look at each; None when they do. What fails often is tried seldom."""
        if self._passes > 0:
            self._passes -= 1
            return None
        if self._plain is None:
            self._plain = PlainJson(self._fields, self._dropped)
        items = rows.plain_items()
        arrays = None if items is None else self._plain.arrays(items)
        self._failures = 0 if arrays is not None else min(self._failures + 1, _FAILURES_MAX)
        self._passes = (1 << self._failures) // 2
        return arrays

    def _one_by_one(self, rows: Rows, refused: list[Refused]) -> tuple[Rows, list[pa.Array]]:
        """Return the rows that are not refused, and their arrays, for which columns widen."""
        self._plain = None
        kept: list[int] = []
        objects: list[dict[str, Any]] = []
        for place, (form, item) in enumerate(zip(rows.formats, rows.items, strict=True)):
            try:
                named = self._named(form.attributes(bytes(item)))
            except RecordError as error:
                refused.append(Refused(rows.messages[place], error, isinstance(error, _NoRoomError)))
                continue
            kept.append(place)
            objects.append(named)
        self._see(objects)
        rows = rows.chosen(kept)
        if self._keyed:
            rows, objects = self._with_keys(rows, objects, refused)
        beside = self._with_json()
        arrays = values.struct_arrays(self._fields, objects, values.of_attributes)
        self._widened += [
            f"column {excerpt(name)} keeps its type, and values of another one stand as JSON in {name}{JSON_SUFFIX}"
            for name in sorted(self._with_json() - beside)
        ]
        return rows, arrays

    def _with_keys(
        self, rows: Rows, objects: list[dict[str, Any]], refused: list[Refused]
    ) -> tuple[Rows, list[dict[str, Any]]]:
        """Return the rows whose key has a place in its columns."""
        kept: list[int] = []
        for place, named in enumerate(objects):
            wrong = next((key for key in self.keys if not self._is_key(key, named.get(key))), None)
            if wrong is None:
                kept.append(place)
                continue
            error = RecordError(
                f"column {excerpt(wrong)} of the item's key cannot hold {excerpt(values.json_text(named.get(wrong)))}",
                hint="declare the column in `columns` of the lake as the key needs it, and begin a new table with it",
            )
            refused.append(Refused(rows.messages[place], error, is_by_table=True))
        return rows.chosen(kept), [objects[place] for place in kept]

    def _is_key(self, name: str, value: Any) -> bool:
        column = self._fields.columns.get(name)
        return (
            value is not None and column is not None and not values.array_of(column, [value], values.of_attributes)[1]
        )

    def _with_json(self) -> set[str]:
        """Return the columns with a type that have one for JSON beside them."""
        return {name for name, each in self._fields.columns.items() if each.has_json and each.is_decided}

    def _named(self, item: dict[str, Any]) -> dict[str, Any]:
        """Return an item's values by column. Raises `RecordError`."""
        attributes, dropped = self._declared.divided(item)
        self._dropped.see(dropped)
        if not self._fields.has_room(attributes):
            raise _NoRoomError(
                f"the item has attributes that are new, and the table has room for {COLUMNS_MAX:,} columns only",
                hint="drop attributes in `columns` of the lake, or put those whose names are data into one map",
            )
        try:
            named = self._fields.placed(attributes)
        except ClashError as clash:
            raise RecordError(
                f"attributes {excerpt(clash.first)} and {excerpt(clash.second)} would be one column, as readers of the "
                "lake take capital and small letters for the same",
                hint="rename or drop one of them in `columns` of the lake",
            ) from None
        return self._declared.converted(named)

    def _see(self, objects: list[dict[str, Any]]) -> None:
        columns = self._fields.columns
        texts = {name for name, each in columns.items() if each.is_decided and each.kind != "text"}
        self._fields.see_named(objects)
        self._widened += [
            f"column {excerpt(name)} is text from here on, as it has values of several types, or numbers beyond "
            f"38 digits; to keep its type, {_DECLARE}"
            for name in texts
            if columns[name].kind == "text"
        ]

    def _keep(self, rows: Rows, arrays: list[pa.Array]) -> None:
        fields = self._fields.arrow()
        items = pa.StructArray.from_arrays(arrays, fields=fields) if fields else None
        chunk = _Chunk(_ours(rows), items)
        self._chunks.append(chunk)
        self._size_bytes += chunk.size_bytes


def unite(schemas: Iterable[pa.Schema]) -> pa.Schema | None:
    """Return the columns of tables together, None without any; where two do not go together, the first counts."""
    fields: Fields | None = None
    for schema in schemas:
        own = read_fields(Fields(top_name, COLUMNS_MAX), [each for each in schema if each.name not in OURS])
        if fields is None:
            fields = own
        else:
            fields.join(own)
    return None if fields is None else pa.schema([*OUR_COLUMNS, *fields.arrow()])


def _ours(rows: Rows) -> list[pa.Array]:
    messages = rows.messages
    count, first = len(rows), messages[0]
    headers = [each.headers() for each in messages]
    return [
        pa.array(rows.ops, pa.string()),
        pa.array([each.timestamp()[1] for each in messages], _TYPES[1]),
        pa.repeat(pa.scalar(first.topic(), pa.string()), count),
        pa.repeat(pa.scalar(first.partition(), pa.int32()), count),
        pa.array([each.offset() for each in messages], pa.int64()),
        pa.array([_pairs(each) for each in headers], _HEADERS) if any(headers) else pa.nulls(count, _HEADERS),
    ]


def _pairs(headers: Any) -> list[tuple[str, bytes | None]] | None:
    if not headers:
        return None
    pairs = headers.items() if isinstance(headers, dict) else headers
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]
