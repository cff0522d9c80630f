"""Whatever the checkpoint topic holds is understood, or refused in one sentence; nothing of it breaks the worker."""

from __future__ import annotations

import itertools
import json
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from support.checkpoints import stream
from support.fuzz import broken, examples, refusal_of, values
from support.lanes import LANE_COUNT, NOW_MS
from tailrace.core.checkpoint import (
    AcceptKey,
    Checkpoint,
    CheckpointKey,
    Claim,
    ClaimKey,
    EnumeratorKey,
    GapAccepted,
    IgnoredKey,
    IgnoredRecord,
    PipelineKey,
    PipelineRecord,
    ShardKey,
    ShardRecord,
    TableKey,
    TableRecord,
    TopicKey,
    TopicRecord,
)
from tailrace.core.checkpoint_bytes import decode, encode_key, encode_record
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.discovery import leave_out, reconcile, reconcile_table
from tailrace.core.lane import Lane, LaneState
from tailrace.core.lane_messages import CheckpointStateChanged, Committed, ProducerOpened, Tick
from tailrace.core.lane_options import LaneOptions
from tailrace.core.lane_report import report
from tailrace.core.ports import StreamListing, TableStream
from tailrace.core.shard import ListedShard, ShardRef
from tailrace.errors import WorldError
from tailrace.kafka.membership import Group
from tailrace.operations.status import tables_of
from tailrace.sources.dynamodb.policy import POLICY

WHERE = "shop.checkpoints, partition 3, offset 42"
SHARD = ShardRef(stream(), "shardId-1")
TAKEN = Claim(owner="host:1:abcd", nonce="host:1:abcd/3/7", at_ms=NOW_MS)
RECORDS: list[tuple[TopicKey, TopicRecord]] = [
    (
        ShardKey(*SHARD),
        ShardRecord(
            table="orders",
            parents=(ShardRef(stream(), "shardId-0"),),
            start="LATEST",
            seen_ms=NOW_MS,
            initial=True,
        ),
    ),
    (
        CheckpointKey(*SHARD),
        Checkpoint(table="orders", state="open", sequence=str(10**20), created_ms=NOW_MS, at_ms=NOW_MS, open_ms=NOW_MS),
    ),
    (ClaimKey(), TAKEN),
    (EnumeratorKey(), TAKEN),
    (TableKey("orders"), TableRecord(stream_arn=stream(), view_type="KEYS_ONLY", state="streaming", at_ms=NOW_MS)),
    (PipelineKey(), PipelineRecord(lanes=16, created_ms=NOW_MS)),
    (AcceptKey("orders"), GapAccepted(shards=((SHARD, 5),), stream_arn=None, at_ms=NOW_MS)),
]


def broken_record(key: TopicKey, record: TopicRecord) -> st.SearchStrategy[tuple[bytes | None, bytes | None]]:
    """A record of which the key or the value, or both, are mutated; or with the value of another one."""
    good_key, good_value = encode_key(key), encode_record(record) or b""
    any_key, any_value = broken(json.loads(good_key)), broken(json.loads(good_value))
    return st.one_of(
        st.tuples(st.just(good_key), any_value),
        st.tuples(any_key, st.just(good_value)),
        st.tuples(any_key | st.none(), any_value | st.none()),
        st.tuples(st.just(good_key), st.sampled_from([encode_record(other) for _, other in RECORDS])),
    )


@examples(600)
@given(st.one_of([broken_record(*each) for each in RECORDS]))
def test_any_record_is_understood_or_refused_in_one_sentence_that_says_where(
    record: tuple[bytes | None, bytes | None],
) -> None:
    key, value = record
    refusal = refusal_of(lambda: decode(key, value, WHERE), WorldError)
    if isinstance(refusal, WorldError):
        assert str(refusal).startswith(f"the record at {WHERE} ")
        assert refusal.hint
        return
    understood, said = decode(key, value, WHERE)
    assert encode_key(understood) == key
    if isinstance(understood, IgnoredKey):
        assert encode_record(said) == value
        return
    if said is None:
        assert value is None
        return
    assert decode(key, encode_record(said), WHERE) == (understood, said)
    written = json.loads(value or b"", parse_int=Decimal)  # int() refuses thousands of digits
    for name, field in json.loads(encode_record(said) or b"").items():
        if name in {"v", "r"}:  # the versions follow from what the record holds
            continue
        assert written.get(name, field) == field, "what is there is never read as something else"


@examples(100)
@given(st.sampled_from(RECORDS), st.dictionaries(st.text(max_size=5).map("~{}".format), values, max_size=3))
def test_fields_that_a_newer_version_adds_change_nothing(
    record: tuple[TopicKey, TopicRecord], more: dict[str, Any]
) -> None:
    key, said = record
    value = json.dumps({**more, **json.loads(encode_record(said) or b"")}).encode()
    assert decode(encode_key(key), value, WHERE) == (key, said)


