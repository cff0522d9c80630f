"""Conditions over rows: those of a filter step, but for what all rows have in common."""

from __future__ import annotations

import pytest

from tailrace.transform.change import Change
from tailrace.transform.rows import row_condition


def test_a_condition_sees_a_row_as_a_change() -> None:
    condition = row_condition("item.total > `5` && table == 'orders'")
    rows = [Change("r", "orders", {"id": "a"}, after={"id": "a", "total": total}) for total in (3, 9)]
    assert [condition.is_true(row) for row in rows] == [False, True]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("op == 'c' && item.a", "op of every row is 'r'"),
        ("before.a", "a row has no before"),
        ("expired || item.a", "expired of every row"),
        ("item.a ==", "cannot be parsed"),
        ("status", "a change has no status"),
    ],
)
def test_what_would_be_the_same_for_every_row_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        row_condition(text)
