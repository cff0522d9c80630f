"""Writes the pipeline file that a connector's configuration is, with a comment for each key that it came from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import yaml

from tailrace.config.connectors.translate import Note
from tailrace.config.problem import Path
from tailrace.config.secrets import is_secret

_ORDER: Final = (
    "name",
    "kafka",
    "source",
    "snapshot",
    "topic",
    "topics",
    "format",
    "schema",
    "connect",
    "errors",
)
_REFERENCE: Final = re.compile(r"\$\{(env|file|secret):[^}]*\}")


def pipeline_text(
    data: Mapping[str, Any], names: Mapping[Path, str], notes: Sequence[Note], *, title: str, path: str
) -> str:
    """Return the text of a pipeline file.

    Secrets that the connector's configuration holds are not repeated: an environment variable stands for each.
    """
    lines = [f"# {title}, from {path}"]
    for key in sorted(data, key=lambda each: _ORDER.index(each) if each in _ORDER else len(_ORDER)):
        lines += _lines((key,), data[key], names)
    if notes:
        lines += ["", "# These keys do nothing here:"]
        lines += [f"# - {each.key}: {each.why}" for each in notes]
    return "\n".join(lines) + "\n"


def _lines(path: Path, value: Any, names: Mapping[Path, str]) -> Iterator[str]:
    indent = "  " * (len(path) - 1)
    key = _flow(str(path[-1]))
    if isinstance(value, Mapping) and value and not _is_short(path, names):
        yield f"{indent}{key}:"
        for name in value:
            yield from _lines((*path, name), value[name], names)
        return
    text, remark = _shown(path, value)
    origin = names.get(path, "")
    is_same = origin in {"", ".".join(map(str, path))} or origin.endswith(str(path[-1]))
    comments = [] if is_same else [origin]
    if remark:
        comments.append(remark)
    yield f"{indent}{key}: {text}" + (f"  # {'; '.join(comments)}" if comments else "")


def _is_short(path: Path, names: Mapping[Path, str]) -> bool:
    """Return whether a mapping came from one key, and is written in one line."""
    return path in names and not any(other[: len(path)] == path and other != path for other in names)


def _shown(path: Path, value: Any) -> tuple[str, str]:
    """Return a value as the file has it, and what is to be said of it."""
    name = str(path[-1])
    if isinstance(value, str) and is_secret(name) and not _REFERENCE.fullmatch(value):
        variable = re.sub(r"[^A-Z0-9]+", "_", name.upper())
        return f"${{env:{variable}}}", "set this variable to the secret of the connector's file"
    return _flow(value), ""


def _flow(value: Any) -> str:
    """Return a value on one line, quoted where YAML needs it."""
    if isinstance(value, str):
        value = str(value)  # not one of our own kinds of text
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
