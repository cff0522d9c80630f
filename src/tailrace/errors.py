"""Every error that a user may meet: what was attempted, on what, why it failed, and how to fix it.

TailraceError
├── FileError      the pipeline file is wrong (exit code 2)
├── WorldError     the file is right, something outside is not: a service, a permission, a stream (exit code 3)
│   ├── UnreachableError     a service did not answer, or not well: asking again may help
│   ├── UnderSwitchError     the pipeline is being switched to another method, or a switch was interrupted
│   ├── TopicError           the file gives a table a topic that cannot be, or none that is its own
│   ├── StalledError         Kafka answers, but this process cannot read from it any more
│   └── FormatVersionError   the checkpoint topic was written by a Tailrace that this one cannot read
└── RecordError    one record cannot be converted or published; it becomes a dead letter
"""

from __future__ import annotations

from tailrace.remedy import Remedy, say

EXIT_FILE = 2
EXIT_WORLD = 3

_QUOTED_CHARACTERS_MAX = 300


def printable(text: str) -> str:
    """Return a text on one line, safe to show on a terminal: what cannot be printed is escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def excerpt(text: str) -> str:
    """Return what came from outside as part of a sentence: printable, and not too long."""
    short = text if len(text) <= _QUOTED_CHARACTERS_MAX else text[:_QUOTED_CHARACTERS_MAX] + "…"
    return printable(short)


class TailraceError(Exception):
    """A failure in one sentence. `hint` and `remedy` say how to fix it: in words, and as the code of an operation.

    `str(error)` is the whole sentence, on one line, without a traceback and without a secret.
    """

    def __init__(self, message: str, *, hint: str = "", remedy: Remedy | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.remedy = remedy

    def __str__(self) -> str:
        said = say(self.remedy) if self.remedy is not None else ""
        return "; ".join(part for part in (self.message, self.hint, said) if part)


class FileError(TailraceError):
    """The pipeline file cannot be used: `path` is the key's path (`source.tables[0]`), `line` counts from 1."""

    def __init__(
        self,
        message: str,
        *,
        file: str = "",
        path: str = "",
        line: int | None = None,
        hint: str = "",
        remedy: Remedy | None = None,
    ) -> None:
        super().__init__(message, hint=hint, remedy=remedy)
        self.file = file
        self.path = path
        self.line = line

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part)
        where = ": ".join(part for part in (place, self.path) if part)
        sentence = super().__str__()
        return f"{where}: {sentence}" if where else sentence


class WorldError(TailraceError):
    """Something outside the file is missing, unreachable, refused or in a state that cannot be served."""


class UnreachableError(WorldError):
    """A service did not answer, or not well: nothing is known of what was asked, and asking again may help."""


class UnderSwitchError(WorldError):
    """The pipeline's method is being switched: who publishes is known only once that has ended."""


class TopicError(WorldError):
    """The file gives a table, which a pattern may have brought in, a topic that cannot be or must not be its own."""


class StalledError(WorldError):
    """A Kafka client stopped for good while its topics move on, and so did those that replaced it."""


class FormatVersionError(WorldError):
    """A record of the checkpoint topic is of a format version that this Tailrace cannot read."""


class RecordError(TailraceError):
    """One record cannot be converted or published; `stage` is Connect's name for where (e.g. VALUE_CONVERTER)."""

    def __init__(self, message: str, *, stage: str = "VALUE_CONVERTER", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.stage = stage
