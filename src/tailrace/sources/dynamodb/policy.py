"""What the protocol must know of DynamoDB Streams."""

from __future__ import annotations

from typing import Final

from tailrace.core.source_policy import SourcePolicy

POLICY: Final = SourcePolicy(
    retention_ms=24 * 3_600_000,
    page_bytes=3 << 20,  # GetRecords answers with at most 1 MB, envelopes add to it
    caught_up_reads=3,  # one empty page may come in a shard's middle
    gone_after_ms=30_000,  # ResourceNotFoundException may be answered for some seconds about a shard that exists
    clock_skew_ms=60_000,
    shards_per_call=100,
    # DescribeStream is eventually consistent: this looks for a minute, and the listings of whole streams find the rest.
    children_tries=7,
    children_pause_ms=500,
    second_child_ms=5_000,
    settle_ms=2_000,  # creation times are in whole seconds
    time_steps_ms=(1_000, 60_000),  # DynamoDB rounds down to the second, DynamoDB Local to the minute
)
