"""What a pipeline makes of the changes of one table: its steps, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tailrace.core import change as core
from tailrace.core.change import ViewType
from tailrace.errors import RecordError
from tailrace.transform.change import Change, read, write
from tailrace.transform.expression import STAGE
from tailrace.transform.steps import BEYOND_THE_ITEM, Call, Draft, Step


class Placed(NamedTuple):
    """A step and what it is called: `transform[2]: mask`."""

    place: str
    step: Step


class Routed(NamedTuple):
    """A change to be published; `topic` None stands for its table's own."""

    change: core.Change
    topic: str | None


class Transformed(NamedTuple):
    """What became of one change: the changes to publish, in their order, and who dropped it when there is none."""

    changes: list[Routed]
    dropped_by: str | None = None


class Transformation:
    """The steps for one table. Safe for many threads, if the user's functions are."""

    def __init__(self, steps: Sequence[Placed]) -> None:
        self._steps = tuple(steps)
        looks_at = [step.looks_at for _, step in steps]
        self._writes = None in looks_at
        self._looks_at = frozenset(name for names in looks_at for name in names or ())

    def apply(self, change: core.Change) -> Transformed:
        """Return what becomes of a change. Raises `RecordError`, whose sentence begins with the step's place.

        When no step makes another change of it, it keeps its bytes, and only the images that are looked at are read.
        """
        drafts = [Draft(self._read(change))]
        place = "transform"
        try:
            for place, step in self._steps:
                drafts = [made for draft in drafts for made in step.apply(draft)]
                if not drafts:
                    return Transformed([], place)
            if not self._writes:
                return Transformed([Routed(change, draft.topic) for draft in drafts])
            place = "transform"
            return Transformed(
                [Routed(write(made, change, number), topic) for number, (made, topic) in enumerate(drafts)]
            )
        except RecordError as error:
            raise RecordError(f"{place}: {error.message}", stage=STAGE, hint=error.hint) from error
        except Exception as error:
            # A function can hand over objects of any kind: what those do when they are looked at may not stall a shard.
            text = " ".join(str(error).split())
            raise RecordError(f"{place}: {type(error).__name__}: {text}", stage=STAGE) from error

    def _read(self, change: core.Change) -> Change:
        if self._writes:
            return read(change)
        item = "before" if change.op == "d" else "after"
        names = self._looks_at | ({item} if "item" in self._looks_at else frozenset())
        return read(change, before="before" in names, after="after" in names)

    def keeps_keys(self, key_names: Sequence[str]) -> bool:
        """Return whether every change certainly keeps its key attributes, names and values."""
        return all(step.keeps_keys(frozenset(key_names)) for _, step in self._steps)

    @property
    def may_make_items(self) -> bool:
        """Whether the items that it makes may depend on anything: a function of the user makes them."""
        return any(isinstance(step, Call) for _, step in self._steps)

    @property
    def looks_beyond_the_item(self) -> list[str]:
        """The places of the steps that decide by more than the item itself, such as `op` or `before`."""
        return [place for place, step in self._steps if (step.looks_at or frozenset()) & BEYOND_THE_ITEM]

    def faults(self, view_type: ViewType | None, key_names: Sequence[str]) -> list[str]:
        """Return, in sentences, why it cannot work on a table with this stream and these key attributes.

        Without a view type or names, what needs them is not looked at.
        """
        found = []
        keys: frozenset[str] | None = frozenset(key_names)
        for place, step in self._steps:
            if view_type is not None and (lack := step.lack(view_type)):
                found.append(f"{place}: {lack}")
            try:
                keys = step.keys_after(keys) if keys is not None else None
            except ValueError as error:
                found.append(f"{place}: {error}")
        return found
