"""Which tags are what is wanted, and which wishes include others."""

from __future__ import annotations

import pytest

from tailrace.core.tags import WantedTag, WantedTags, have_all, implies, in_words

CDC = WantedTag("cdc", ("true",))
STAGES = WantedTag("stage", ("prod", "staging"))


@pytest.mark.parametrize(
    ("tags", "wanted", "has"),
    [
        ({"cdc": "true", "team": "x"}, (CDC,), True),
        ({"cdc": "true", "stage": "staging"}, (CDC, STAGES), True),
        ({"cdc": "true", "stage": "test"}, (CDC, STAGES), False),
        ({"stage": "prod"}, (CDC, STAGES), False),
        ({"CDC": "true"}, (CDC,), False),
        ({"cdc": "True"}, (CDC,), False),
        ({}, (), True),
    ],
)
def test_all_keys_and_any_value_of_each(tags: dict[str, str], wanted: WantedTags, has: bool) -> None:
    assert have_all(tags, wanted) is has


@pytest.mark.parametrize(
    ("narrow", "wide", "does"),
    [
        ((CDC, STAGES), (STAGES, CDC), True),
        ((CDC, STAGES), (CDC,), True),
        ((CDC,), (CDC, STAGES), False),
        ((WantedTag("stage", ("prod",)),), (STAGES,), True),
        ((STAGES,), (WantedTag("stage", ("prod",)),), False),
        ((CDC,), (), True),
        ((), (CDC,), False),
    ],
)
def test_tags_that_say_more_imply_those_that_say_less(narrow: WantedTags, wide: WantedTags, does: bool) -> None:
    assert implies(narrow, wide) is does


def test_they_are_told_in_a_line() -> None:
    assert in_words((CDC, STAGES)) == "cdc=true, stage=prod|staging"


ANY: WantedTags = (WantedTag("cdc"),)


def test_a_tag_without_values_may_have_any() -> None:
    assert have_all({"cdc": "", "other": "x"}, ANY)
    assert not have_all({"other": "x"}, ANY)
    assert in_words(ANY) == "cdc=*"


def test_a_tag_with_a_value_is_among_those_with_any() -> None:
    narrow = (WantedTag("cdc", ("true",)),)
    assert implies(narrow, ANY)
    assert implies(ANY, ANY)
    assert not implies(ANY, narrow)
