"""A second kind of source, of a model alone: whatever works with it knows no kind of the product's by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationError

from tailrace.config import FileErrors, LoadedPipeline, Pipeline, Secrets, Source
from tailrace.config.by_type import ByType
from tailrace.config.document import read
from tailrace.config.explain import explain
from tailrace.config.fields import Part, TablePattern, Text, Whole, as_tuple
from tailrace.config.rights import AwsRight, RightsNeeded
from tailrace.config.source import EventSource, TableEntry
from tailrace.config.sources.dynamodb_streams import DynamoDBStreamsSource
from tailrace.errors import WorldError


class Window(Part):
    """A mapping below the source."""

    days: Whole = Field(default=1, ge=1, le=35)


class LogSource(Source):
    """Reads one table of a log, and those which the log's readers are said to be."""

    type: Literal["log"]
    table: TablePattern
    readers: Annotated[tuple[Text, ...], BeforeValidator(as_tuple)] = ()
    window: Window = Window()

    examples: ClassVar = {"table": "table: orders"}
    tables_path: ClassVar = ("source", "table")

    @property
    def tables_read(self) -> tuple[TableEntry, ...]:
        return (TableEntry(self.table, self.tables_path),)

    @property
    def summary(self) -> str:
        return f"the log of {self.table}"

    @property
    def event_source(self) -> EventSource | None:
        return None

    def rights(self, needed: RightsNeeded) -> Iterator[AwsRight]:
        del needed
        return iter(())

    def missing_table(self, table: str) -> WorldError:
        return WorldError(f"the log has no table {table}")

    def missing_stream(self, table: str) -> WorldError:
        return WorldError(f"the log of {table} is off")

    def sample_stream(self, table: str) -> str:
        return f"arn:aws:dynamodb:us-east-1:000000000000:table/{table}/stream/log"


class TwoKinds(Pipeline):
    """The pipeline with both kinds."""

    source: Annotated[Source, ByType(DynamoDBStreamsSource, LogSource)]


def load_either(path: Path) -> LoadedPipeline:
    """Load a file as `tailrace.config.load` does, with both kinds. Raises FileErrors."""
    document = read(path)
    try:
        pipeline = TwoKinds.model_validate(document.data)
    except ValidationError as error:
        for finding in explain(error, TwoKinds):
            document.add(*finding)
        raise FileErrors(document.problems.values()) from error
    return LoadedPipeline(pipeline, Secrets(), file=document.file, lines=document.lines)
