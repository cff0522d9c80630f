"""What the worker counts: of a committed transaction, of reads that failed, also of what can be no shard."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from support.lanes import origin, page, shards_of_lane
from tailrace.core.lane_messages import Read, Transaction
from tailrace.core.ports import ReadFailure
from tailrace.core.shard import Position, ShardRef
from tailrace.kafka.dead_letters import dead_letter
from tailrace.worker.metrics import REPEAT_S, Metrics
from tailrace.worker.vitals import Vitals

SHARD = next(shards_of_lane(1))


def read(shard: ShardRef = SHARD) -> Read:
    """Return what a lane asked for."""
    return Read(1, 1, shard, "orders", Position("TRIM_HORIZON"), None)


def test_what_was_dropped_is_counted_apart_from_what_was_published() -> None:
    metrics = Metrics("shop", "shop.dead-letters", transcoder="pure")
    whole = page(SHARD, 1, 2, 3, 4, 5)
    some = msgspec.structs.replace(whole, records=whole.records[:2], dropped=whole.changes[2:])
    nothing = page(SHARD, 6, drops=True)
    metrics.committed(Transaction((some, nothing), ()), 0.1, 0)
    counted = {
        name: metrics.registry.get_sample_value(f"tailrace_changes_{name}_total", {"table": "orders"})
        for name in ("published", "dropped")
    }
    assert counted == {"published": 2, "dropped": 4}


def test_each_change_counts_for_its_own_table() -> None:
    metrics = Metrics("shop", "shop.dead-letters", transcoder="native")
    mixed = page(SHARD, 1, 2, 3, tables=("orders", "users"))
    letter = msgspec.structs.replace(mixed.records[1], is_dead_letter=True)
    mixed = msgspec.structs.replace(
        mixed, records=[mixed.records[0], letter, mixed.records[2]], native_counts={"orders": 1}
    )
    metrics.page_read(read(), mixed, 0.1)
    metrics.committed(Transaction((mixed,), ()), 0.1, 0)

    def counted(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"tailrace_{name}_total", labels)

    for table, count, letters in (("orders", 2, None), ("users", 1, 1)):
        assert counted("changes_published", table=table) == count
        assert counted("published_bytes", table=table) == 2 * count
        assert counted("dead_letters", table=table) == letters
    assert counted("changes_read", table="orders", transcoder="native") == 1
    assert counted("changes_read", table="users", transcoder="pure") == 1


def test_changes_read_are_counted_by_what_converted_them() -> None:
    metrics = Metrics("shop", "shop.dead-letters", transcoder="native")
    metrics.page_read(read(), msgspec.structs.replace(page(SHARD, 1, 2, 3), native_counts={"orders": 2}), 0.1)
    counted = {
        transcoder: metrics.registry.get_sample_value(
            "tailrace_changes_read_total", {"table": "orders", "transcoder": transcoder}
        )
        for transcoder in ("native", "pure")
    }
    assert counted == {"native": 2, "pure": 1}


def test_a_read_that_failed_is_counted_even_when_its_stream_can_be_none() -> None:
    metrics = Metrics("shop", "shop.dead-letters", transcoder="pure")
    for stream in (SHARD.stream, "arn:aws:s3:::bucket"):
        metrics.read_failed(read(ShardRef(stream, "shardId-1")), ReadFailure.GONE, 0.1)
    labels = {"table": "orders", "result": "gone"}
    assert metrics.registry.get_sample_value("tailrace_reads_total", labels) == 2


def test_dead_letters_are_logged_at_once_and_what_follows_them_together(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr("tailrace.worker.metrics.time", SimpleNamespace(monotonic=lambda: now_s))
    metrics = Metrics("shop", "shop.dead-letters", transcoder="pure")
    letter = dead_letter(
        "shop.dead-letters",
        pipeline="shop",
        shard=SHARD,
        origin=origin(1),
        key=None,
        value=b"{}",
        intended_topic="shop.orders",
        stage="TRANSFORMATION",
        exception="TransformError",
        message="mask: 4111111111111111",
    )
    some = msgspec.structs.replace(page(SHARD, 1), records=[letter])
    metrics.committed(Transaction((some,), ()), 0.1, 0)
    metrics.committed(Transaction((some, some), ()), 0.1, 0)
    now_s += REPEAT_S
    metrics.committed(Transaction((some,), ()), 0.1, 0)
    logged = [(line.message, vars(line)["count"], vars(line)["stage"]) for line in caplog.records]
    assert logged == [("dead letters", 1, "TRANSFORMATION"), ("dead letters", 3, "TRANSFORMATION")]
    assert "4111" not in str([vars(line) for line in caplog.records]), "no item data"
    assert metrics.counts_since_last() == {"changes": 4, "dead letters": 4}
    assert not metrics.counts_since_last()


def test_what_windows_forget_for_want_of_memory_is_asked_of_the_source() -> None:
    metrics = Metrics("shop", "shop.dead-letters", transcoder="pure")
    counts = iter((0, 7))
    metrics.watch(list, lambda: 0, Vitals(), lambda: next(counts))
    shown = [metrics.registry.get_sample_value("tailrace_window_changes_forgotten_total") for _ in range(2)]
    assert shown == [0, 7]
