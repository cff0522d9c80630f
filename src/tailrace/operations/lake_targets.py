"""The lakes of a file: each is written on its own, by a sink, a group and marks of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from tailrace.config import AnyLoaded, LoadedLakeFile, LoadedPipeline, Pipeline
from tailrace.config.lake import Lake
from tailrace.config.lake_file import LakeFile
from tailrace.errors import FileError
from tailrace.formats import FORMATS
from tailrace.formats.format import Format
from tailrace.operations.tail import tables_by_topic


@dataclass(frozen=True)
class LakeTarget:
    """A lake, and what goes there."""

    lake: Lake
    name: str
    """The pipeline's."""
    kafka: Mapping[str, str]
    format: type[Format]
    """Of the records."""
    dead_letters: str
    """The topic of records that make no row."""
    table_of: Callable[[str], str | None]
    """Returns the table whose changes a topic holds; None for a topic that does not go there."""
    telling: Callable[[], AbstractContextManager[None]]
    """Puts the place of the lake in the file before what fails outside."""


def targets_of(loaded: AnyLoaded) -> tuple[LakeTarget, ...]:
    """Return the lakes of a file; none when it has none."""
    if isinstance(loaded, LoadedLakeFile):
        file: LakeFile | Pipeline = loaded.content
        table_of: Callable[[str], str | None] = loaded.content.table_of
    else:
        file, table_of = loaded.pipeline, tables_by_topic(loaded.pipeline)
    return tuple(
        LakeTarget(
            lake,
            file.name,
            file.kafka,
            FORMATS[file.format.type],
            file.dead_letters_topic,
            table_of,
            partial(loaded.telling, "lake", index),
        )
        for index, lake in enumerate(file.lakes)
    )


def name_of(loaded: AnyLoaded) -> str:
    """Return the name that a file gives."""
    return loaded.content.name if isinstance(loaded, LoadedLakeFile) else loaded.pipeline.name


def require_targets(loaded: AnyLoaded, name: str | None = None) -> tuple[LakeTarget, ...]:
    """Return the lakes of a file that can be written, or the one of a name. Raises FileError when there is none."""
    targets = targets_of(loaded)
    if not targets:
        raise FileError(
            "the pipeline has no `lake`", file=loaded.file, hint="add e.g. `lake: {location: s3://bucket/prefix}`"
        )
    if isinstance(loaded, LoadedPipeline) and not loaded.pipeline.reads_back:
        pipeline = loaded.pipeline
        raise FileError(
            "records of this form do not tell enough of a change to become rows",
            path=loaded.place("connect" if pipeline.connect_properties else "format"),
            hint="a lake needs records that Tailrace's formats make, without Connect's transforms and converters",
        )
    found = tuple(target for target in targets if name in {None, target.lake.name})
    if not found:
        known = ", ".join(target.lake.name for target in targets)
        raise FileError(f"the file has no lake {name}", path="--target", hint=f"its lakes are {known}")
    return found
