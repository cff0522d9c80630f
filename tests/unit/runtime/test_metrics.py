"""What the counters count of a committed transaction."""

from __future__ import annotations

import msgspec

from support.lanes import page, shards_of_lane
from tailrace.core.lane_messages import Transaction
from tailrace.runtime.metrics import Metrics

SHARD = next(shards_of_lane(1))


def test_what_was_dropped_is_counted_apart_from_what_was_published() -> None:
    metrics = Metrics("shop", "shop.dead-letters", lambda arn: arn)
    some = msgspec.structs.replace(page(SHARD, 1, 2), change_count=5, dropped_count=3)
    nothing = msgspec.structs.replace(page(SHARD, 3), records=[], change_count=1, dropped_count=1)
    metrics.committed(Transaction((some, nothing), ()), 0.1, 0)
    counted = {
        name: metrics.registry.get_sample_value(f"tailrace_changes_{name}_total", {"table": "orders"})
        for name in ("published", "dropped")
    }
    assert counted == {"published": 2, "dropped": 4}