# Records that are well formed, in any order and place

TABLES = ["orders", "users"]
STREAMS = [stream(), stream("users"), "arn:aws:s3:::bucket"]
times = st.integers(0, 3).map(lambda days: NOW_MS - days * 86_400_000) | st.sampled_from([0, 9_223_372_036_854])
shards = st.builds(ShardRef, st.sampled_from(STREAMS), st.sampled_from("abcde"))
checkpoints = st.builds(
    Checkpoint,
    table=st.sampled_from(TABLES),
    state=st.sampled_from(["open", "ended", "gap", "failed"]),
    sequence=st.none() | st.integers(0, 10**129 - 1).map(str),
    created_ms=st.none() | times,
    at_ms=times,
    detail=st.none() | st.just("why"),
    trimmed=st.booleans(),
    open_ms=st.none() | times,
)
lineages = st.builds(
    ShardRecord,
    table=st.sampled_from(TABLES),
    parents=st.lists(shards, max_size=2).map(tuple),
    start=st.sampled_from(["TRIM_HORIZON", "LATEST", "END"]),
    seen_ms=times,
    initial=st.booleans(),
)
takings = st.builds(Claim, owner=st.just("w"), nonce=st.sampled_from(["worker/1/2", "x"]), at_ms=times)
tables = st.builds(
    TableRecord,
    stream_arn=st.none() | st.sampled_from(STREAMS),
    view_type=st.none() | st.just("KEYS_ONLY"),
    state=st.sampled_from(["streaming", "off", "missing", "gap", "failed", "left out"]),
    at_ms=times,
    next_stream_arn=st.none() | st.sampled_from(STREAMS),
)
acceptances = st.builds(
    GapAccepted,
    shards=st.lists(st.tuples(shards, times), max_size=2).map(tuple),
    stream_arn=st.none() | st.sampled_from(STREAMS),
    at_ms=times,
)
table_names = st.sampled_from(TABLES)
writes = st.one_of(
    st.tuples(shards.map(lambda shard: ShardKey(*shard)), st.none() | lineages),
    st.tuples(shards.map(lambda shard: CheckpointKey(*shard)), st.none() | checkpoints),
    st.tuples(st.just(ClaimKey()), st.none() | takings),
    st.tuples(st.just(EnumeratorKey()), st.none() | takings),
    st.tuples(table_names.map(TableKey), st.none() | tables),
    st.tuples(st.just(PipelineKey()), st.none() | st.just(PipelineRecord(lanes=LANE_COUNT, created_ms=NOW_MS))),
    st.tuples(table_names.map(AcceptKey), st.none() | acceptances),
    st.tuples(
        shards.map(lambda shard: IgnoredKey(json.dumps(["?window", shard]).encode(), shard)),
        st.none() | st.just(IgnoredRecord(b'{"v":9,"r":9}')),
    ),
)
histories = st.lists(st.tuples(writes, st.integers(0, LANE_COUNT - 1) | st.none()), max_size=25)


def home_of(key: TopicKey) -> int:
    return key.home_lane(LANE_COUNT) or 0


@examples(150)
@given(histories)
def test_any_history_of_records_is_followed_without_an_error(history: list[Any]) -> None:
    """A lane that is taken, the enumerator's decisions and `status`, after each record: foreign, repeated, out of
    place."""
    checkpoint_state = CheckpointState(LANE_COUNT)
    lanes = [
        Lane(number, "worker", checkpoint_state, LaneOptions(POLICY), epochs=itertools.count(1), jitter=lambda: 0.0)
        for number in range(LANE_COUNT)
    ]
    listed = StreamListing(STREAMS[0], NOW_MS, (ListedShard("a", closed=True), ListedShard("b", ("a",))))
    for (key, record), partition in history:
        checkpoint_state.apply(home_of(key) if partition is None else partition, key, record)
        for lane in lanes:
            lane.handle(CheckpointStateChanged(), NOW_MS)
            lane.handle(ProducerOpened(lane.epoch), NOW_MS)
            if lane.state in {LaneState.TAKING, LaneState.ACTIVE}:
                lane.handle(Committed(lane.epoch), NOW_MS)
            lane.handle(Tick(), NOW_MS + 1000)
            msgspec.json.encode(report(lane, checkpoint_state))
        for current in (True, False):
            reconcile(
                checkpoint_state,
                "orders",
                listed,
                whole=current,
                current=current,
                start="LATEST",
                gone=[],
                now_ms=NOW_MS,
                source=POLICY,
            )
        reconcile_table(checkpoint_state, TableStream("orders", STREAMS[0], "KEYS_ONLY"), "orders", NOW_MS)
        leave_out(checkpoint_state, lambda table: table == "users", NOW_MS)
        msgspec.json.encode(
            tables_of(checkpoint_state, Group((), {}), NOW_MS, tables_key="source.tables", with_ended=True)
        )
