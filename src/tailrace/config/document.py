"""A YAML file as plain data with the line of every key. Scalars follow YAML 1.2: `no`, `on` and `1:30` are text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import yaml

from tailrace.config.interpolate import Interpolated, LookUp, interpolate, look_up
from tailrace.config.problem import InvalidError, Path, as_in_file, dotted
from tailrace.config.secrets import is_credential, is_secret, parts_of, secrets_in
from tailrace.errors import FileError

_BYTES_MAX = 256 << 10
_NODES_MAX = 10_000
_DEPTH_MAX = 50
_TAG = "tag:yaml.org,2002:"
_SCALARS = {
    "null": re.compile(r"^(~|null|Null|NULL|)$"),
    "bool": re.compile(r"^(true|True|TRUE|false|False|FALSE)$"),
    "int": re.compile(r"^([-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15})$"),
    "float": re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?$"),
}
"""YAML 1.2's core schema, https://yaml.org/spec/1.2.2/#103-core-schema."""
_PROPERTY_MAPS: tuple[Path, ...] = (("kafka",), ("connect",), ("topics", "properties"), ("schema", "registry"))
"""Maps whose values are passed on as they are written: `007` stays `007`."""
_LOGINS: tuple[Path, ...] = (("kafka",), ("schema", "registry"))
"""Those with what one logs in with."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - PyYAML keeps its resolvers in the class


for _kind, _pattern in _SCALARS.items():
    _Loader.add_implicit_resolver(_TAG + _kind, _pattern, None)


class Reference(NamedTuple):
    """What a value refers to: `env`, `file` or `secret`, and its name."""

    kind: str
    name: str


@dataclass
class Document:
    """A file's data, where each of its values is, the secrets among them, and what is wrong with it so far."""

    file: str
    folder: FilePath
    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    interpolated: set[str] = field(default_factory=set)
    """All that came from outside the file: no sentence about the file repeats it."""
    problems: dict[Path, FileError] = field(default_factory=dict)
    references: set[Reference] = field(default_factory=set)
    look_up: LookUp = look_up
    names: dict[Path, str] = field(default_factory=dict)
    """What a place is called where the file has other keys than a pipeline's: a connector's configuration."""

    def add(self, path: Path, message: str, hint: str = "") -> None:
        """Note what is wrong at `path`, unless something is already: there, above or below."""
        path = as_in_file(path, self.data)
        if not any(path[: len(other)] == other or other[: len(path)] == path for other in self.problems):
            line = next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), None)
            self.problems[path] = FileError(message, file=self.file, path=self.name(path), line=line, hint=hint)

    def name(self, path: Path) -> str:
        """Return what the file calls a place."""
        named = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in self.names), None)
        return dotted(path) if named is None else self.names[named]


def read(path: FilePath, look_up: LookUp = look_up) -> Document:
    """Read a YAML file. What is wrong in it is in `problems`; nothing is raised."""
    document = Document(str(path), path.parent, look_up=look_up)
    text = _text(path, document)
    if text is not None:
        _parse(text, document)
    return document


def read_text(text: str, name: str, folder: FilePath) -> Document:
    """Read YAML that is not in a file; `name` stands for it in sentences, relative paths in it start at `folder`."""
    document = Document(name, folder)
    _parse(text, document)
    return document


def plain(text: str) -> Any:
    """Return what a value means in a pipeline file; text that is no other value is text."""
    for kind in ("bool", "int", "float"):
        if (value := typed(kind, text)) is not text:
            return value
    if text[:1] not in {"[", "{"}:
        return text
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def _parse(text: str, document: Document) -> None:
    try:
        root = _Loader(text).get_single_node()
    except yaml.YAMLError as error:
        _explain_syntax(error, text, document)
    except RecursionError:
        document.add((), f"is nested deeper than {_DEPTH_MAX} levels", "a pipeline file needs four")
    except (ValueError, OverflowError):
        document.add((), "has an escape that is no character", "correct the \\u or \\U escape")
    else:
        if root is None:
            document.add((), "the file is empty", "start with `name:`, `kafka:` and `source:`")
        else:
            document.lines[()] = root.start_mark.line + 1
            try:
                document.data = _Builder(document).value(root, ())
            except InvalidError as error:
                document.add((), error.message, error.hint)


def _text(path: FilePath, document: Document) -> str | None:
    """Return the file's text, or note why there is none."""
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
    except FileNotFoundError:
        document.add((), "there is no such file", "give the path of a pipeline file")
        return None
    except IsADirectoryError:
        document.add((), "is a directory", "give the path of a pipeline file")
        return None
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "the path is not valid").lower()
        document.add((), f"cannot be read: {reason}", "check the path and its permissions")
        return None
    if len(content) > _BYTES_MAX:
        document.add((), "is larger than 256 KiB", "give the path of a pipeline file")
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        document.lines[()] = content.count(b"\n", 0, error.start) + 1
        document.add((), "is not UTF-8 text", "save it as UTF-8")
        return None


