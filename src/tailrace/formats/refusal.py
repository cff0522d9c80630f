"""Why a value cannot be converted, and where in the item it stands."""

from __future__ import annotations

from tailrace.errors import RecordError


class Refusal(Exception):  # noqa: N818 -- it never leaves this package: `RecordError` is the error that does
    """A value is refused; the maps and lists around it add themselves to `path` as it passes them."""

    def __init__(self, reason: str, *, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.path = ""

    def inside(self, step: str) -> Refusal:
        """Put a step (`name` or `[3]`) before the path."""
        self.path = step + self.path if self.path[:1] in {"", "["} else f"{step}.{self.path}"
        return self

    def error(self) -> RecordError:
        """Return the sentence for the dead letter; the value itself is not in it."""
        return RecordError(f"attribute {self.path}: {self.reason}", hint=self.hint)
