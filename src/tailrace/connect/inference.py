"""Items with the schemas that follow from them: DynamoDB's types in Connect's data model, merged as attributes appear.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

from __future__ import annotations

import math
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Final, Literal, NamedTuple

import msgspec

from tailrace.connect.data import DECIMAL, Field, Schema, decimal, optional
from tailrace.connect.errors import DataError

NumberType = Literal["decimal", "string", "double"]
"""What a DynamoDB number becomes: a decimal of a fixed scale, its text, or a double, which may round it."""

_DIGITS: Final = Context(prec=40)
"""DynamoDB's numbers have up to 38 digits."""
_STRING, _BOOLEAN, _BYTES = Schema("string"), Schema("boolean"), Schema("bytes")


class ConflictError(DataError):
    """An attribute has values of types that no one schema can hold."""

    def __init__(self, attribute: str, one: Schema, other: Schema) -> None:
        """`attribute` is a path: `lines[].price`."""
        super().__init__(
            f"attribute {attribute} is {_described(one)} and {_described(other)}: a schema needs one type for it; "
            "change the items, or convert or remove the attribute with a step of `transform`"
        )


class Inferred(NamedTuple):
    """A value in Connect's data model, and its schema."""

    schema: Schema
    value: Any


class _Null(NamedTuple):
    """A null: its schema is not known."""

    schema: None = None
    value: None = None


class Inference:
    """Infers the schemas of items. Pure."""

    def __init__(self, numbers: NumberType, *, scale: int) -> None:
        """`scale` is that of decimals: a number with more digits behind the point is refused where it is written."""
        number: dict[NumberType, tuple[Schema, Callable[[str], Any]]] = {
            "decimal": (decimal(scale), _decimal),
            "string": (_STRING, lambda text: format(_decimal(text).normalize(_DIGITS), "f")),
            "double": (Schema("float64"), _double),
        }
        self._number_schema, self._number = number[numbers]
        self._scalars: dict[str, tuple[Schema, Callable[[Any], Any]]] = {
            "S": (_STRING, _text),
            "N": (self._number_schema, self._number),
            "BOOL": (_BOOLEAN, _boolean),
            "B": (_BYTES, _binary),
        }

    def struct(self, attributes: Mapping[str, Any], name: str, required: frozenset[str] = frozenset()) -> Inferred:
        """Return the struct of attributes in DynamoDB JSON, which has this name and whose own maps have names below it.

        Its fields are sorted by name; all but `required` are optional. Raises `DataError`, also `ConflictError`.
        """
        return self._struct(attributes, name, "", required)

    def _struct(
        self, attributes: Mapping[str, Any], name: str, path: str, required: frozenset[str] = frozenset()
    ) -> Inferred:
        fields, values = [], {}
        for attribute in sorted(attributes):
            inside = f"{path}.{attribute}" if path else attribute
            schema, value = self._value(attributes[attribute], f"{name}.{attribute}", inside)
            if schema is not None:
                fields.append(Field(attribute, schema if attribute in required else optional(schema)))
                values[attribute] = value
        return Inferred(Schema("struct", name=name, fields=tuple(fields)), values)

    def _value(self, typed: Any, name: str, path: str) -> Inferred | _Null:
        if not isinstance(typed, Mapping) or len(typed) != 1:
            raise DataError(f"attribute {path}: it is not an object with one type and its value")
        [(tag, value)] = typed.items()
        try:
            match tag:
                case "NULL":
                    return _Null()
                case "M" if isinstance(value, Mapping):
                    return self._struct(value, name, path)
                case "L" if isinstance(value, list):
                    return self._list(value, name, path)
                case "SS" | "NS" | "BS" if isinstance(value, list):
                    schema, convert = self._scalars[tag[0]]
                    return Inferred(Schema("array", values=schema), sorted(convert(each) for each in value))
            schema, convert = self._scalars[tag]
            return Inferred(schema, convert(value))
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"attribute {path}: its value is not one of DynamoDB's type {tag}") from None

    def _list(self, members: list[Any], name: str, path: str) -> Inferred:
        found = [self._value(each, name, f"{path}[]") for each in members]
        schema: Schema | None = None
        for each in found:
            schema = _merged(schema, each.schema, f"{path}[]")
        # A list may get a null at any time: its members are optional from the start.
        values = None if schema is None else optional(schema)
        return Inferred(Schema("array", values=values), [each.value for each in found])


def merge(one: Schema, other: Schema) -> Schema:
    """Return the schema that takes the values of both: `one`, with the fields that only `other` has behind its own.

    What either has alone, or has as optional, is optional. Raises `ConflictError`.
    """
    return _both(one, other, "")


def complete(schema: Schema) -> Schema:
    """Return the schema with optional text for the members of lists that were all empty or null: a guess."""
    replace = msgspec.structs.replace
    if schema.type == "array":
        return replace(schema, values=optional(_STRING) if schema.values is None else complete(schema.values))
    if schema.fields:
        return replace(schema, fields=tuple(Field(each.name, complete(each.schema)) for each in schema.fields))
    return schema


def _merged(one: Schema | None, other: Schema | None, path: str) -> Schema | None:
    if one is None or other is None:
        return one or other
    return _both(one, other, path)


def _both(one: Schema, other: Schema, path: str) -> Schema:
    if one == other:
        return one
    if (one.type, one.name, one.parameters) != (other.type, other.name, other.parameters):
        raise ConflictError(path or "(the item)", one, other)
    is_optional = one.optional or other.optional
    if one.type == "array":
        values = _merged(one.values, other.values, f"{path}[]")
        return msgspec.structs.replace(one, optional=is_optional, values=values)
    theirs = {each.name: each.schema for each in other.fields}
    fields = []
    for name, schema in ((each.name, each.schema) for each in one.fields):
        its = theirs.pop(name, None)
        both = optional(schema) if its is None else _both(schema, its, f"{path}.{name}" if path else name)
        fields.append(Field(name, both))
    fields += [Field(name, optional(schema)) for name, schema in theirs.items()]
    return msgspec.structs.replace(one, optional=is_optional, fields=tuple(fields))


def _described(schema: Schema) -> str:
    if schema.name == DECIMAL:
        return "a number"
    names = {"string": "text", "float64": "a number", "bytes": "binary", "array": "a list or set", "struct": "a map"}
    return names.get(schema.type, f"a {schema.type}")


def _decimal(text: str) -> Decimal:
    number = Decimal(_text(text))
    if not number.is_finite():
        raise ValueError(text)
    return number


def _double(text: str) -> float:
    number = float(_decimal(text))
    if math.isinf(number):
        raise ValueError(text)
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _binary(value: Any) -> bytes:
    return a2b_base64(_text(value), strict_mode=True)
