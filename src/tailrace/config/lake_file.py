"""A lake's own file: it names topics that any pipeline writes, where a pipeline's file names a source."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from tailrace.config.fields import Name, Part, Text, TopicName, as_tuple, as_written, topic_fault
from tailrace.config.format import AnyFormat
from tailrace.config.lake import Lakes
from tailrace.config.lake_checks import lake_findings
from tailrace.config.problem import Finding, InvalidError, quoted
from tailrace.config.property_maps import KafkaProperties
from tailrace.formats import FORMATS

_TABLE = "{table}"


def _topic(value: str) -> str:
    without = re.sub(r"[*?]", "x", value.replace(_TABLE, "x", 1))
    if fault := topic_fault(without):
        raise InvalidError(
            f"{quoted(value)} cannot name topics", f"{fault}; `*` and `?` stand for others, `{_TABLE}` for a table"
        )
    return value


TopicPattern = Annotated[Text, AfterValidator(_topic)]


class LakeFile(Part):
    """A file of `tailrace lake` for topics that it does not say the source of."""

    name: Name = Field(
        description="Its name. The consumer groups begin with it, and the location keeps it: no other may write there.",
        examples=["analytics"],
    )
    kafka: KafkaProperties = Field(description="Properties of librdkafka, as in a pipeline's file.")
    topics: Annotated[tuple[TopicPattern, ...], Field(min_length=1), BeforeValidator(as_tuple)] = Field(
        description="The topics: names, patterns with `*` and `?`, or names with `{table}` where the table's name is.",
        examples=[["shop.{table}", "billing.invoices"]],
    )
    exclude: Annotated[tuple[TopicPattern, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="Topics that are left out, names or patterns.", examples=[["shop.test-*"]]
    )
    tables: dict[TopicName, Text] = Field(
        default={},
        description="Tables of single topics, in place of what `topics` says.",
        examples=[{"billing.invoices": "invoices"}],
    )
    format: AnyFormat = Field(default=as_written("debezium"), description="What a record's value looks like.")
    dead_letters: TopicName | None = Field(
        default=None, description="Topic of records that make no row. Without it, `<name>.dead-letters`."
    )
    lakes: Lakes = Field(alias="lake", min_length=1, description="The data lake, or a list of several.")

    called: ClassVar = "a lake's file"
    examples: ClassVar = {
        "name": "name: analytics",
        "kafka": "kafka: {bootstrap.servers: localhost:9092}",
        "topics": 'topics: ["shop.{table}"]',
        "lake": "lake: {location: s3://bucket/prefix}",
    }

    @property
    def dead_letters_topic(self) -> str:
        """The topic of records that make no row."""
        return self.dead_letters or f"{self.name}.dead-letters"

    def means(self, entry: str, topic: str) -> bool:
        """Return whether an entry of `topics` matches a topic."""
        return self._match(entry)(topic) is not None

    def table_of(self, topic: str) -> str | None:
        """Return the table whose changes a topic holds; None for a topic that is not meant.

        The first entry of `topics` that matches decides. Patterns mean neither topics of Kafka's own nor those that
        pipelines keep beside their tables' by default.
        """
        found = next((table for match in self._matches if (table := match(topic)) is not None), None)
        return None if found is None else self.tables.get(topic, found)

    @cached_property
    def _matches(self) -> list[Callable[[str], str | None]]:
        return [self._match(entry) for entry in self.topics]

    def _match(self, entry: str) -> Callable[[str], str | None]:
        if entry == re.sub(r"[*?{]", "", entry):
            return lambda topic: topic if topic == entry else None
        text = "".join(
            {_TABLE: "(?P<table>.+)", "*": ".*", "?": "."}.get(part, re.escape(part))
            for part in re.split(r"(\{table\}|[*?])", entry)
        )
        pattern = re.compile(text)

        def match(topic: str) -> str | None:
            found = pattern.fullmatch(topic)
            if found is None or self._is_left_out(topic):
                return None
            return found.groupdict().get("table") or topic

        return match

    def _is_left_out(self, topic: str) -> bool:
        is_own = topic == self.dead_letters_topic or topic.startswith("__")
        is_beside = topic.endswith((".checkpoints", ".dead-letters"))
        return is_own or is_beside or any(fnmatchcase(topic, pattern) for pattern in self.exclude)

    def topic_beginnings(self) -> dict[str, bool]:
        """Return the topics, or what the names of several begin with (True)."""
        beginnings = {entry: re.split(r"[*?{]", entry)[0] for entry in self.topics}
        return {beginning: beginning != entry for entry, beginning in beginnings.items()}

    def shown(self) -> dict[str, Any]:
        """Return it as its file holds it, defaults filled in, with `***` for each secret."""
        return self.model_dump(mode="json", by_alias=True)


def is_lake_file(data: object) -> bool:
    """Return whether a file's data is a lake's own, and not a pipeline's: it lists topics, and has no source."""
    return isinstance(data, Mapping) and "source" not in data and isinstance(data.get("topics"), list)


def lake_file_findings(file: LakeFile) -> Iterator[Finding]:
    """Check the keys that must agree with each other."""
    if not FORMATS[file.format.type].reads_back:
        known = ", ".join(name for name, each in FORMATS.items() if each.reads_back)
        yield ("format",), "does not tell enough of a change to become a row", f"a lake reads {known}"
    if file.dead_letters_topic in file.topics:
        yield ("dead_letters",), "is one of `topics`", "give another name"
    names = list(file.tables.values())
    several = len(set(names)) < len(names) or sum(_TABLE in entry for entry in file.topics) > 1
    yield from lake_findings(
        file.lakes,
        file.name,
        names,
        record_format=file.format.type,
        several_topics="let each table have one topic, or keep `changes` alone" if several else None,
    )
