"""Transforms that choose another topic, leave records out, or name their schemas, as Apache Kafka's do."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from tailrace.connect.data import ConnectRecord
from tailrace.connect.errors import DataError
from tailrace.connect.options import Options
from tailrace.connect.transforms.part import Part, replaced, schema_of, value_of

_GROUP: Final = re.compile(r"\\(.)|\$(\d)|\$\{(\w+)\}")


def java_replacement(text: str) -> str:
    """Return a replacement of Java's regular expressions as Python has it: `$1` is `\\g<1>`, `\\x` is `x`."""
    return _GROUP.sub(
        lambda match: f"\\g<{match[2] or match[3]}>" if match[1] is None else match[1].replace("\\", r"\\"), text
    )


class RegexRouter:
    """The topic becomes what a regular expression that matches it whole makes of it."""

    def __init__(self, options: Options, part: Part) -> None:
        del part
        self._regex = options.pattern("regex")
        self._replacement = java_replacement(options.text("replacement"))
        try:
            self._regex.sub(self._replacement, "")
            re.compile(self._regex.pattern + "|").sub(self._replacement, "")
        except (re.error, IndexError) as error:
            raise options.error("replacement", f"does not fit the expression: {error}") from None

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return the record."""
        return msgspec.structs.replace(record, topic=self.route(record.topic))

    def route(self, topic: str) -> str:
        """Return the topic that records of a topic go to."""
        match = self._regex.fullmatch(topic)
        return topic if match is None else match.expand(self._replacement)


class Filter:
    """Leaves the record out; it is used with a predicate."""

    def __init__(self, options: Options, part: Part) -> None:
        del options, part

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return nothing."""
        del record
        return None


class SetSchemaMetadata:
    """Sets the name and the version of a part's schema."""

    def __init__(self, options: Options, part: Part) -> None:
        self._part = part
        self._name = options.given("schema.name")
        version = options.given("schema.version")
        options.flag("replace.null.with.default", True)
        if version is not None and not version.isdecimal():
            raise options.error("schema.version", f"must be a whole number, not `{version}`")
        self._version = None if version is None else int(version)
        if self._name is None and self._version is None:
            raise options.error("schema.name", "is missing, and so is schema.version")

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return the record."""
        schema, value = schema_of(record, self._part), value_of(record, self._part)
        if schema is None:
            if value is None:
                return record
            raise DataError("SetSchemaMetadata needs a schema: a converter with schemas, and a format that has them")
        name = schema.name if self._name is None else self._name
        version = schema.version if self._version is None else self._version
        return replaced(record, self._part, msgspec.structs.replace(schema, name=name, version=version), value)
