"""What a key of a table and of its topics amounts to, against a model that plays an item's history."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.core.comparison import ABSENT, STATE_BYTES, UNSEEN, Compared, compare

A, B, C = (letter * STATE_BYTES for letter in (b"a", b"b", b"c"))


@pytest.mark.parametrize(
    ("item", "seen", "outcomes"),
    [
        ({0: A}, {0: [A]}, ["equal"]),
        ({0: A}, {}, ["missing"]),
        ({0: A}, {0: [ABSENT]}, ["missing"]),
        ({0: A}, {0: [B]}, ["stale"]),
        ({0: A}, {0: [B, A, C]}, ["equal"]),
        ({0: A}, {0: [A, ABSENT]}, ["equal"]),
        ({0: A}, {0: [B, ABSENT]}, ["missing"]),
        (None, {0: [A]}, ["surplus"]),
        (None, {0: [A, ABSENT]}, []),
        (None, {0: [ABSENT, A]}, []),
        (None, {}, []),
        ({}, {0: [A]}, ["left behind"]),
        ({}, {0: [ABSENT]}, []),
        ({1: A}, {0: [A], 1: [A]}, ["left behind", "equal"]),
        ({0: A, 1: B}, {0: [A]}, ["equal", "missing"]),
        ({0: A}, {0: [UNSEEN]}, ["equal"]),
        ({0: ABSENT}, {}, ["equal"]),
        ({0: ABSENT}, {0: [A]}, ["stale"]),
        ({0: ABSENT}, {0: [UNSEEN]}, ["stale"]),
    ],
)
def test_a_key_in_its_topics(item: dict[int, bytes] | None, seen: dict[int, list[bytes]], outcomes: list[str]) -> None:
    assert [each.outcome for each in compare(item, seen)] == outcomes


STATES = st.sampled_from([A, B, C, ABSENT])


@given(history=st.lists(STATES, min_size=1), data=st.data())
def test_a_topic_that_shows_the_whole_history_never_differs(history: list[bytes], data: st.DataObject) -> None:
    """The item is read at any moment between two readings of the topic."""
    begin = data.draw(st.integers(0, len(history) - 1))
    read = data.draw(st.integers(begin, len(history) - 1))
    end = data.draw(st.integers(read, len(history) - 1))
    item = None if history[read] == ABSENT else {0: history[read]}
    outcomes = {each.outcome for each in compare(item, {0: history[begin : end + 1]})}
    assert outcomes <= {"equal"}


@given(history=st.lists(STATES, min_size=1), wrong=STATES)
def test_a_topic_that_stops_at_another_state_differs(history: list[bytes], wrong: bytes) -> None:
    item = None if history[-1] == ABSENT else {0: history[-1]}
    outcomes = [each.outcome for each in compare(item, {0: [wrong]})]
    if wrong == history[-1]:
        assert outcomes == ([] if wrong == ABSENT else ["equal"])
    else:
        assert outcomes == ["surplus" if item is None else "missing" if wrong == ABSENT else "stale"]


def test_topics_come_in_order() -> None:
    assert list(compare({2: A, 0: A}, {1: [A]})) == [
        Compared(0, "missing"),
        Compared(1, "left behind"),
        Compared(2, "missing"),
    ]