def _explain_syntax(error: yaml.YAMLError, text: str, document: Document) -> None:
    """Return what is wrong with the YAML, without a word of the file: it may be a secret."""
    if isinstance(error, yaml.reader.ReaderError):
        document.lines[()] = text.count("\n", 0, error.position) + 1
        document.add((), "holds a control character", "is it a binary file? give the path of a pipeline file")
        return
    problem, line = "it cannot be parsed", 1
    if isinstance(error, yaml.MarkedYAMLError):
        problem = error.problem or problem
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
    document.lines[()] = line
    lines = text.splitlines()
    remedy = "check the indentation, the colons and the quotes here"
    if "alias" in problem or "anchor" in problem:
        problem, remedy = "an unquoted value cannot begin with * or &", "put it in quotes"
    elif "single document" in _context(error):
        problem, remedy = "there is a second document after `---`", "keep one pipeline in a file"
    elif "found character" in problem and "cannot start" in problem:
        remedy = "put the value in quotes; indent with spaces, not with tabs"
    elif "${" in "".join(lines[max(0, line - 2) : line]):
        remedy = "inside [ ] and { }, put `${…}` in quotes"
    problem = re.sub(r"(but found|got) '<?([^'<>]{2,})>?'", r"\1 \2", problem)
    problem = re.sub(r" '[^']{2,}'", "", problem)
    document.add((), f"is not valid YAML: {problem}", remedy)


def _context(error: yaml.YAMLError) -> str:
    """Return what PyYAML was doing when it met the error."""
    return getattr(error, "context", None) or ""


class _Builder:
    """Builds plain data from YAML's nodes, and notes lines, secrets and problems on the way."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._open: set[int] = set()
        self._nodes = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self._nodes += 1
        if id(node) in self._open or self._nodes > _NODES_MAX or len(path) > _DEPTH_MAX:
            raise InvalidError("an alias makes it endless, or it is nested too deep", "write the values out")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if not node.tag.startswith(_TAG) or node.tag.removeprefix(_TAG) not in {"map", "seq"}:
            self._document.add(path, "has a YAML tag", "leave out the word that begins with `!`")
            return None
        self._open.add(id(node))
        built = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._sequence(node, path)
        self._open.remove(id(node))
        return built

    def _sequence(self, node: yaml.Node, path: Path) -> list[Any]:
        items = []
        for index, item in enumerate(node.value):
            self._document.lines[*path, index] = item.start_mark.line + 1
            items.append(self.value(item, (*path, index)))
        return items

    def _mapping(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        document, built = self._document, {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or not _printable(key_node.value):
                document.lines[*path, "?"] = line
                document.add((*path, "?"), "a key must be plain text", "write `key: value`")
                continue
            key = key_node.value
            if key in built:
                first, document.lines[*path, key] = document.lines[*path, key], line
                document.add((*path, key), f"is given twice, first in line {first}", "keep one of them")
                continue
            document.lines[*path, key] = line
            built[key] = self.value(value_node, (*path, key))
        return built

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        kind, text = node.tag.removeprefix(_TAG), node.value
        if kind not in {"str", *_SCALARS}:
            self._document.add(path, "has a YAML tag", "leave out the word that begins with `!`")
            return None
        if kind != "str":
            return _verbatim(kind, text) if path[:-1] in _PROPERTY_MAPS else typed(kind, text)
        try:
            text = interpolate(text, self._document.folder, self._look_up)
        except InvalidError as error:
            self._document.add(path, error.message, error.hint)
            return None
        self._keep_secrets(text, path)
        if not _printable(text):
            self._document.add(path, "holds a character that is no text", "take it out")
            return None
        return text

    def _look_up(self, kind: str, name: str, folder: FilePath) -> str:
        self._document.references.add(Reference(kind, name))
        return self._document.look_up(kind, name, folder)

    def _keep_secrets(self, text: str, path: Path) -> None:
        self._document.interpolated.update(getattr(text, "pieces", ()))
        names = [part for part in path if isinstance(part, str)]
        self._document.secrets.update(secrets_in(text))
        if any(map(is_secret, names)):
            self._document.secrets.update((text, *getattr(text, "pieces", ()), *parts_of(text)))
        elif isinstance(text, Interpolated) and path[:-1] in _LOGINS and is_credential(names[-1]):
            self._document.secrets.update((text, *text.pieces))


def typed(kind: str, text: str) -> Any:
    """Return a scalar of YAML 1.2's core schema its value; text that is not of its kind stays text."""
    if not _SCALARS[kind].match(text):
        return text
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "float":
        return float(text)
    return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)


def _verbatim(kind: str, text: str) -> str | None:
    return None if kind == "null" else text.lower() if kind == "bool" else text


def _printable(text: str) -> bool:
    """Return whether text can be sent and shown: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
