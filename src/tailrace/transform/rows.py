"""Conditions over the rows that a snapshot reads: the language of a filter step, without what is the same for all."""

from __future__ import annotations

from typing import Final

from tailrace.transform.expression import Expression

_SAME_FOR_ALL: Final = {
    "op": "op of every row is 'r'",
    "before": "a row has no before",
    "expired": "expired of every row is `false`",
}


def row_condition(text: str) -> Expression:
    """Return the condition that a snapshot's filter stands for.

    Raises ValueError, whose text says what is wrong, for what is no condition over rows.
    """
    expression = Expression(text, is_condition=True)
    for name, reason in _SAME_FOR_ALL.items():
        if name in expression.names:
            raise ValueError(f"{reason}: it filters rows by table, keys, after, item and created_ms")
    return expression
