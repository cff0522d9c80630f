"""Changes as a source gives them, and what a list of steps makes of them."""

from __future__ import annotations

from typing import Any

import msgspec

from tailrace.core.change import Change, Op, ViewType
from tailrace.transform.steps import Step
from tailrace.transform.transformation import Placed, Transformation

ITEM: dict[str, Any] = {
    "id": {"S": "o-1"},
    "email": {"S": "ann@example.com"},
    "card": {"S": "4111111111111111"},
    "pin": {"N": "1234"},
    "total": {"N": "1.50"},
    "type": {"S": "order"},
    "address": {"M": {"street": {"S": "Elm"}, "city": {"S": "Springwood"}}},
    "lines": {"L": [{"M": {"sku": {"S": "x"}, "price": {"N": "2"}}}, {"M": {"sku": {"S": "y"}}}]},
    "mails": {"SS": ["b@example.com", "a@example.com"]},
    "nothing": {"NULL": True},
}


def change(
    op: Op = "u",
    *,
    keys: dict[str, Any] | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    view_type: ViewType = "NEW_AND_OLD_IMAGES",
) -> Change:
    """Return a change; an update of `ITEM` unless images are given."""
    if before is after is None and view_type != "KEYS_ONLY":
        before, after = ITEM, None if op == "d" else ITEM
    return Change(
        op=op,
        table="orders",
        keys=msgspec.json.encode(keys or {"id": ITEM["id"]}),
        before=None if before is None else msgspec.json.encode(before),
        after=None if after is None else msgspec.json.encode(after),
        created_ms=1_700_000_000_000,
        event_id="event-1",
        sequence="100000000000000000001",
        shard_id="shard-1",
        stream_arn="arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/1",
        region="eu-west-1",
        view_type=view_type,
    )


def transformation(*steps: Step) -> Transformation:
    """Return the transformation of some steps, placed by their numbers."""
    return Transformation([Placed(f"transform[{index}]", step) for index, step in enumerate(steps)])


def made(of: Change, *steps: Step) -> list[Change]:
    """Return the changes that steps make of one."""
    return [routed.change for routed in transformation(*steps).apply(of).changes]


def image(content: bytes | None) -> Any:
    """Read an image."""
    return None if content is None else msgspec.json.decode(content)
