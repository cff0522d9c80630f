"""The kinds of values that keys of the pipeline file have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Strict, WithJsonSchema

from tailrace.config.document import typed
from tailrace.config.interpolate import Interpolated
from tailrace.config.problem import InvalidError, nearest, quoted

TOPIC_LENGTH_MAX = 249
_TOPIC = re.compile(rf"^[A-Za-z0-9._-]{{1,{TOPIC_LENGTH_MAX}}}$")
_PLACEHOLDERS = ("pipeline", "table")
_TOPIC_PLACEHOLDERS = (*_PLACEHOLDERS, "stream")
_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$"
_TABLE_PATTERN = r"^[A-Za-z0-9_.*?-]{1,255}$"


def topic_fault(topic: str) -> str:
    """Return why `topic` cannot be a topic's name, or nothing. Source: org.apache.kafka.common.internals.Topic."""
    if topic in {".", ".."} or not _TOPIC.match(topic):
        return f"a topic's name has 1 to {TOPIC_LENGTH_MAX} letters, digits, `.`, `_` and `-`"
    return ""


def _pipeline_name(value: str) -> str:
    if not re.fullmatch(_NAME_PATTERN, value):
        raise InvalidError(
            f"{quoted(value)} cannot be a pipeline's name",
            "use 1 to 200 letters, digits, `.`, `_` and `-`, a letter or digit first: topics are named after it",
        )
    return value


def _table_pattern(value: str) -> str:
    if value.startswith("arn:"):
        raise InvalidError(
            "must be a table's name, not its ARN", "give the part after `table/`; the region has its own key"
        )
    is_pattern = "*" in value or "?" in value
    if not re.fullmatch(_TABLE_PATTERN, value) or (len(value) < 3 and not is_pattern):
        raise InvalidError(
            f"{quoted(value)} cannot be a table's name",
            "a name has 3 to 255 letters, digits, `_`, `-` and `.`; in a pattern `*` and `?` stand for others",
        )
    return value


def _template(value: str, placeholders: tuple[str, ...] = _TOPIC_PLACEHOLDERS) -> str:
    for placeholder in re.findall(r"\{([^{}]*)\}", value):
        if placeholder not in placeholders:
            raise InvalidError(
                f"has the unknown placeholder {quoted('{' + placeholder + '}')}",
                nearest(placeholder, placeholders) or "there are {pipeline} and {table}",
            )
    fixed = re.sub(r"\{[^{}]*\}", "x", value)
    if fault := topic_fault(fixed):
        raise InvalidError(f"{quoted(value)} cannot name a topic", fault)
    return value


def _topic(value: str) -> str:
    if fault := topic_fault(value):
        raise InvalidError(f"{quoted(value)} cannot name a topic", fault)
    return value


def _endpoint(value: str) -> str:
    if re.match(r"^[a-z]+://[^/]*@", value):
        raise InvalidError(
            "must not hold a user or password", "AWS credentials come from the environment or the profile"
        )
    if not re.fullmatch(r"https?://[A-Za-z0-9._\[\]:-]+(/[^\s?#]*)?", value):
        raise InvalidError(f"{quoted(value)} is not a URL of a service", "write e.g. `http://localhost:8000`")
    return value


def _region(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value):
        raise InvalidError(f"{quoted(value)} is not a region", "write e.g. `us-east-1`")
    return value


def _role(value: str) -> str:
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+", value):
        raise InvalidError(
            f"{quoted(value)} is not the ARN of a role", "write e.g. `arn:aws:iam::123456789012:role/tailrace`"
        )
    return value


def _replication(value: Any) -> Any:
    value = untyped(value)
    if value != "auto" and (not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 32767):
        raise InvalidError(f"must be `auto` or a whole number from 1, not {quoted(value)}")
    return value


def untyped(value: Any) -> Any:
    """Return text that came from `${…}` the value that it would have, had it been written in the file."""
    if isinstance(value, Interpolated):
        for kind in ("bool", "int"):
            if (result := typed(kind, value)) is not value:
                return result
    return value


def as_tuple(value: Any) -> Any:
    """Convert a list of the file to a tuple."""
    return tuple(value) if isinstance(value, list) else value


def as_written(default: str | dict[str, Any]) -> Any:
    """Return a default in the file's form; validation gives it the field's type."""
    return default


Text = Annotated[str, Strict()]
Whole = Annotated[int, Strict(), BeforeValidator(untyped)]
Flag = Annotated[bool, Strict(), BeforeValidator(untyped)]
Region = Annotated[Text, AfterValidator(_region)]
Endpoint = Annotated[Text, AfterValidator(_endpoint)]
Role = Annotated[Text, AfterValidator(_role)]


def _route_template(value: str) -> str:
    return _template(value, _PLACEHOLDERS)


Template = Annotated[Text, AfterValidator(_template)]
"""A topic's name with `{pipeline}`, `{table}` and `{stream}` in it."""
RouteTemplate = Annotated[Text, AfterValidator(_route_template)]
"""The same without `{stream}`."""
Replication = Annotated[
    int | Literal["auto"],
    BeforeValidator(_replication),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": 32767}]}),
]
Name = Annotated[Text, AfterValidator(_pipeline_name), WithJsonSchema({"type": "string", "pattern": _NAME_PATTERN})]
TablePattern = Annotated[
    Text, AfterValidator(_table_pattern), WithJsonSchema({"type": "string", "pattern": _TABLE_PATTERN})
]
TopicName = Annotated[Text, AfterValidator(_topic), WithJsonSchema({"type": "string", "pattern": _TOPIC.pattern})]


class Part(BaseModel):
    """A mapping of the file: its keys are these and no other."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    called: ClassVar[str] = "a pipeline"
    """What a file of it is called, where it is the whole file."""
    examples: ClassVar[Mapping[str, str]] = {}
    """For required keys, the line that the error for a missing one shows."""
