"""Asks for confirmation before a command does what cannot be undone."""

from __future__ import annotations

import sys

import typer

EXIT_NO = 1
"""The exit code when the answer is no."""


def confirm(question: str, *, yes: bool, to: str, otherwise: str) -> None:
    """Return if the operator agrees; otherwise print `otherwise` and end the command.

    `yes` is the command's `--yes`, which is required without a terminal; `to` says for what. The question goes to
    stderr, so that stdout holds only the outcome. No answer means no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"there is no terminal to ask on; add --yes to {to}", param_hint="--yes")
    typer.echo(f"{question} [y/N]: ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        typer.echo(otherwise, err=True)
        raise typer.Exit(EXIT_NO)
