"""What the worker counts, also of what can be no shard."""

from __future__ import annotations

from tailrace.core.ports import ReadFailure
from tailrace.core.shard import ShardRef
from tailrace.runtime.metrics import Metrics
from tailrace.sources.stream_arn import table_of


def test_a_read_that_failed_is_counted_even_when_its_stream_can_be_none() -> None:
    metrics = Metrics("shop", "shop.dead-letters", table_of)
    for stream in ("arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/1", "arn:aws:s3:::bucket"):
        metrics.read_failed(ShardRef(stream, "shardId-1"), ReadFailure.GONE, 0.1)
    for table in ("orders", ""):
        labels = {"table": table, "result": "gone"}
        assert metrics.registry.get_sample_value("tailrace_reads_total", labels) == 1
