"""Translates the simulator's errors into Tailrace's: it is a separate distribution, which does not know ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tailrace.errors import FileError, WorldError


@contextmanager
def simulator_errors() -> Iterator[None]:
    """Raise what the simulator raises in this block as `FileError` or `WorldError`."""
    from tailrace_simulator.errors import InputError, SimulatorError

    try:
        yield
    except SimulatorError as error:
        kind = FileError if isinstance(error, InputError) else WorldError
        raise kind(error.message, hint=error.hint) from error
