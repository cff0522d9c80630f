"""What a test can do to the simulator, by HTTP, from a script or from Python: the shapes, and how they are checked."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tailrace_simulator.faults import ANY_OPERATION, Fault, Rates, check, check_rates
from tailrace_simulator.settings import Settings
from tailrace_simulator.streams import ViewType

Changes = dict[str, int | float]
"""New values of some of the `Settings`, by their names."""


class _Action(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="action", tag=str.lower):
    """One action; its tag is the class's name in small letters."""


class _OfEither(_Action, kw_only=True):
    """An action on the stream of a table, or on a Kinesis stream."""

    table: str | None = None
    stream: str | None = None
    """A Kinesis stream's name."""

    def __post_init__(self) -> None:
        if (self.table is None) is (self.stream is None):
            raise ValueError("give either table or stream: a table, or a Kinesis stream")


class Split(_OfEither, kw_only=True):
    """Split an open shard in two; `at` is the part of its key hashes that the first child gets."""

    shard: str | None = None
    """The shard's name; one is drawn when it is left out."""
    at: float = 0.5


class Merge(_Action, kw_only=True):
    """Merge an open shard of a Kinesis stream with one beside it."""

    stream: str
    shard: str | None = None
    """The shard's name; one is drawn when it is left out."""


class Rollover(_Action, kw_only=True):
    """Close an open shard and let one child follow it."""

    table: str
    shard: str | None = None


class Trim(_OfEither, kw_only=True):
    """Forget what is older than `older_than_s`, as if its retention had ended: records, closed shards, old streams."""

    shard: str | None = None
    """Only this shard; all, and the table's streams that were switched off, when it is left out."""
    older_than_s: float = 0


class Advance(_Action):
    """Move the clock forward."""

    seconds: float


class Expire(_Action):
    """Delete the items whose time to live is over."""

    table: str


class Switch(_Action, kw_only=True):
    """Switch a table's stream off, or on with a view type."""

    table: str
    view_type: ViewType | None = None


class Fail(_Action, kw_only=True):
    """Make the next `times` calls of an operation meet a fault; `table` is a table or a Kinesis stream."""

    operation: str = ANY_OPERATION
    fault: Fault
    times: int = 1
    table: str | None = None

    def __post_init__(self) -> None:
        check(self.operation, self.fault)


class Faults(_Action, kw_only=True, tag="rates"):
    """Replace the rates of faults."""

    rates: Rates

    def __post_init__(self) -> None:
        check_rates(self.rates)


class Change(_Action, kw_only=True, tag="settings"):
    """Change some settings; the others stay."""

    settings: Changes

    def __post_init__(self) -> None:
        msgspec.convert(self.settings, Settings)


class Release(_Action):
    """Release the calls that hang: their connections are closed."""


Action = Split | Merge | Rollover | Trim | Advance | Expire | Switch | Fail | Faults | Change | Release
NAMES: Final = tuple(str(kind.__struct_config__.tag) for kind in Action.__args__)


class When(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """When a script's step is due: the first time that everything which is given is reached."""

    seconds: float = 0
    """Seconds since the start, by the simulator's own clock; looked at when a call comes."""
    calls: int = 0
    """The number of this call, of the operation or of all; what is done then already counts for this very call."""
    operation: str | None = None
    writes: int = 0
    """Items put, updated or deleted in the table, or in all."""
    table: str | None = None


class Step(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One step of a script."""

    when: When
    do: Action


class Script(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A file of faults: what holds from the start, and what happens later."""

    settings: Changes = {}
    rates: Rates = {}
    script: list[Step] = []

    def __post_init__(self) -> None:
        msgspec.convert(self.settings, Settings)
        check_rates(self.rates)


def parse_action(name: str, fields: dict[str, Any]) -> Action:
    """Make an action of its name and fields. Raises ValueError with a sentence."""
    if name not in NAMES:
        raise ValueError(f"there is no action {name}; there are {', '.join(NAMES)}")
    action: Action = msgspec.convert(fields | {"action": name}, Action)
    return action


def parse_script(content: object) -> Script:
    """Make a script of a file's decoded content. Raises ValueError with a sentence."""
    return msgspec.convert(content, Script)
