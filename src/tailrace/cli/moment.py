"""Reads a TIME of the command line."""

from __future__ import annotations

import typer

from tailrace.moments import parse_ms


def moment_ms(text: str, option: str) -> int:
    """Return a time that an option names, in milliseconds since the epoch."""
    try:
        return parse_ms(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
