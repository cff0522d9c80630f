"""The types of a table's columns: seen in values, widened by more of them, and agreed among all who write the table.

A column begins with the first value that has a type. What readers see as one column over many files must go together in
all of them, so a type only ever widens in ways that DuckDB's `union_by_name` and pyarrow's datasets read exactly:

- a number has room for 20, 29 or 38 digits before the point and 0, 9 or 18 behind it, at most 38 in all;
- what has no room there, and scalars of different types, make the column text: a string as it is, the rest as JSON;
- a struct gets more fields;
- lists, structs and binaries stay what they are. A value of another type stands as JSON in the column `NAME__json`
  beside it, and so does what has no type yet: `[]`, `{}`.

Tables of Iceberg and Delta keep the type of a column for good: it is *fixed*. A number then has all the room there is
from the beginning, and whatever a type does not hold stands as JSON beside it. Structs get more fields there, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Context, Decimal
from functools import reduce
from typing import Any, Final, Literal

import pyarrow as pa

Kind = Literal["boolean", "number", "text", "binary", "list", "struct", "declared"]

OURS: Final = ("__op", "__ts", "__topic", "__partition", "__offset", "__headers")
JSON_SUFFIX: Final = "__json"
FIELDS_MAX: Final = 1_000
"""So many fields a struct has at most: a map with more has keys that are data."""

_DENSE: Final = 4
"""Objects that have at least one of so many fields are looked at field by field."""

_SCALARS: Final = {"boolean", "number", "text"}
_DIGITS: Final = (20, 29, 38)
_SCALES: Final = (0, 9, 18)
_DIGITS_MAX: Final = 38
_EXACT: Final = Context(prec=1_000)
_NONE: Final = type(None)
_KINDS: Final[Mapping[type, Kind]] = {
    bool: "boolean",
    int: "number",
    Decimal: "number",
    str: "text",
    bytes: "binary",
    list: "list",
    set: "list",
    dict: "struct",
}


class ClashError(Exception):
    """Two names in one object are the same column."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first, second)
        self.first = first
        self.second = second


def column_name(attribute: str) -> str:
    """Return the name of an attribute's field: its own, with an underscore more where it would be taken for ours."""
    name = attribute.replace("\0", "_") or "_"  # readers written in C end a name there
    return name + "_" if name.lower().rstrip("_").endswith(JSON_SUFFIX) else name


def top_name(attribute: str) -> str:
    """Return the name of an attribute's column."""
    is_ours = attribute.startswith("__") and "__" + attribute.lower().lstrip("_") in OURS
    return "_" + attribute if is_ours else column_name(attribute)


def exact(number: Decimal) -> Decimal:
    """Return the number without zeros at its end."""
    return number.normalize(_EXACT)


