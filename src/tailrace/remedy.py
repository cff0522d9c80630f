"""What fixes an error, as a code with its arguments. Each face has its own words for it: a command, a button.

A face that prints errors installs its words with `speak_as`; then `str(error)` ends with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec


def _code(name: str) -> str:
    """Return a code by its class: `accept-gap` for `AcceptGap`."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")


class _Code(msgspec.Struct, frozen=True, tag_field="code", tag=_code):
    """A code. As JSON it is an object: `{"code": "accept-gap", "table": "orders"}`."""


class RunPipeline(_Code, frozen=True):
    """The pipeline does not exist: its first worker makes it; or Kafka is not the one that it was made in."""


class SetLanes(_Code, frozen=True):
    """Make the file name the present number of lanes, or, if it may ask for more, rescale."""

    lanes: int
    or_rescale: bool


class FinishRescale(_Code, frozen=True):
    """A rescale is unfinished: rescale again, then start the workers."""


class RescaleAgain(_Code, frozen=True):
    """This rescale was interrupted: stop every worker and rescale again."""


class AwaitSwitch(_Code, frozen=True):
    """A switch is in progress or was interrupted: check whether it has ended, or switch again."""


class SwitchAgain(_Code, frozen=True):
    """This switch was interrupted: switch again."""


class SwitchTo(_Code, frozen=True):
    """Another method publishes: switch to this one, if that is meant."""

    method: Literal["worker", "lambda"]


class SwitchSource(_Code, frozen=True):
    """The pipeline reads another kind of source: start with its file, or switch to this one, if that is meant."""


class AcceptChanges(_Code, frozen=True):
    """Start with the file's changes accepted, as a worker or by a switch to Lambda."""

    method: Literal["worker", "lambda"]


class AcceptGap(_Code, frozen=True):
    """Decide what the loss means, and accept the table's gaps."""

    table: str


class AcceptLakeGap(_Code, frozen=True):
    """Decide what the loss means, and accept the gaps of a lake."""

    lake: str


class ShowStatus(_Code, frozen=True):
    """Look where the tables stand."""


class CheckAcceptance(_Code, frozen=True):
    """It is not known whether the acceptance was written: look, and accept again if not."""


class RestoreShard(_Code, frozen=True):
    """A shard has stopped at a change that cannot be converted or published: fix the cause, or set it aside."""


class EnableStream(_Code, frozen=True):
    """Switch the table's stream on, or leave the table out."""

    table: str
    tables_key: str
    """The key of the file that names the tables."""


class NameTable(_Code, frozen=True):
    """The file leaves the table out: name it again, and it resumes where it stopped."""

    table: str
    tables_key: str
    """The key of the file that names the tables."""


class TagTable(_Code, frozen=True):
    """The table lacks the tags that the file asks for: give it the tags, and it resumes where it stopped."""

    table: str


class CreateTable(_Code, frozen=True):
    """Create the table, or leave it out."""

    table: str
    tables_key: str
    """The key of the file that names the tables."""


class RedriveAgain(_Code, frozen=True):
    """This redrive was interrupted: run it again."""


class ReplayFrom(_Code, frozen=True):
    """This replay was interrupted: go on with another one from that time, in milliseconds since the epoch."""

    table: str
    from_ms: int | None
    """None: from the oldest change that the stream holds."""
    to_ms: int | None


class InspectDeadLetters(_Code, frozen=True):
    """Look why there are dead letters, and what a redrive would do with them."""


class ShowSnapshots(_Code, frozen=True):
    """Look how far the snapshots are: also whether something that Kafka did not confirm was written."""


class StartSnapshot(_Code, frozen=True):
    """Start a snapshot of the table."""

    table: str


class LoadExports(_Code, frozen=True):
    """Exports are missing between others and the changes: make them, then load all of them together."""

    table: str
    exports: tuple[str, ...]
    """Those that there are."""


class ResumeSnapshot(_Code, frozen=True):
    """Resume the table's snapshot: it is paused, or segments of it failed; fix their cause first."""

    table: str


class CancelSnapshot(_Code, frozen=True):
    """The table has an unfinished snapshot: wait for its end, or cancel it."""

    table: str


class SayTable(_Code, frozen=True):
    """Name the table that the sample's records come from."""


Remedy = (
    RunPipeline
    | SetLanes
    | FinishRescale
    | RescaleAgain
    | AwaitSwitch
    | SwitchAgain
    | SwitchTo
    | SwitchSource
    | AcceptChanges
    | AcceptGap
    | AcceptLakeGap
    | ShowStatus
    | CheckAcceptance
    | RestoreShard
    | EnableStream
    | NameTable
    | TagTable
    | CreateTable
    | RedriveAgain
    | ReplayFrom
    | InspectDeadLetters
    | ShowSnapshots
    | StartSnapshot
    | LoadExports
    | ResumeSnapshot
    | CancelSnapshot
    | SayTable
)
"""Every remedy there is."""


def _bare(remedy: Remedy) -> str:
    """Return the code itself with its arguments: what is said where no face has words for it."""
    fields = msgspec.to_builtins(remedy)
    code = fields.pop("code")
    arguments = ", ".join(f"{name}={value}" for name, value in fields.items())
    return f"remedy: {code} ({arguments})" if arguments else f"remedy: {code}"


_words: Callable[[Remedy], str] = _bare


def speak_as(words: Callable[[Remedy], str]) -> None:
    """Word remedies as this process's face does from now on."""
    global _words  # noqa: PLW0603 - as a locale: a process has one face that prints
    _words = words


def say(remedy: Remedy) -> str:
    """Return a remedy as a part of a sentence, in the words of this process's face."""
    return _words(remedy)
