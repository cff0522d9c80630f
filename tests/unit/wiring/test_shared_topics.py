"""Which topics several tables write: only there must a row be told from the changes of another table's items."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.config import Pipeline
from tailrace.wiring.snapshot_parts import shared_topics

ROUTE = {"by": "item.type", "topics": {"order": "shop.special"}, "otherwise": "{pipeline}.{table}"}


def pipeline(tables: list[str], *steps: dict[str, Any]) -> Pipeline:
    return Pipeline.model_validate(
        {
            "name": "shop",
            "kafka": {"bootstrap.servers": "localhost:9092"},
            "source": {"type": "dynamodb-streams", "tables": tables},
            "transform": list(steps),
        }
    )


@pytest.mark.parametrize(
    ("tables", "steps", "shared"),
    [
        (["orders", "users"], [], set()),
        (["orders"], [{"route": ROUTE}], set()),
        (["orders", "users"], [{"tables": ["orders"], "route": ROUTE}], set()),
        (["orders", "users"], [{"route": ROUTE}], {"shop.special"}),
        (["orders", "users"], [{"tables": ["o*"], "route": ROUTE}], {"shop.special"}),
        (
            ["orders", "users"],
            [{"tables": ["orders"], "route": ROUTE}, {"tables": ["users"], "route": ROUTE}],
            {"shop.special"},
        ),
    ],
)
def test_a_topic_is_shared_when_more_than_one_table_may_write_it(
    tables: list[str], steps: list[dict[str, Any]], shared: set[str]
) -> None:
    assert shared_topics(pipeline(tables, *steps)) == shared
