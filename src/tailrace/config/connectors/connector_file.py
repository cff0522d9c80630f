"""A file with the configuration of a connector: JSON, bare or with its name, or Java's properties."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import msgspec

from tailrace.errors import FileError
from tailrace.kafka import java_file

_BYTES_MAX: Final = 256 << 10
SUFFIXES: Final = (".json", ".properties")


class ConnectorFile(msgspec.Struct):
    """What a file says: the connector's name, its configuration, and the line of each key."""

    path: str
    name: str | None
    config: dict[str, str]
    lines: dict[str, int] = {}


def is_connector_file(path: Path) -> bool:
    """Return whether a path is, by its suffix, that of a connector's configuration and no pipeline file's."""
    return path.suffix in SUFFIXES


def read(path: Path) -> ConnectorFile:
    """Read a connector's file. Raises `FileError`."""
    text = read_text(path)
    if path.suffix == ".properties":
        properties = java_file.parse(text)
        config = {each.name: each.value for each in properties}
        return ConnectorFile(str(path), None, config, {each.name: each.line for each in properties})
    return _of_json(text, str(path))


def read_text(path: Path) -> str:
    """Return the text of a file of properties. Raises `FileError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise FileError(f"cannot be read: {reason}", file=str(path), hint="check the path") from None
    if len(content) > _BYTES_MAX:
        raise FileError("is larger than 256 KiB", file=str(path), hint="give the path of a connector's configuration")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileError("is not UTF-8 text", file=str(path), hint="save it as UTF-8") from None


def _of_json(text: str, path: str) -> ConnectorFile:
    try:
        data = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        hint = "check the commas and the quotes here"
        raise FileError(f"is not JSON: {error.msg.lower()}", file=path, line=error.lineno, hint=hint) from None
    except _RepeatedError as error:
        line = _line(text, error.name, last=True)
        raise FileError("is given twice", file=path, path=error.name, line=line, hint="keep one of them") from None
    except RecursionError:
        raise FileError("is nested too deep", file=path, hint="a connector's configuration is one object") from None
    if not isinstance(data, dict):
        raise FileError("is not a JSON object", file=path, hint='write {"name": …, "config": {…}}')
    name, config = data.get("name"), data
    if isinstance(data.get("config"), dict):
        config = data["config"]
        if extra := sorted(set(data) - {"name", "config", "tasks", "type", "initial_state"}):
            raise FileError("is not a key beside `config`", file=path, path=extra[0], hint="put it into `config`")
        if name is not None and not isinstance(name, str):
            raise FileError("must be text", file=path, path="name")
    lines = {key: line for key in config if (line := _line(text, key)) is not None}
    return ConnectorFile(path, name, {key: _text(key, value, path, lines) for key, value in config.items()}, lines)


class _RepeatedError(ValueError):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _RepeatedError(key)
        found[key] = value
    return found


def _text(key: str, value: object, path: str, lines: dict[str, int]) -> str:
    """Return a value as Connect takes it: all of them are text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    hint = "Connect's values are text: put it in quotes"
    raise FileError("must be text, not a list or an object", file=path, path=key, line=lines.get(key), hint=hint)


def _line(text: str, key: str, *, last: bool = False) -> int | None:
    """Return the line where a key stands; JSON's parser does not say."""
    found = list(re.finditer(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:", text))
    if not found:
        return None
    return text.count("\n", 0, found[-1 if last else 0].start()) + 1
