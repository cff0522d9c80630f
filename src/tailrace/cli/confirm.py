"""Asks before a command does what cannot be undone."""

from __future__ import annotations

import sys

import typer

EXIT_NO = 1
"""The exit code when the answer is no."""


def confirm(question: str, *, yes: bool, to: str, otherwise: str) -> None:
    """Return when the operator agrees; end the command when not, saying `otherwise`.

    `yes` is the command's `--yes`, needed where nobody can be asked `to` do what it does. The question goes to stderr,
    so that stdout holds the outcome alone; no answer is a no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"nobody can be asked here; add --yes to {to}", param_hint="--yes")
    typer.echo(f"{question} [y/N]: ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        typer.echo(otherwise, err=True)
        raise typer.Exit(EXIT_NO)
