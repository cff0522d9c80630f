"""Makes a pipeline of a file or of flags: everything that is wrong is told at once."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import ValidationError

from tailrace.config import checks
from tailrace.config.connectors.connector_file import ConnectorFile, is_connector_file
from tailrace.config.connectors.connector_file import read as read_connector
from tailrace.config.connectors.pipeline_text import pipeline_text
from tailrace.config.connectors.translate import Clients, Note, connector_of, document_of, read_clients
from tailrace.config.document import Document, Reference, read, read_text
from tailrace.config.explain import explain
from tailrace.config.interpolate import LookUp, look_up, look_up_without_secrets
from tailrace.config.lake_file import LakeFile, is_lake_file, lake_file_findings
from tailrace.config.model import Pipeline
from tailrace.config.problem import FileErrors, Finding, Path, dotted, kind_of
from tailrace.config.secrets import Secrets
from tailrace.errors import FileError, TailraceError, WorldError
from tailrace.transform import functions

_Content = TypeVar("_Content", Pipeline, LakeFile)

_FLAGS: Mapping[Path, str] = {
    ("name",): "--name",
    ("kafka",): "--bootstrap",
    ("kafka", "bootstrap.servers"): "--bootstrap",
    ("source", "tables"): "--table",
    ("source", "region"): "--region",
    ("source", "endpoint_url"): "--endpoint-url",
}

_OWN_KAFKA = "a pipeline file has its own key `kafka`: write the properties there"

_OF_A_LAKE = "lake, validate, plan, status, iam and accept-gap take it; a pipeline's `topics` are a mapping"

_NAMED_MAX = 40
"""So many characters of a table are in the name of a pipeline without a file."""


class _Placed:
    """A loaded file: it says where its keys stand."""

    file: str
    lines: Mapping[Path, int]

    def place(self, *path: str | int) -> str:
        """Name a key as a sentence about it begins: `lake.yaml:9: topics[0]`.

        A key that the file leaves to its default is named by the one above it.
        """
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


@dataclass(frozen=True)
class LoadedLakeFile(_Placed):
    """A lake's own file that was found right, and the secrets that must not be shown."""

    content: LakeFile
    secrets: Secrets = field(default_factory=Secrets)
    file: str = ""
    lines: Mapping[Path, int] = field(default_factory=dict)
    references: frozenset[Reference] = frozenset()


@dataclass(frozen=True)
class LoadedPipeline(_Placed):
    """A pipeline that was found right, the secrets that must not be shown, and where each key stands."""

    pipeline: Pipeline
    secrets: Secrets = field(default_factory=Secrets)
    file: str = ""
    """Path of the file; empty when the pipeline was made of flags."""
    lines: Mapping[Path, int] = field(default_factory=dict)
    references: frozenset[Reference] = frozenset()
    """What the file refers to."""
    names: Mapping[Path, str] = field(default_factory=dict)
    """The keys of a connector's configuration behind those of the pipeline; none when the file is a pipeline's own."""
    notes: tuple[Note, ...] = ()
    """The keys of a connector's configuration that mean nothing here."""
    kafka_file: str = ""
    """Path of the properties of Kafka clients that were given beside a connector's configuration."""

    def place(self, *path: str | int) -> str:
        """Name a key as a sentence about it begins: `pipeline.yaml:9: source.tables[0]`, or `--table`.

        A key that the file leaves to its default is named by the one above it.
        """
        if not self.file:
            return _flag_of(path) or dotted(path)
        if self.names:
            return self._place_in_connector(path)
        return super().place(*path)

    def _place_in_connector(self, path: Path) -> str:
        known = next((path[:length] for length in range(len(path), 0, -1) if path[:length] in self.names), None)
        if known is None:
            return f"{self.file}: {dotted(path)}"
        line = f":{self.lines[known]}" if known in self.lines else ""
        return f"{self.file}{line}: {self.names[known]}"


AnyLoaded = LoadedPipeline | LoadedLakeFile


def load(
    path: FilePath, *, kafka: FilePath | None = None, with_functions: bool = False, with_secrets: bool = True
) -> LoadedPipeline:
    """Load a pipeline file, or a connector's configuration. Raises `FileErrors` with all that is wrong in it.

    `kafka` is a file with the properties of Kafka clients, which a connector's configuration does not have.
    `with_functions` imports the user's functions too, which whoever only looks at a pipeline does not need.
    `with_secrets` asks AWS for each `${secret:…}`. Without it nothing is connected to, and `UNREAD_SECRET` stands in
    its place: enough to check the file and to try its transformation, not to reach Kafka.
    """
    find = look_up if with_secrets else look_up_without_secrets
    if not is_connector_file(path):
        if kafka is not None and os.environ.get("TAILRACE_KAFKA") != str(kafka):
            raise FileErrors([FileError("is for a connector's configuration", path="--kafka", hint=_OWN_KAFKA)])
        return _read(read(path, find), with_functions=with_functions)
    connector, clients = _read_connector(path, kafka)
    return load_connector(connector, clients, look_up=find)


