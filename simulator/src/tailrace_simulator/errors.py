"""What a user of the simulator may meet, each in one sentence: what failed, why, and how to fix it."""

from __future__ import annotations


class SimulatorError(Exception):
    """Something that the simulator needs is missing or refused; `hint` says how to fix it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class InputError(SimulatorError):
    """What the caller passed, a file or a name, cannot be used."""
