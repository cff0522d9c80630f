"""Packages that only an extra brings: without one, the user learns how to install it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tailrace.errors import WorldError


@contextmanager
def brought_by(extra: str) -> Iterator[None]:
    """Import the packages of `extra` in this block.

    Raises:
        WorldError: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"", "tailrace"}:  # a defect of ours, which no installation repairs
            raise
        raise WorldError(
            f"the package {package} is not installed", hint=f"install it with pip install 'tailrace[{extra}]'"
        ) from error
