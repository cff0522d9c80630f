"""What may be started and ordered of snapshots, and when not."""

from __future__ import annotations

import pytest

from support.checkpoints import BORN_MS, checkpoint, lineage, shard, table, view_of
from support.snapshot_records import control, result, segment, snapshot
from tailrace.config import Pipeline, from_flags
from tailrace.core.checkpoint import MethodKey, MethodRecord, Write
from tailrace.errors import WorldError
from tailrace.operations.snapshot import (
    KEY_BYTES_A_SEGMENT,
    KEYS_A_SEGMENT,
    Order,
    control_of,
    parts_of,
    require_startable,
)
from tailrace.remedy import (
    AcceptGap,
    CancelSnapshot,
    NameTable,
    ShowSnapshots,
    ShowStatus,
    StartSnapshot,
)

LANES = 4
NOW_MS = BORN_MS + 10


def pipeline(*tables: str) -> Pipeline:
    return from_flags(list(tables) or ["orders"], "localhost:9092").pipeline


def test_a_streaming_table_without_an_unfinished_snapshot_can_have_one() -> None:
    require_startable(pipeline(), view_of(LANES, table()), "orders")
    require_startable(pipeline(), view_of(LANES, table(), snapshot(), result()), "orders")
    require_startable(pipeline(), view_of(LANES, table(), snapshot(), result(outcome="cancelled")), "orders")


def test_a_table_that_only_lambda_has_can_have_a_snapshot() -> None:
    of_lambda = Write(0, MethodKey(), MethodRecord(method="lambda", nonce="n", at_ms=BORN_MS))
    require_startable(pipeline("o*"), view_of(LANES, of_lambda, checkpoint(shard(1), LANES)), "orders")
    require_startable(pipeline("orders"), view_of(LANES, of_lambda), "orders")
    with pytest.raises(WorldError, match="the Lambda function has published no change of table orders yet"):
        require_startable(pipeline("o*"), view_of(LANES, of_lambda), "orders")


GAP = [table(), lineage(shard(1), LANES), checkpoint(shard(1), LANES, state="gap")]


@pytest.mark.parametrize(
    ("writes", "message", "remedy"),
    [
        ([], "no worker has listed table orders yet", None),
        ([table(state="left out")], "table orders is no table of the pipeline", NameTable),
        ([table(state="off", detail="its stream is off")], "table orders is off, not streaming: its", ShowStatus),
        ([table(state="missing")], "table orders is missing, not streaming", ShowStatus),
        ([table(state="gap", next_stream_arn="arn:2")], "table orders is stopped by a gap", AcceptGap),
        (GAP, "table orders is stopped by a gap", AcceptGap),
        ([table(), snapshot()], "table orders has a snapshot that has not ended: s1", CancelSnapshot),
        ([table(), snapshot(), control("pause")], "table orders has a snapshot that has not ended", CancelSnapshot),
    ],
)
def test_a_snapshot_that_could_not_be_read_is_not_started(
    writes: list[Write], message: str, remedy: type | None
) -> None:
    with pytest.raises(WorldError, match=message) as raised:
        require_startable(pipeline(), view_of(LANES, *writes), "orders")
    assert type(raised.value.remedy) is (remedy or type(None))


def test_a_table_of_another_pipeline_is_refused() -> None:
    with pytest.raises(WorldError, match="table orders is no table of the pipeline"):
        require_startable(pipeline("users"), view_of(LANES, table()), "orders")


@pytest.mark.parametrize(
    ("writes", "order"),
    [
        ([snapshot()], "pause"),
        ([snapshot()], "cancel"),
        ([snapshot(), control("pause")], "run"),
        ([snapshot(), control("pause")], "cancel"),
        ([snapshot(), segment(1, LANES, state="failed")], "run"),
        ([snapshot(id="s0"), control("pause", snapshot_id="s0"), snapshot()], "pause"),
    ],
)
def test_an_order_is_for_the_last_snapshot(writes: list[Write], order: Order) -> None:
    ordered = control_of(view_of(LANES, *writes), "orders", order, NOW_MS)
    assert (ordered.id, ordered.order, ordered.at_ms) == ("s1", order, NOW_MS)


@pytest.mark.parametrize(
    ("writes", "order", "message", "remedy"),
    [
        ([table()], "pause", "table orders has no snapshot", StartSnapshot),
        ([snapshot(), result()], "pause", "the last snapshot of table orders has ended", ShowSnapshots),
        ([snapshot(), result(outcome="cancelled")], "run", "was cancelled", ShowSnapshots),
        ([snapshot(), control("pause")], "pause", "is paused already", ShowSnapshots),
        ([snapshot()], "run", "is running, and no segment has failed", ShowSnapshots),
        ([snapshot(), control("cancel")], "run", "is being cancelled", ShowSnapshots),
        ([snapshot(), control("cancel")], "cancel", "is being cancelled", ShowSnapshots),
    ],
)
def test_an_order_without_effect_is_refused(writes: list[Write], order: Order, message: str, remedy: type) -> None:
    with pytest.raises(WorldError, match=message) as raised:
        control_of(view_of(LANES, *writes), "orders", order, NOW_MS)
    assert isinstance(raised.value.remedy, remedy)


def test_to_resume_is_later_than_any_failure_whatever_the_clocks_say() -> None:
    ahead = [snapshot(), segment(1, LANES, state="failed", at_ms=NOW_MS + 60_000)]
    assert control_of(view_of(LANES, *ahead), "orders", "run", NOW_MS).at_ms == NOW_MS + 60_001


def test_keys_are_divided_into_segments_of_bounded_size() -> None:
    short = [f'{{"id":{{"S":"{number}"}}}}' for number in range(2 * KEYS_A_SEGMENT + 1)]
    assert [len(part) for part in parts_of(short)] == [KEYS_A_SEGMENT, KEYS_A_SEGMENT, 1]
    long = ["k" * (KEY_BYTES_A_SEGMENT // 3)] * 7
    parts = parts_of(long)
    assert [len(part) for part in parts] == [3, 3, 1]
    assert [key for part in parts for key in part] == long
    assert parts_of([]) == []