def load_lake(
    path: FilePath, *, kafka: FilePath | None = None, with_functions: bool = False, with_secrets: bool = True
) -> AnyLoaded:
    """Load a lake's own file, or a pipeline as `load` does. Raises `FileErrors` with all that is wrong in it."""
    if not is_connector_file(path):
        document = read(path, look_up if with_secrets else look_up_without_secrets)
        if is_lake_file(document.data):
            return _build_lake(document)
    return load(path, kafka=kafka, with_functions=with_functions, with_secrets=with_secrets)


def _build_lake(document: Document) -> LoadedLakeFile:
    """Check the data of a lake's own file. Raises `FileErrors`."""
    content = _validated(document, document.data, LakeFile, lake_file_findings)
    if content is None or document.problems:
        raise _all_problems(document)
    return LoadedLakeFile(
        content, Secrets(document.secrets), document.file, document.lines, frozenset(document.references)
    )


def _read_connector(path: FilePath, kafka: FilePath | None) -> tuple[ConnectorFile, Clients]:
    """Read a connector's configuration and the properties of clients beside it. Raises `FileErrors`."""
    try:
        return read_connector(path), Clients() if kafka is None else read_clients(kafka)
    except FileError as error:
        raise FileErrors([error]) from None


def load_connector(connector: ConnectorFile, clients: Clients, *, look_up: LookUp = look_up) -> LoadedPipeline:
    """Load the pipeline that a connector's configuration is. Raises `FileErrors`."""
    document, notes = document_of(connector, clients, look_up)
    if document.problems:  # of keys that have no value what follows from them would be missing, too
        raise _all_problems(document)
    return replace(
        _build(document, with_functions=False), names=document.names, notes=tuple(notes), kafka_file=clients.path
    )


def import_text(path: FilePath, kafka: FilePath | None = None) -> str:
    """Return the text of the pipeline file that a connector's configuration is; what it refers to stays a reference.

    Raises `FileErrors` for a file that is no connector's configuration.
    """
    connector, clients = _read_connector(path, kafka)
    document, notes = document_of(connector, clients, lambda kind, name, _folder: f"${{{kind}:{name}}}")
    known = connector_of(connector.config)
    if known is None:
        raise FileErrors(document.problems.values())
    return pipeline_text(document.data, document.names, notes, title=known.title, path=path.name)


def load_text(text: str, name: str, folder: FilePath, *, with_functions: bool = False) -> LoadedPipeline:
    """Load a pipeline that is not in a file; `name` says in errors where it is from. Raises `FileErrors`."""
    return _read(read_text(text, name, folder), with_functions=with_functions)


def _read(document: Document, *, with_functions: bool) -> LoadedPipeline:
    if document.data is None and document.problems:
        raise FileErrors(document.problems.values())
    if is_lake_file(document.data):
        raise FileErrors([FileError("is a lake's own file, without a `source`", file=document.file, hint=_OF_A_LAKE)])
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
        raise _all_problems(document)
    return LoadedPipeline(
        Pipeline.model_validate(data),
        Secrets(document.secrets),
        file=document.file,
        lines=document.lines,
        references=frozenset(document.references),
    )


def _all_problems(document: Document) -> FileErrors:
    """Return all that is wrong with a document, in the order of its lines and without what came from elsewhere."""
    hide = Secrets(document.secrets | document.interpolated).redact
    errors = [
        FileError(hide(error.message), file=error.file, path=error.path, line=error.line, hint=hide(error.hint))
        for error in document.problems.values()
    ]
    return FileErrors(sorted(errors, key=lambda error: error.line or 0))


def _add_region(data: dict[str, Any]) -> None:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    source = data.get("source")
    if region and isinstance(source, dict):
        source.setdefault("region", region)


def _validated(
    document: Document, data: dict[str, Any], model: type[_Content], findings: Callable[[_Content], Iterable[Finding]]
) -> _Content | None:
    """Add what is wrong with the data of a file; return its content, unless the data does not have its form."""
    if isinstance(kafka := data.get("kafka"), dict):
        for finding in checks.kafka_findings(kafka):
            document.add(*finding)
    try:
        content = model.model_validate(data)
    except ValidationError as error:
        for finding in explain(error, model, data):
            document.add(*finding)
        return None
    for finding in findings(content):
        document.add(*finding)
    return content


def _add_findings(document: Document, data: dict[str, Any], *, with_functions: bool) -> None:
    _validated(document, data, Pipeline, checks.pipeline_findings)
    named = checks.named_functions(data.get("transform"))
    if isinstance(replica := data.get("replica"), dict):
        own = checks.named_functions(replica.get("transform"))
        named |= {("replica", *path): name for path, name in own.items()}
    if named:
        functions.search_in(document.folder)
    if with_functions:
        for finding in checks.function_findings(named):
            document.add(*finding)
