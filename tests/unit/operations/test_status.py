"""What `tailrace status` says of a checkpoint state: each state told apart, the worst first, the ended ones counted."""

from __future__ import annotations

import pytest

from support.checkpoints import BORN_MS, checkpoint, lineage, shard, stream, table, view_of
from support.snapshot_records import result, segments, snapshot
from tailrace.cli.status import lines
from tailrace.core.checkpoint import (
    AcceptKey,
    Claim,
    ClaimKey,
    GapAccepted,
    MethodKey,
    MethodRecord,
    ShardClaimKey,
    Write,
)
from tailrace.core.shard import lane_of
from tailrace.kafka.membership import Group
from tailrace.operations.status import Status, TableStatus, tables_of, untaken_lanes
from tailrace.remedy_sentences import sentence

LANES = 4
NOW_MS = BORN_MS + 60_000
NOBODY = Group((), {})


def status(*writes: Write, group: Group = NOBODY, with_ended: bool = False) -> tuple[TableStatus, ...]:
    return tables_of(view_of(LANES, *writes), group, NOW_MS, tables_key="source.tables", with_ended=with_ended)


def words(table: TableStatus) -> str | None:
    return None if table.remedy is None else sentence(table.remedy, "shop.yaml")


def state_of_shard(number: int, *writes: Write) -> str:
    (found,) = status(*writes, with_ended=True)
    return next(each.state for each in found.shards if each.shard == shard(number).shard_id)


def test_a_table_shows_its_last_snapshot() -> None:
    running = [snapshot(item_count=100), *segments(LANES, rows=10)]
    (found,) = status(*known(1), *running)
    assert found.snapshot is not None
    assert (found.snapshot.phase, found.snapshot.share, found.severity) == ("running", 0.4, "ok")
    (found,) = status(*known(1), *running, *segments(LANES, state="failed", detail="denied"))
    assert found.severity == "error"
    shown = "\n".join(lines(Status("shop", NOW_MS, LANES, (), (found,)), "shop.yaml"))
    assert "  snapshot s1  running  all items, manual, started" in shown
    assert "    ! segment 0 failed: denied" in shown
    (found,) = status(*known(1), *running, result(rows=90, size_bytes=1_500))
    shown = "\n".join(lines(Status("shop", NOW_MS, LANES, (), (found,)), "shop.yaml"))
    assert ": 90 rows published, 1.5 kB read" in shown
    assert "segments:" not in shown


def known(*numbers: int) -> list[Write]:
    return [table(), *(lineage(shard(number), LANES) for number in numbers)]


@pytest.mark.parametrize("state", ["open", "ended", "failed", "gap"])
def test_a_shard_is_in_the_state_of_its_checkpoint(state: str) -> None:
    assert state_of_shard(1, *known(1), checkpoint(shard(1), LANES, state=state)) == state


def test_a_shard_without_a_checkpoint_waits_and_says_for_what() -> None:
    (found,) = status(*known(1), lineage(shard(2), LANES, parents=(shard(1),)), checkpoint(shard(1), LANES))
    (waiting,) = (each for each in found.shards if each.state == "waiting")
    assert waiting.shard == shard(2).shard_id
    assert waiting.detail == f"for the ends of {shard(1).shard_id}"


def test_a_gap_pauses_the_other_shards_of_its_table_only() -> None:
    found = status(
        *known(1, 2, 3),
        checkpoint(shard(1), LANES, state="gap", sequence="7", detail="it is trimmed"),
        checkpoint(shard(2), LANES),
        checkpoint(shard(3), LANES, state="ended"),
        table("users"),
        lineage(shard(1, "users"), LANES, table="users"),
        checkpoint(shard(1, "users"), LANES, table="users"),
    )
    orders, users = found
    assert (orders.state, users.state) == ("gap", "streaming")
    text = list(lines(Status("shop", NOW_MS, LANES, (), found), "shop.yaml"))
    assert text[2].startswith("table orders  stopped by a gap  shards: 1 gap, 1 paused, 1 ended")
    assert orders.shards_by_state == {"gap": 1, "paused": 1, "ended": 1}
    assert words(orders) == "decide what the loss means, then: tailrace accept-gap shop.yaml --table orders"
    assert (users.shards_by_state, users.remedy) == ({"open": 1}, None)