class Column:
    """A column of a table, a field of a struct or the elements of a list. It is changed in place."""

    __slots__ = ("_element", "_fields", "declared", "digits", "has_json", "is_fixed", "kind", "scale")

    def __init__(self, kind: Kind | None = None) -> None:
        self.kind = kind
        """None: only nulls were seen."""
        self.digits = _DIGITS[0]
        self.scale = 0
        self._element: Column | None = None
        self._fields: Fields | None = None
        self.has_json = False
        """There is a column for values of other types beside it."""
        self.declared: pa.DataType | None = None
        self.is_fixed = False
        """It keeps its type, but for more fields of structs."""

    @property
    def element(self) -> Column:
        """The elements of a list."""
        self._element = self._element or Column()
        return self._element

    @property
    def fields(self) -> Fields:
        """The fields of a struct."""
        self._fields = self._fields or Fields()
        return self._fields

    @property
    def is_decided(self) -> bool:
        """Whether it has a type that a file can hold."""
        if self.kind == "list":
            return self.element.is_decided
        if self.kind == "struct":
            return self.fields.is_decided
        return self.kind is not None

    @property
    def type(self) -> pa.DataType:  # noqa: PLR0911 - one for each kind
        """The type; it must be decided."""
        match self.kind:
            case "boolean":
                return pa.bool_()
            case "number":
                return pa.decimal128(self.digits + self.scale, self.scale)
            case "binary":
                return pa.binary()
            case "list":
                return pa.list_(self.element.type)
            case "struct":
                return pa.struct(self.fields.arrow())
            case "declared":
                return self.declared
        return pa.string()

    def see(self, value: Any) -> None:
        """Widen for a value, as far as its type allows."""
        if value is None or self.kind == "declared":
            return
        kind = _KINDS[value.__class__]
        if kind != self.kind and not self._become(kind):
            return
        if self.kind == "number":
            self._see_number(value)
        elif self.kind == "list":
            for each in value:
                self.element.see(each)
        elif self.kind == "struct":
            self.fields.see(value)

    def see_all(self, values: Sequence[Any]) -> None:
        """Widen for values as `see` does for each of them, in their order."""
        if self.kind == "declared":
            return
        kinds = {_KINDS[each] for each in set(map(type, values)) if each is not _NONE}
        if len(kinds) != 1:
            for value in values:
                self.see(value)
            return
        kind = kinds.pop()
        if kind != self.kind and not self._become(kind):
            return
        if self.kind == "number":
            self._see_numbers([each for each in values if each is not None])
        elif self.kind == "list":
            self.element.see_all([member for each in values if each is not None for member in each])
        elif self.kind == "struct":
            self.fields.see_all([each for each in values if each is not None])

    def holds(self, number: int | Decimal) -> bool:
        """Return whether there is room for a number."""
        digits, scale = _extent(number)
        return digits <= self.digits and scale <= self.scale

    def settle(self) -> None:
        """Give numbers whose type is not fixed all the room behind the point that there is."""
        if self.kind == "number" and not self.is_fixed:
            self.scale = _DIGITS_MAX - self.digits
        if self._element is not None:
            self._element.settle()
        if self._fields is not None:
            self._fields.settle()

    def _become(self, kind: Kind) -> bool:
        """Turn to another kind, or to text; return whether a value of that kind has a place."""
        if not self.is_decided:
            self.kind, self._element, self._fields = kind, None, None
            return True
        if self.is_fixed and self.kind != "text":
            return False
        if self.kind in _SCALARS and kind in _SCALARS:
            self.kind = "text"
            return True
        return False

    def _see_numbers(self, values: Sequence[int | Decimal]) -> None:
        if self.is_fixed or self._is_wide_enough(values):
            return
        for value in values:
            if self.kind == "number":
                self._see_number(value)

    def _is_wide_enough(self, values: Sequence[int | Decimal]) -> bool:
        """Return whether there is room for all numbers by a quick look, which takes zeros at their ends for digits."""
        decimals = [each for each in values if each.__class__ is Decimal]
        whole = [each for each in values if each.__class__ is int] if len(decimals) < len(values) else []
        if whole and not (min(whole) > -(10**20) and max(whole) < 10**20):
            return False
        if not decimals:
            return True
        if max(map(Decimal.adjusted, decimals)) >= self.digits:
            return False
        # A sum has as many digits behind the point as the number that has most. It cannot get too long: all are small.
        exponent = reduce(_EXACT.add, decimals, Decimal(0)).as_tuple().exponent
        return isinstance(exponent, int) and -exponent <= self.scale

    def _see_number(self, value: int | Decimal) -> None:
        if value.__class__ is int and -(10**20) < value < 10**20:
            return
        self._widen(*_extent(value))

    def _widen(self, digits: int, scale: int) -> None:
        if self.is_fixed:
            return
        digits, scale = max(digits, self.digits), max(scale, self.scale)
        self.digits = next((each for each in _DIGITS if each >= digits), _DIGITS_MAX + 1)
        self.scale = next((each for each in _SCALES if each >= scale), _DIGITS_MAX + 1)
        if self.digits + self.scale > _DIGITS_MAX:
            self.kind, self.digits, self.scale = "text", _DIGITS[0], 0

    def join(self, other: Column) -> bool:
        """Widen for all that another column holds; return False when some of it has no place here."""
        self.has_json |= other.has_json
        if other.kind is None:
            return True
        if "declared" in {self.kind, other.kind}:
            self._join_declared(other)
            return True
        if other.kind != self.kind and not self._become(other.kind):
            return False
        if self.kind == "number":
            self._widen(other.digits, other.scale)
        elif self.kind == "list":
            return self.element.join(other.element)
        elif self.kind == "struct":
            self.fields.join(other.fields)
        return True

    def _join_declared(self, other: Column) -> None:
        """Take over a declared type, which has the last word: someone wants it from now on."""
        if other.kind == "declared":
            self.kind, self.declared = "declared", other.declared


