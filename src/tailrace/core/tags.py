"""The tags of tables, and those that a pipeline asks for. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class WantedTag(msgspec.Struct, frozen=True):
    """A tag that a table must have: its key, and one of the values; without values, whatever it is."""

    key: str
    values: tuple[str, ...] = ()


WantedTags = tuple[WantedTag, ...]
"""All of them must hold; none asks for nothing."""


def have_all(tags: Mapping[str, str], wanted: WantedTags) -> bool:
    """Return whether tags are what is wanted: all keys, any of the values of each."""
    return all(each.key in tags and (not each.values or tags[each.key] in each.values) for each in wanted)


def implies(narrow: WantedTags, wide: WantedTags) -> bool:
    """Return whether every table that has the tags `narrow` certainly has the tags `wide`."""
    values = {each.key: set(each.values) for each in narrow}
    return all(
        each.key in values and (not each.values or (values[each.key] and values[each.key] <= set(each.values)))
        for each in wide
    )


def in_words(wanted: WantedTags) -> str:
    """Return the tags in a line: `cdc=true, environment=prod|staging`; `*` stands for any value."""
    return ", ".join(f"{each.key}={'|'.join(each.values) or '*'}" for each in wanted)
