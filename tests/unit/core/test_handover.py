"""What a switch of sources leaves out of the next one: each published change once, told apart as far as can be."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from support.lanes import checkpoint, lineage
from tailrace.core.change import Change, ViewType
from tailrace.core.checkpoint import (
    CheckpointKey,
    HandoverKey,
    HandoverPart,
    HandoverPartKey,
    HandoverRecord,
    Record,
    ShardKey,
    TableKey,
    TableRecord,
    TopicKey,
    Write,
)
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.discovery import end_handover
from tailrace.core.handover import Handover, Overlap, digest_of, second_of
from tailrace.core.shard import ShardRef

SECOND_MS = 1_000
FROM_MS = 1_700_000_000_000
CHANGE = Change(
    op="u",
    table="orders",
    keys=b'{"id":{"S":"a"}}',
    before=b'{"id":{"S":"a"},"n":{"N":"1"},"s":{"SS":["x","y"]}}',
    after=b'{"id":{"S":"a"},"n":{"N":"2"},"m":{"M":{"b":{"NS":["1","2"]},"a":{"L":[{"BS":["eA==","eQ=="]}]}}}}',
    created_ms=FROM_MS + 5_000,
    event_id="e",
    sequence="1",
    shard_id="s",
    stream_arn="arn",
    region="eu-west-1",
    view_type="NEW_AND_OLD_IMAGES",
)


def change(number: int, second: int = 5, **fields: Any) -> Change:
    after = b'{"id":{"S":"a"},"n":{"N":"%d"}}' % number
    return replace(CHANGE, **{"after": after, "created_ms": FROM_MS + second * SECOND_MS} | fields)


def overlap(*published: Change, view_type: ViewType = "NEW_AND_OLD_IMAGES") -> Overlap:
    pieces = [digest_of(each, view_type) for each in published]
    return Overlap(
        Handover(from_ms=FROM_MS, until_ms=FROM_MS + 60_000, view_types={"orders": view_type}, changes=pieces)
    )


def test_the_other_sources_record_of_a_change_is_known_by_what_both_tell() -> None:
    other = replace(
        CHANGE,
        before=b'{"s":{"SS":["y","x"]},"id":{"S":"a"},"n":{"N":"1"}}',
        after=b'{"n":{"N":"2"},"id":{"S":"a"},"m":{"M":{"a":{"L":[{"BS":["eQ==","eA=="]}]},"b":{"NS":["2","1"]}}}}',
        created_ms=CHANGE.created_ms + 999,
        event_id="another",
        sequence="49590338271490256608559692538361571095921575989136588898",
        stream_arn="arn:aws:kinesis:eu-west-1:123456789012:stream/cdc/1",
    )
    assert digest_of(other, "NEW_AND_OLD_IMAGES") == digest_of(CHANGE, "NEW_AND_OLD_IMAGES")
    assert second_of(digest_of(CHANGE, "KEYS_ONLY")) * 1000 == CHANGE.created_ms


@pytest.mark.parametrize(
    "fields",
    [
        {"op": "c"},
        {"table": "users"},
        {"keys": b'{"id":{"S":"b"}}'},
        {"before": None},
        {"before": b'{"id":{"S":"a"},"n":{"N":"1"},"s":{"SS":["x"]}}'},
        {"after": b'{"id":{"S":"a"},"n":{"L":[{"N":"2"},{"N":"1"}]}}'},
        {"created_ms": CHANGE.created_ms + SECOND_MS},
    ],
)
def test_another_change_is_told_apart(fields: dict[str, Any]) -> None:
    assert digest_of(replace(CHANGE, **fields), "NEW_AND_OLD_IMAGES") != digest_of(CHANGE, "NEW_AND_OLD_IMAGES")


@pytest.mark.parametrize(
    ("view_type", "fields"),
    [("NEW_IMAGE", {"before": None}), ("OLD_IMAGE", {"after": None}), ("KEYS_ONLY", {"before": None, "after": None})],
)
def test_images_that_the_tables_stream_lacks_are_not_compared(view_type: ViewType, fields: dict[str, Any]) -> None:
    assert overlap(replace(CHANGE, **fields), view_type=view_type).leaves_out(CHANGE)


def test_each_published_change_is_left_out_once() -> None:
    seen = overlap(change(1), change(2), change(1))
    assert [seen.leaves_out(change(number)) for number in (1, 1, 1, 2, 2, 3)] == [True, True, False, True, False, False]


def test_all_that_is_older_is_published_and_nothing_of_other_tables_is() -> None:
    seen = overlap()
    assert seen.leaves_out(change(1, second=-1))
    assert not seen.leaves_out(change(1, second=0))
    assert not seen.leaves_out(change(1, second=-1, table="users"))
    assert not seen.leaves_out(change(1, created_ms=0)), "nobody knows when"


def test_a_change_is_late_if_a_newer_one_of_its_item_is_published_and_was_not_met() -> None:
    seen = overlap(change(2, second=7))
    assert seen.is_late(change(1, second=6))
    assert seen.is_late(change(1, second=7))
    assert not seen.is_late(change(1, second=8))
    assert not seen.is_late(change(1, second=6, keys=b'{"id":{"S":"b"}}'))
    assert seen.leaves_out(change(2, second=7))
    assert not seen.is_late(change(3, second=7))


# As the checkpoint topic has it


def state(*writes: tuple[TopicKey, Record | None]) -> CheckpointState:
    found = CheckpointState(2)
    for key, record in writes:
        found.apply(0, key, record)
    return found


RECORD = HandoverRecord(
    id="7",
    before="kinesis",
    after="dynamodb-streams",
    at_ms=FROM_MS,
    from_ms=FROM_MS,
    until_ms=FROM_MS + 60_000,
    view_types={"orders": "NEW_AND_OLD_IMAGES"},
    entries=("orders",),
    parts=2,
    changes=2,
)
PARTS = [HandoverPart(id="7", changes=digest_of(change(number), "NEW_AND_OLD_IMAGES")) for number in (1, 2)]


def test_a_handover_is_known_when_all_of_its_parts_are_in_whatever_order() -> None:
    found = state((HandoverPartKey(1), PARTS[1]), (HandoverKey(), RECORD))
    assert not found.handovers.is_known("7")
    assert found.handovers.of("7") is None
    found.apply(0, HandoverPartKey(0), PARTS[0])
    assert found.handovers.is_known("7")
    handover = found.handovers.of("7")
    assert handover is not None
    assert handover is found.handovers.of("7")
    assert Overlap(handover).leaves_out(change(1))
    assert Overlap(handover).leaves_out(change(2))
    assert not found.handovers.is_known("8"), "another switch is not known by this one"


def test_parts_of_an_earlier_switch_do_not_count() -> None:
    earlier = replace(PARTS[1], id="6")
    assert not state(
        (HandoverKey(), RECORD), (HandoverPartKey(0), PARTS[0]), (HandoverPartKey(1), earlier)
    ).handovers.is_known("7")


def test_the_end_of_a_handover_deletes_its_parts_and_stays_known() -> None:
    found = state((HandoverKey(), RECORD), (HandoverPartKey(0), PARTS[0]), (HandoverPartKey(1), PARTS[1]))
    ended = found.handovers.ended()
    assert ended[1:] == (Write(0, HandoverPartKey(0), None), Write(0, HandoverPartKey(1), None))
    for write in ended:
        found.apply(0, write.key, write.record)
        assert found.shows(write)
    assert found.handovers.is_known("7")
    assert found.handovers.active is None
    assert found.handovers.of("7") is None
    assert found.handovers.ended() == ()


def test_a_shard_is_not_read_before_what_was_handed_over_is_known() -> None:
    shard = ShardRef("stream", "shard")
    lane = ShardKey(*shard).home_lane(2)
    found = state((HandoverKey(), RECORD), (HandoverPartKey(0), PARTS[0]))
    found.apply(lane, ShardKey(*shard), replace(lineage(), handover="7"))
    assert not found.may_begin(shard)
    found.apply(0, HandoverPartKey(1), PARTS[1])
    assert found.may_begin(shard)
    assert found.handover_of(shard) is found.handovers.of("7")


@pytest.mark.parametrize(
    ("arrived_ms", "until_ms", "is_past"), [(60_000, None, False), (60_001, None, True), (0, 60_001, True)]
)
def test_a_handover_ends_when_every_shard_is_read_past_it(arrived_ms: int, until_ms: int | None, is_past: bool) -> None:
    shard = ShardRef("stream", "shard")
    key = ShardKey(*shard)
    lane = key.home_lane(2)
    found = state((HandoverKey(), RECORD), (HandoverPartKey(0), PARTS[0]), (HandoverPartKey(1), PARTS[1]))
    assert end_handover(found) == (), "nothing is listed yet"
    table = TableRecord(stream_arn="stream", view_type="NEW_IMAGE", state="streaming", at_ms=FROM_MS)
    found.apply(0, TableKey("orders"), table)
    found.apply(lane, key, replace(lineage(), handover="7"))
    assert end_handover(found) == (), "it has not begun"
    read = replace(
        checkpoint("open", 9),
        arrived_ms=FROM_MS + arrived_ms,
        until_ms=None if until_ms is None else FROM_MS + until_ms,
    )
    found.apply(lane, CheckpointKey(*shard), read)
    assert bool(end_handover(found)) == is_past