@pytest.mark.parametrize(
    ("writes", "severity"),
    [
        ([checkpoint(shard(1), LANES)], "ok"),
        ([table(state="off"), checkpoint(shard(1), LANES)], "error"),
        ([checkpoint(shard(1), LANES, state="failed")], "error"),
        ([checkpoint(shard(1), LANES, state="gap"), checkpoint(shard(2), LANES)], "error"),
        ([table(state="left out"), checkpoint(shard(1), LANES)], "warning"),
    ],
)
def test_a_table_is_as_bad_as_its_worst_shard(writes: list[Write], severity: str) -> None:
    (found,) = status(*known(1, 2), *writes)
    assert found.severity == severity


def test_an_accepted_gap_pauses_nothing() -> None:
    accepted = GapAccepted(shards=((shard(1), BORN_MS),), stream_arn=None, at_ms=NOW_MS)
    (found,) = status(
        *known(1, 2),
        checkpoint(shard(1), LANES, state="gap"),
        checkpoint(shard(2), LANES),
        Write(0, AcceptKey("orders"), accepted),
    )
    assert found.shards_by_state == {"waiting": 1, "open": 1}
    assert found.remedy is None
    assert [each.detail for each in found.shards if each.state == "waiting"] == ["its gap is accepted"]


def test_only_a_shard_that_had_more_to_read_is_behind_and_it_comes_first() -> None:
    """The others are read to their end: that their last change is old says that they are quiet."""
    (found,) = status(
        *known(1, 2, 3, 4, 5),
        checkpoint(shard(1), LANES),
        checkpoint(shard(2), LANES, sequence="1", created_ms=NOW_MS - 500, behind=True),
        checkpoint(shard(3), LANES, sequence="2", created_ms=NOW_MS - 40_000),
        checkpoint(shard(4), LANES, sequence="3", created_ms=NOW_MS + 3_000),
        checkpoint(shard(5), LANES, state="ended", sequence="4", created_ms=NOW_MS - 50_000, behind=True),
        with_ended=True,
    )
    numbered = [(int(each.shard[-1]), each.lag_s, each.last_change_s) for each in found.shards]
    assert numbered == [(2, 0.5, 0.5), (5, None, 50.0), (3, None, 40.0), (1, None, None), (4, None, 0.0)]
    assert (found.max_lag_s, found.last_change_s) == (0.5, 0.0)


def test_ended_shards_are_counted_and_shown_only_when_asked_for() -> None:
    writes = [*known(1, 2), checkpoint(shard(1), LANES, state="ended"), checkpoint(shard(2), LANES)]
    (found,) = status(*writes)
    assert [each.shard for each in found.shards] == [shard(2).shard_id]
    assert found.shards_by_state == {"open": 1, "ended": 1}
    (found,) = status(*writes, with_ended=True)
    assert len(found.shards) == 2


def test_the_owner_is_the_member_that_has_the_lane() -> None:
    lane = lane_of(shard(1), LANES)
    (found,) = status(*known(1), group=Group(("host:1:a",), {lane: "host:1:a"}))
    assert (found.shards[0].lane, found.shards[0].owner) == (lane, "host:1:a")
    (found,) = status(*known(1), group=Group(("host:1:a",), {lane + 1: "host:1:a"}))
    assert found.shards[0].owner is None


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        ("off", "switch its stream on, or take the table out of source.tables"),
        ("missing", "create it, or take it out of source.tables"),
        ("gap", "decide what the loss means, then: tailrace accept-gap shop.yaml --table orders"),
        ("failed", None),
    ],
)
def test_a_table_that_is_not_streamed_says_why_and_how_to_fix_it(state: str, remedy: str | None) -> None:
    (found,) = status(table(state=state, detail="the reason"))
    assert (found.state, found.detail, words(found)) == (state, "the reason", remedy)


