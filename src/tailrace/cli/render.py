"""Renders the results of operations on the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from tailrace.remedy import Remedy
from tailrace.remedy_sentences import sentence

if TYPE_CHECKING:
    from rich.console import Console

    from tailrace.operations.severity import Severity

STYLES: Mapping[Severity, str] = {"ok": "", "warning": "yellow", "error": "red"}


def console(*, stderr: bool = False) -> Console:
    """Return a console with colours and live lines on a terminal, and plain text elsewhere or with NO_COLOR."""
    from rich.console import Console

    return Console(
        stderr=stderr,
        color_system=None if "NO_COLOR" in os.environ else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )


def to_json(result: object, argument: str = "FILE") -> str:
    """Return a result as one line of JSON, remedies as sentences. `argument` names the pipeline in commands."""
    return msgspec.json.encode(_said(result, argument)).decode()


def _said(value: object, argument: str) -> Any:
    if isinstance(value, Remedy):
        return sentence(value, argument)
    if isinstance(value, msgspec.Struct):
        return {name: _said(getattr(value, name), argument) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {key: _said(each, argument) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_said(each, argument) for each in value]
    return value