class Fields:
    """The fields of a struct, or the columns of a table, by name. Names that differ in case only are one."""

    def __init__(self, name_of: Callable[[str], str] = column_name, size_max: int = FIELDS_MAX) -> None:
        """`name_of` names the column of an attribute."""
        self.columns: dict[str, Column] = {}
        self.names: dict[str, str] = {}
        """The column of each attribute that was seen."""
        self._folded: dict[str, str] = {}
        self._name_of = name_of
        self._size_max = size_max

    @property
    def is_decided(self) -> bool:
        """Whether there is a field that a file can hold."""
        return any(each.is_decided or each.has_json for each in self.columns.values())

    def has_room(self, attributes: Mapping[str, Any]) -> bool:
        """Return whether all of these attributes have columns, or can have."""
        room = self._size_max - len(self.columns)
        return len(attributes) <= room or sum(self.known(each) is None for each in attributes) <= room

    def arrow(self) -> list[pa.Field]:
        """Return the fields that a file can hold."""
        fields = []
        for name, column in self.columns.items():
            if column.is_decided:
                fields.append(pa.field(name, column.type))
            if column.has_json:
                fields.append(pa.field(name + JSON_SUFFIX, pa.string()))
        return fields

    def settle(self) -> None:
        """Settle all of them."""
        for each in self.columns.values():
            each.settle()

    def add(self, name: str, column: Column) -> None:
        """Add a field under a name that no other has."""
        self.columns[name] = column
        self._folded[name.lower()] = name

    def named(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return values by column; those of new attributes are added. Raises `ClashError`."""
        names = self.names
        named: dict[str, Any] = {}
        for attribute, value in attributes.items():
            name = names.get(attribute) or self._learn(attribute)
            if name in named:
                raise ClashError(next(each for each in attributes if names[each] == name), attribute)
            named[name] = value
        return named

    def placed(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `named` does. Raises `ClashError`, also for attributes that are new and have no room."""
        names = self.names
        try:
            named = {names[attribute]: value for attribute, value in attributes.items()}
        except KeyError:  # an attribute is new
            named = {}
        if len(named) == len(attributes):
            return named
        if not self.has_room(attributes):
            raise ClashError("", "")
        return self.named(attributes)

    def see(self, attributes: Mapping[str, Any]) -> None:
        """Widen for the fields of an object, if it has a place here."""
        self.see_all([attributes])

    def see_all(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Widen for the fields of objects as `see` does for each of them."""
        kept = []
        for attributes in objects:
            try:
                kept.append(self.placed(attributes))
            except ClashError:
                continue
        self.see_named(kept)

    def see_named(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Widen for values by column."""
        if sum(map(len, objects)) * _DENSE >= len(self.columns) * len(objects):
            for name, column in self.columns.items():
                column.see_all([each.get(name) for each in objects])
            return
        found: defaultdict[str, list[Any]] = defaultdict(list)
        for each in objects:
            for name, value in each.items():
                if value is not None:
                    found[name].append(value)
        for name, values in found.items():
            self.columns[name].see_all(values)

    def known(self, attribute: str) -> str | None:
        """Return the column of an attribute, None when it would be a new one."""
        return self.names.get(attribute) or self._folded.get(self._name_of(attribute).lower())

    def spelled(self, name: str) -> str:
        """Return the name of a field as it is spelled here; `name` may be that of the JSON beside one."""
        if name.endswith(JSON_SUFFIX):
            return self.spelled(name.removesuffix(JSON_SUFFIX)) + JSON_SUFFIX
        return self._folded.get(name.lower(), name)

    def join(self, other: Fields) -> None:
        """Add what another has, and widen."""
        for name, column in other.columns.items():
            own = self._folded.get(name.lower())
            if own is None:
                self.add(name, own_column := Column())
            else:
                own_column = self.columns[own]
            if not own_column.join(column):
                own_column.has_json = True
        for attribute, name in other.names.items():
            self.names[attribute] = self._folded[name.lower()]

    def _learn(self, attribute: str) -> str:
        wanted = self._name_of(attribute)
        name = self._folded.get(wanted.lower())
        if name is None:
            self.add(wanted, Column())
            name = wanted
        self.names[attribute] = name
        return name


def read_fields(fields: Fields, arrow: Iterable[pa.Field], *, fixed: bool = False) -> Fields:
    """Add the fields of a file, or those of a table whose types are `fixed`, to `fields`, and return it."""
    for field in arrow:
        if field.name.endswith(JSON_SUFFIX):
            name = field.name.removesuffix(JSON_SUFFIX)
            if name not in fields.columns:
                fields.add(name, Column())
            fields.columns[name].has_json = True
            continue
        own, read = fields.columns.get(field.name), read_type(field.type, fixed=fixed)
        if own is None or own.kind is None:
            read.has_json = own is not None and own.has_json
            fields.add(field.name, read)
        else:
            own.join(read)
    return fields


def read_type(arrow: pa.DataType, *, fixed: bool = False) -> Column:
    """Return the column of a type that a file has, or a table that keeps it."""
    column = Column(next((kind for holds, kind in _READ if holds(arrow)), "declared"))
    column.is_fixed = fixed
    match column.kind:
        case "number" if fixed:
            column.digits, column.scale = arrow.precision - arrow.scale, arrow.scale
        case "number":
            column._widen(arrow.precision - arrow.scale, arrow.scale)
        case "list":
            column._element = read_type(arrow.value_type, fixed=fixed)
        case "struct":
            read_fields(column.fields, arrow, fixed=fixed)
        case "declared":
            column.declared = arrow
    return column


_READ: Final[tuple[tuple[Callable[[pa.DataType], bool], Kind], ...]] = (
    (pa.types.is_decimal, "number"),
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_string, "text"),
    (pa.types.is_large_string, "text"),
    (pa.types.is_binary, "binary"),
    (pa.types.is_large_binary, "binary"),
    (pa.types.is_list, "list"),
    (pa.types.is_large_list, "list"),
    (pa.types.is_struct, "struct"),
)


def _extent(number: int | Decimal) -> tuple[int, int]:
    """Return how many digits a number has before the point, and behind it."""
    short = exact(Decimal(number))
    return max(0, short.adjusted() + 1) if short else 0, max(0, -int(short.as_tuple().exponent))
