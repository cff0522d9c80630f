"""The `transform` key: the steps that a change goes through before it is published."""

from __future__ import annotations

import fnmatch
import re
from functools import partial
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    Strict,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tailrace.config.fields import Flag, Part, RouteTemplate, TablePattern, Text, Whole, as_tuple
from tailrace.config.problem import InvalidError, quoted
from tailrace.transform import functions, paths
from tailrace.transform.expression import Expression

ACTIONS: Final = ("function", "filter", "include", "exclude", "rename", "mask", "hash", "route")
_SECRET_LENGTH_MIN: Final = 16
LANGUAGE: Final = (
    "it is JMESPath over op, table, keys, before, after and item, with texts in 'single quotes' and numbers, null, "
    "true and false in `backquotes`"
)


def _expression(value: str, *, is_condition: bool = False) -> str:
    try:
        Expression(value, is_condition=is_condition)
    except ValueError as error:
        raise InvalidError(f"{quoted(value)}: {error}", LANGUAGE) from None
    return value


def _path(value: str) -> str:
    try:
        paths.parse(value)
    except ValueError as error:
        remedy = 'write names with dots between, [*] for every member of a list, "quotes" around a name with dots'
        raise InvalidError(f"the path {quoted(value)} {error}", remedy) from None
    return value


def _function(value: str) -> str:
    if not re.fullmatch(functions.NAME_PATTERN, value):
        raise InvalidError(f"{quoted(value)} does not name a function", "write e.g. `my_module:redact`")
    return value


def _not_empty(value: str) -> str:
    if not value:
        raise InvalidError("is empty", "give the new name")
    return value


def _long_enough(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < _SECRET_LENGTH_MIN:
        raise InvalidError(
            f"has fewer than {_SECRET_LENGTH_MIN} characters, so that it could be guessed",
            "use a long random text, e.g. from `openssl rand -hex 32`",
        )
    return value


def _as_steps(value: Any) -> Any:
    """Accept `transform: my_module:redact` as a list of one step."""
    return ({"function": value},) if isinstance(value, str) else as_tuple(value)


ExpressionText = Annotated[Text, AfterValidator(_expression)]
ConditionText = Annotated[Text, AfterValidator(partial(_expression, is_condition=True))]
PathText = Annotated[Text, AfterValidator(_path)]
Paths = Annotated[tuple[PathText, ...], Field(min_length=1), BeforeValidator(as_tuple)]
FunctionName = Annotated[
    Text, AfterValidator(_function), WithJsonSchema({"type": "string", "pattern": functions.NAME_PATTERN})
]


class Mask(Part):
    """Puts a text in place of values."""

    attributes: Paths = Field(description="Paths of the attributes.")
    text: Text = Field(default="***", description="What stands in place of the value.")
    keep_last: Whole = Field(
        default=0, ge=0, le=64, description="How many characters of a longer text or number stay behind it."
    )


class Hash(Part):
    """Puts HMAC-SHA-256 in place of values, in hexadecimal: equal values stay equal."""

    attributes: Paths = Field(description="Paths of the attributes; key attributes may be among them.")
    key: Annotated[SecretStr, Strict(False), AfterValidator(_long_enough)] = Field(
        description="The secret key, at least 16 characters; without it nobody can find a value by trying.",
        examples=["${env:TAILRACE_HASH_KEY}"],
    )


class Route(Part):
    """Chooses a topic by the value of an expression, out of those that are listed."""

    by: ExpressionText = Field(description="JMESPath expression over the change.", examples=["item.type"])
    topics: dict[str, RouteTemplate] = Field(
        min_length=1,
        description="The topic for each value. `{pipeline}` and `{table}` are filled in.",
        examples=[{"order": "{pipeline}.orders", "invoice": "{pipeline}.invoices"}],
    )
    otherwise: RouteTemplate | None = Field(
        default=None, description="Topic for any other value. Without it such a change is a dead letter."
    )

    @property
    def templates(self) -> tuple[str, ...]:
        """Every topic that a change may go to."""
        return tuple(dict.fromkeys([*self.topics.values(), *([self.otherwise] if self.otherwise else [])]))


class Step(Part):
    """One step: an action, and the tables that it is for."""

    tables: Annotated[tuple[TablePattern, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="Tables that the step is for: names and patterns. Without it, all of them."
    )
    function: FunctionName | None = Field(
        default=None,
        description="A function of yours, `module:name`, that takes a Change and gives one, none or a list.",
        examples=["my_module:redact"],
    )
    changes_keys: Flag = Field(
        default=False, description="Whether the function may change key attributes, which decide the partition."
    )
    filter: ConditionText | None = Field(
        default=None,
        description="JMESPath expression over the change; a change for which it is not true is dropped.",
        examples=["item.status != 'draft'"],
    )
    include: Paths | None = Field(default=None, description="Attributes to keep, beside the key attributes.")
    exclude: Paths | None = Field(default=None, description="Attributes to leave out.")
    rename: Annotated[dict[PathText, Annotated[Text, AfterValidator(_not_empty)]], Field(min_length=1)] | None = Field(
        default=None, description="New names of attributes.", examples=[{"usr": "user"}]
    )
    mask: Mask | None = Field(default=None, description="Attributes whose values are not to be seen.")
    hash: Hash | None = Field(default=None, description="Attributes whose values are to be seen only as equal or not.")
    route: Route | None = Field(default=None, description="Which of several topics a change goes to.")

    @property
    def action(self) -> str:
        """What the step does: one of `ACTIONS`."""
        return next(name for name in ACTIONS if getattr(self, name) is not None)

    def is_for(self, table: str) -> bool:
        """Return whether the step is for a table."""
        return not self.tables or any(fnmatch.fnmatchcase(table, pattern) for pattern in self.tables)

    @model_validator(mode="after")
    def _one_action(self) -> Step:
        given = [name for name in ACTIONS if getattr(self, name) is not None]
        if len(given) != 1:
            wrong = f"has {' and '.join(given)}" if given else "does nothing"
            raise InvalidError(wrong, f"a step has one of {', '.join(ACTIONS)}; make a list of several")
        if self.changes_keys and self.function is None:
            raise InvalidError("has `changes_keys` without a function", "leave it out")
        return self


class _TextOrSteps:
    """Makes the JSON Schema accept both forms."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string", "pattern": functions.NAME_PATTERN}, handler(schema)]}


Steps = Annotated[tuple[Step, ...], BeforeValidator(_as_steps), _TextOrSteps]
