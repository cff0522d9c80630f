"""Makes a pipeline of a file or of flags: everything that is wrong is told at once."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from tailrace.config import checks
from tailrace.config.document import Document, Reference, read, read_text
from tailrace.config.explain import explain
from tailrace.config.interpolate import look_up, look_up_without_secrets
from tailrace.config.model import Pipeline
from tailrace.config.problem import FileErrors, Path, dotted, kind_of
from tailrace.config.secrets import Secrets
from tailrace.errors import FileError, TailraceError, WorldError
from tailrace.transform import functions

_FLAGS: Mapping[Path, str] = {
    ("name",): "--name",
    ("kafka",): "--bootstrap",
    ("kafka", "bootstrap.servers"): "--bootstrap",
    ("source", "tables"): "--table",
    ("source", "region"): "--region",
    ("source", "endpoint_url"): "--endpoint-url",
}

_NAMED_MAX = 40
"""So many characters of a table are in the name of a pipeline without a file."""


@dataclass(frozen=True)
class LoadedPipeline:
    """A pipeline that was found right, the secrets that must not be shown, and where each key stands."""

    pipeline: Pipeline
    secrets: Secrets = field(default_factory=Secrets)
    file: str = ""
    """Path of the file; empty when the pipeline was made of flags."""
    lines: Mapping[Path, int] = field(default_factory=dict)
    references: frozenset[Reference] = frozenset()
    """What the file refers to."""

    def place(self, *path: str | int) -> str:
        """Name a key as a sentence about it begins: `pipeline.yaml:9: source.tables[0]`, or `--table`.

        A key that the file leaves to its default is named by the one above it.
        """
        if not self.file:
            return _flag_of(path) or dotted(path)
        known = next((path[:length] for length in range(len(path), 0, -1) if path[:length] in self.lines), None)
        return f"{self.file}: {dotted(path)}" if known is None else f"{self.file}:{self.lines[known]}: {dotted(known)}"

    @contextmanager
    def telling(self, *path: str | int) -> Iterator[None]:
        """Put the place of a key before what fails outside: in here an error of the world is about that key."""
        try:
            yield
        except FileError:
            raise
        except TailraceError as error:
            raise WorldError(f"{self.place(*path)}: {error.message}", hint=error.hint, remedy=error.remedy) from error


def load(path: FilePath, *, with_functions: bool = False, with_secrets: bool = True) -> LoadedPipeline:
    """Load a pipeline file. Raises `FileErrors` with all that is wrong in it.

    `with_functions` imports the user's functions too, which whoever only looks at a pipeline does not need.
    `with_secrets` asks AWS for each `${secret:…}`. Without it nothing is connected to, and `UNREAD_SECRET` stands in
    its place: enough to check the file and to try its transformation, not to reach Kafka.
    """
    return _read(read(path, look_up if with_secrets else look_up_without_secrets), with_functions=with_functions)


def load_text(text: str, name: str, folder: FilePath, *, with_functions: bool = False) -> LoadedPipeline:
    """Load a pipeline that is not in a file; `name` says in errors where it is from. Raises `FileErrors`."""
    return _read(read_text(text, name, folder), with_functions=with_functions)


def _read(document: Document, *, with_functions: bool) -> LoadedPipeline:
    if document.data is None and document.problems:
        raise FileErrors(document.problems.values())
    return _build(document, with_functions=with_functions)


def from_flags(
    tables: Sequence[str],
    bootstrap: str,
    *,
    name: str | None = None,
    endpoint_url: str | None = None,
    region: str | None = None,
) -> LoadedPipeline:
    """Make a pipeline without a file, everything else at its default. Raises `FileErrors` that name the flags.

    The name follows from the tables, so that the next run resumes where this one stopped, and a run of other tables is
    another pipeline.
    """
    given = {key: value for key, value in (("endpoint_url", endpoint_url), ("region", region)) if value is not None}
    data = {
        "name": name or _name_of(tables),
        "kafka": {"bootstrap.servers": bootstrap},
        "source": {"type": "dynamodb-streams", "tables": list(tables)} | given,
    }
    document = Document("", FilePath(), data)
    try:
        return _build(document)
    except FileErrors as errors:
        raise FileErrors(_with_flag(path, error) for path, error in document.problems.items()) from errors


def _name_of(tables: Sequence[str]) -> str:
    """Name a pipeline by its tables, whatever their order: the first, and a digest of all if that is not enough."""
    names = sorted(set(tables))
    readable = re.sub(r"[^A-Za-z0-9._-]", "", names[0])[:_NAMED_MAX]
    if names == [readable]:
        return f"tailrace-{readable}"
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
    return f"tailrace-{readable}-{digest}"


def _with_flag(path: Path, error: FileError) -> FileError:
    return FileError(error.message, path=_flag_of(path) or error.path, hint=error.hint)


def _flag_of(path: Path) -> str | None:
    return next((_FLAGS[path[:length]] for length in range(len(path), 0, -1) if path[:length] in _FLAGS), None)


def _build(document: Document, *, with_functions: bool = False) -> LoadedPipeline:
    """Check the document's data whole. Raises `FileErrors`."""
    data = document.data
    if not isinstance(data, dict):
        document.add(
            (), f"must be a mapping of keys, not {kind_of(data)}", "start with `name:`, `kafka:` and `source:`"
        )
    else:
        _add_region(data)
        _add_findings(document, data, with_functions=with_functions)
    if document.problems:
        hide = Secrets(document.secrets | document.interpolated).redact
        for path, error in document.problems.items():
            document.problems[path] = FileError(
                hide(error.message), file=error.file, path=error.path, line=error.line, hint=hide(error.hint)
            )
        raise FileErrors(sorted(document.problems.values(), key=lambda error: error.line or 0))
    return LoadedPipeline(
        Pipeline.model_validate(data),
        Secrets(document.secrets),
        file=document.file,
        lines=document.lines,
        references=frozenset(document.references),
    )


def _add_region(data: dict[str, Any]) -> None:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    source = data.get("source")
    if region and isinstance(source, dict):
        source.setdefault("region", region)


def _add_findings(document: Document, data: dict[str, Any], *, with_functions: bool) -> None:
    if isinstance(kafka := data.get("kafka"), dict):
        for finding in checks.kafka_findings(kafka):
            document.add(*finding)
    try:
        pipeline = Pipeline.model_validate(data)
    except ValidationError as error:
        for finding in explain(error, Pipeline):
            document.add(*finding)
    else:
        for finding in checks.pipeline_findings(pipeline):
            document.add(*finding)
    named = checks.named_functions(data.get("transform"))
    if named:
        functions.search_in(document.folder)
    if with_functions:
        for finding in checks.function_findings(named):
            document.add(*finding)