def test_the_text_has_a_line_for_each_shard_and_names_what_stands_still() -> None:
    found = status(
        *known(1, 2),
        checkpoint(shard(1), LANES, state="failed", sequence="17", created_ms=NOW_MS - 2_000, detail="too large"),
        checkpoint(shard(2), LANES),
    )
    text = list(lines(Status("shop", NOW_MS, LANES, ("host:1:a",), found), "shop.yaml"))
    assert text[0] == "pipeline shop: 4 lanes, workers: host:1:a"
    assert text[2] == "table orders  streaming  shards: 1 failed, 1 open  last change: 2.0 s ago"
    assert text[3] == f"  ! {shard(1).shard_id}: too large"
    assert text[4] == "  ! fix the cause and restart the workers, or set `errors: dead-letter`"
    assert text[5].split()[:5] == ["SHARD", "STATE", "LAG", "LAST", "CHANGE"]
    assert text[6].split()[:7] == [shard(1).shard_id, "failed", "-", "2.0", "s", "ago", "17"]
    assert text[7].split()[-1] == "nobody"
    assert len(text) == 8


def test_a_long_time_is_shown_in_days() -> None:
    found = status(*known(1), checkpoint(shard(1), LANES, sequence="17", created_ms=NOW_MS - 2 * 86_400_000))
    text = list(lines(Status("shop", NOW_MS, LANES, (), found), "shop.yaml"))
    assert "last change: 2 d 0 h ago" in text[2]


def test_a_pipeline_whose_tables_nobody_has_listed_says_so() -> None:
    assert list(lines(Status("shop", NOW_MS, LANES, (), ()), "shop.yaml"))[1] == "no table was listed yet"


def test_lanes_whose_owner_has_not_taken_them_are_named() -> None:
    """Those with work: lane 0 has the listing, the others their shards."""
    number = lane_of(shard(1), LANES)
    writes = [*known(1), Write(number, ClaimKey(), Claim(owner="host:1:a", nonce="n", at_ms=1))]
    owned_by = {owner: Group((owner,), dict.fromkeys(range(LANES), owner)) for owner in ("host:1:a", "host:2:b")}
    assert untaken_lanes(view_of(LANES, *writes), owned_by["host:1:a"]) == (0,)
    assert untaken_lanes(view_of(LANES, *writes), owned_by["host:2:b"]) == tuple(sorted({0, number}))
    assert untaken_lanes(view_of(LANES, *writes), NOBODY) == ()
    text = list(lines(Status("shop", NOW_MS, LANES, (), (), (0, 3)), "shop.yaml"))
    assert text[1] == "! not taken yet by their workers: lanes 0, 3; if it stays so, their logs and /readyz say why"


def test_the_stream_of_a_table_is_told() -> None:
    (found,) = status(table())
    assert (found.stream_arn, found.view_type) == (stream(), "NEW_AND_OLD_IMAGES")


def test_a_pipeline_that_lambda_serves_shows_its_shards_and_says_so() -> None:
    """Lambda keeps checkpoints, and neither tables nor lineage."""
    lane = lane_of(shard(1), LANES)
    served = MethodRecord(method="lambda", nonce="n", at_ms=BORN_MS)
    (found,) = status(
        *(Write(each, MethodKey(), served) for each in range(LANES)),
        checkpoint(shard(1), LANES, sequence="17", created_ms=NOW_MS - 500),
        Write(lane, ShardClaimKey(*shard(1)), Claim(owner="sandbox", nonce="n", at_ms=BORN_MS)),
    )
    assert (found.table, found.state, found.shards_by_state) == ("orders", "streaming", {"open": 1})
    assert (found.shards[0].sequence, found.shards[0].owner) == ("17", "sandbox")
    text = list(lines(Status("shop", NOW_MS, LANES, (), (found,), method="lambda"), "shop.yaml"))
    assert text[0] == "pipeline shop: 4 lanes, served by Lambda, workers: none"


def test_a_switch_that_is_under_way_is_told() -> None:
    text = list(lines(Status("shop", NOW_MS, LANES, (), (), method="none"), "shop.yaml"))
    assert text[0] == "pipeline shop: 4 lanes, being switched to another method, workers: none"
    assert text[1].startswith("! nothing is published until the switch has ended")
