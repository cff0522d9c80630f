"""`source.enable_streams`: tables without a stream get one, and every change from then on is published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.bench import Bench


def test_a_stream_that_is_off_is_switched_on_and_nothing_written_from_then_on_is_lost(
    bench: Callable[..., Bench],
) -> None:
    pipeline = bench(tables=2)
    off = pipeline.tables[1]
    pipeline.dynamodb.update_table(TableName=off, StreamSpecification={"StreamEnabled": False})
    source: dict[str, Any] = pipeline.settings["source"]
    worker = pipeline.worker(pipeline.write_file(source=source | {"enable_streams": "NEW_AND_OLD_IMAGES"}))
    worker.wait_logged("stream switched on", table=off)
    with pipeline.workload:
        pipeline.wait_published(100)
    pipeline.settle()
    described = pipeline.dynamodb.describe_table(TableName=off)["Table"]
    assert described["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
