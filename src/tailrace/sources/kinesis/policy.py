"""What the protocol must know of Kinesis Data Streams.

Source: https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html
"""

from __future__ import annotations

from typing import Final

import msgspec

from tailrace.core.source_policy import SourcePolicy

HOUR_MS: Final = 3_600_000
PAGE_BYTES: Final = 1 << 20
"""What a page should hold. A page is several times as large while it is decoded, and all shards may have a page each; a
shard gives no more than 2 MB in a second, in five reads."""
_PUSHED_INTERVAL_MS: Final = 50
_DELIVERY_MS: Final = 10_000
"""What DynamoDB takes to put a change into the stream."""
_POLICY: Final = SourcePolicy(
    retention_ms=24 * HOUR_MS,  # the least; a stream may keep its records for up to 365 days
    page_bytes=2 * PAGE_BYTES,
    caught_up_reads=3,  # one empty page may come in a shard's middle
    gone_after_ms=30_000,
    clock_skew_ms=60_000,
    shards_per_call=1000,
    children_tries=7,
    children_pause_ms=500,
    second_child_ms=5_000,
    settle_ms=_DELIVERY_MS,
    time_steps_ms=(1,),
    shard_life_ms=2 * 365 * 24 * HOUR_MS,  # an open shard stays for good
    carries_tables=True,
    delivery_ms=_DELIVERY_MS,
    replaced_is_gone=True,  # a stream can be created again once the one of its name is deleted
    read_interval_ms=200,  # five reads a second of a shard, for all readers together
    read_bytes_per_second=2 << 20,
)


def policy(window_ms: int, *, is_pushed: bool = False) -> SourcePolicy:
    """Return the policy of streams whose records may be repeated within `window_ms`; 0: they never are.

    What is pushed is looked for more often: it costs no call.
    """
    interval_ms = _PUSHED_INTERVAL_MS if is_pushed else _POLICY.read_interval_ms
    return msgspec.structs.replace(_POLICY, window_ms=window_ms, read_interval_ms=interval_ms)
