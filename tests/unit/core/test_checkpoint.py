"""The checkpoint topic's records: their bytes, and what a reader refuses."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from support.lanes import checkpoint, lineage
from tailrace.core.checkpoint import (
    KINDS,
    AcceptKey,
    CheckpointKey,
    Claim,
    ClaimKey,
    DefinerKey,
    DefinitionKey,
    DefinitionRecord,
    EnumeratorKey,
    GapAccepted,
    HandoverKey,
    HandoverPart,
    HandoverPartKey,
    HandoverRecord,
    IgnoredKey,
    IgnoredRecord,
    MethodKey,
    MethodRecord,
    PipelineKey,
    PipelineRecord,
    Record,
    Route,
    SegmentKey,
    SegmentRecord,
    SegmentRef,
    ShardClaimKey,
    ShardKey,
    SnapshotClaimKey,
    SnapshotControl,
    SnapshotControlKey,
    SnapshotKey,
    SnapshotRecord,
    SnapshotResult,
    SnapshotResultKey,
    TableKey,
    TableRecord,
    TopicKey,
    TopicRecord,
)
from tailrace.core.checkpoint_bytes import FORMAT_VERSION, OLDEST_READABLE_VERSION, decode, encode_key, encode_record
from tailrace.core.shard import ShardRef, lane_of
from tailrace.errors import FormatVersionError, WorldError

WHERE = "shop.checkpoints, partition 3, offset 42"
SHARD = ShardRef("arn", "shardId-1")
TAKEN = Claim(owner="host:1:abcd", nonce="host:1:abcd/3/7", at_ms=5)
RECORDS: list[tuple[TopicKey, TopicRecord]] = [
    (ShardKey(*SHARD), lineage(ShardRef("arn", "shardId-0"), start="LATEST", initial=True)),
    (CheckpointKey(*SHARD), checkpoint("gap", 10**39)),
    (CheckpointKey(*SHARD), checkpoint("open", None)),
    (ClaimKey(), TAKEN),
    (EnumeratorKey(), TAKEN),
    (TableKey("orders"), TableRecord(stream_arn="arn", view_type="KEYS_ONLY", state="streaming", at_ms=5)),
    (PipelineKey(), PipelineRecord(lanes=16, created_ms=5)),
    (AcceptKey("orders"), GapAccepted(shards=((SHARD, 5),), stream_arn=None, at_ms=6)),
    (ShardClaimKey(*SHARD), TAKEN),
    (MethodKey(), MethodRecord(method="lambda", nonce="1f", at_ms=7)),
    (
        DefinitionKey(),
        DefinitionRecord(
            generation=3,
            tables=("shop-*",),
            exclude=(),
            topic="shop.{table}",
            routes=(Route((), ("shop.paid",)),),
            format="debezium",
            transform="",
        ),
    ),
    (DefinerKey(), TAKEN),
    (
        SnapshotKey("orders"),
        SnapshotRecord(
            id="s1",
            source="scan",
            reason="gap",
            segments=4,
            at_ms=3,
            finds_deletes=True,
            offsets={"shop.orders": (0, 7)},
        ),
    ),
    (SnapshotControlKey("orders"), SnapshotControl(id="s1", order="pause", at_ms=4)),
    (
        SnapshotResultKey("orders"),
        SnapshotResult(id="s1", outcome="done", at_ms=9, rows=5, stale=1, deletes=2, size_bytes=99, read_units=2.5),
    ),
    (SnapshotClaimKey(), TAKEN),
    (
        SegmentKey(SegmentRef("orders", "s1", "3")),
        SegmentRecord(table="orders", state="running", at_ms=5, cursor='{"id":{"S":"a"}}', rows=3, read_units=0.5),
    ),
]

SWITCHED: list[tuple[TopicKey, TopicRecord]] = [
    (ShardKey(*SHARD), replace(lineage(), handover="2e")),
    (MethodKey(), MethodRecord(method="worker", nonce="1f", at_ms=7, source_type="kinesis")),
    (
        HandoverKey(),
        HandoverRecord(
            id="2e",
            before="kinesis",
            after="dynamodb-streams",
            at_ms=9,
            from_ms=1_000,
            until_ms=8_000,
            view_types={"orders": "NEW_IMAGE"},
            entries=("orders",),
            parts=1,
            changes=2,
        ),
    ),
    (HandoverPartKey(0), HandoverPart(id="2e", changes=bytes(40))),
]
"""What a switch of sources writes."""


@pytest.mark.parametrize(("key", "record"), RECORDS + SWITCHED)
def test_a_record_comes_back_as_it_was_written(key: TopicKey, record: TopicRecord) -> None:
    assert decode(encode_key(key), encode_record(record), WHERE) == (key, record)
    assert decode(encode_key(key), None, WHERE) == (key, None)


def test_the_bytes_are_those_that_other_versions_know() -> None:
    assert encode_key(CheckpointKey(*SHARD)) == b'["checkpoint","arn","shardId-1"]'
    assert encode_key(ClaimKey()) == b'["taken"]'
    assert encode_record(checkpoint("open", 7)) == (
        b'{"v":1,"r":1,"table":"orders","state":"open","sequence":"7","created_ms":1700000000000,'
        b'"at_ms":1700000000000,"detail":null,"trimmed":false,"open_ms":null,"behind":false,"begun_ms":null,'
        b'"until_ms":null,"window_from":null,"arrived_ms":null}'
    )
    assert encode_record(None) is None


@pytest.mark.parametrize(("key", "record"), RECORDS, ids=[type(key).__name__ for key, _ in RECORDS])
def test_a_newer_writer_may_add_fields_that_this_reader_need_not_know(key: TopicKey, record: TopicRecord) -> None:
    fields = json.loads(encode_record(record) or b"")
    newer = fields | {"v": FORMAT_VERSION + 1, "colour": "blue"}
    _, decoded = decode(encode_key(key), json.dumps(newer).encode(), WHERE)
    assert decoded is not None
    assert json.loads(encode_record(decoded) or b"") == fields | {"v": FORMAT_VERSION + 1}


@pytest.mark.parametrize(("digits", "version"), [(1, 1), (40, 1), (41, 2), (56, 2), (129, 2)])
def test_a_checkpoint_at_a_long_position_says_that_older_versions_cannot_read_it(digits: int, version: int) -> None:
    value = encode_record(checkpoint("open", 10 ** (digits - 1))) or b""
    assert value.startswith(b'{"v":%d,"r":%d,' % (version, version))
    assert decode(encode_key(CheckpointKey(*SHARD)), value, WHERE)[1] == checkpoint("open", 10 ** (digits - 1))


def test_a_version_newer_than_a_long_position_needs_is_kept() -> None:
    value = (encode_record(checkpoint("open", 10**128)) or b"").replace(b'"v":2,', b'"v":3,')
    _, decoded = decode(encode_key(CheckpointKey(*SHARD)), value, WHERE)
    assert encode_record(decoded) == value


def _versions(v: int, r: int) -> bytes:
    """Return a checkpoint whose other fields are of another version too: nothing but the head may be looked at."""
    return json.dumps({"v": v, "r": r, "state": ["unheard", "of"]}).encode()


def test_a_record_that_needs_a_newer_reader_is_refused() -> None:
    with pytest.raises(FormatVersionError) as refused:
        decode(encode_key(CheckpointKey(*SHARD)), _versions(FORMAT_VERSION + 1, FORMAT_VERSION + 1), WHERE)
    assert str(refused.value) == (
        f"the record at {WHERE} has format 5, newer than this Tailrace reads (4); run the newer version on every host"
    )


def test_a_record_older_than_can_be_read_is_refused() -> None:
    with pytest.raises(FormatVersionError) as refused:
        decode(encode_key(CheckpointKey(*SHARD)), _versions(OLDEST_READABLE_VERSION - 1, 0), WHERE)
    assert "has format 0, older than this Tailrace reads (1)" in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"{}"),
        (b"", None),
        (b"hello", b"{}"),
        (b"\xff\xfe", b"{}"),
        (b'["planet","earth"]', b"{}"),
        (b'["taken"]', b"\xff\xfe"),
        (b'["taken"]', b""),
        (b'["taken"]', b"[1]"),
        (b'["taken"]', b'{"v":1,"r":1,"owner":"a"}'),
        (b'["taken"]', b'{"v":1,"r":1,"owner":"a","nonce":"b","at_ms":"noon"}'),
        (
            b'["checkpoint","a","b"]',
            b'{"v":1,"r":1,"table":"t","state":"odd","sequence":null,"created_ms":null,"at_ms":1}',
        ),
        (b'["taken"]', b'{"v":"new","r":1,"owner":"a","nonce":"b","at_ms":1}'),
        (b'["taken"]', b'{"v":1,"r":1,"owner":"a","nonce":"b","at_ms":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        (b'["taken"]', b'{"v":1,"r":1,"owner":"a","nonce":"b","at_ms":-1}'),
        (b'["taken"]', b'{"v":1,"r":1,"owner":"a","nonce":"b","at_ms":99999999999999}'),
        (
            b'["checkpoint","a","b"]',
            b'{"v":1,"r":1,"table":"t","state":"open","sequence":"x7","created_ms":null,"at_ms":1}',
        ),
        (
            b'["checkpoint","a","b"]',
            b'{"v":1,"r":1,"table":"t","state":"open","sequence":"","created_ms":null,"at_ms":1}',
        ),
        (
            b'["checkpoint","a","b"]',
            b'{"v":1,"r":1,"table":"t","state":"open","sequence":"7\\n","created_ms":null,"at_ms":1}',
        ),
        (
            b'["checkpoint","a","b"]',
            b'{"v":1,"r":1,"table":"t","state":"open","sequence":"%0130d","created_ms":null,"at_ms":1}' % 7,
        ),
        (b'["pipeline"]', b'{"v":1,"r":1,"lanes":0,"created_ms":1}'),
        (b'["taken"]', b'{"owner":"a","nonce":"b","at_ms":1}'),
        (b'["taken"]', b'{"v":1,"owner":"a","nonce":"b","at_ms":1}'),
        (b'["taken"]', b'{"v":1,"r":1,"owner":"a","nonce":"b","at_ms":1,"\xff":1}'),
        (b"[" * 100_000, None),
        (b'["plan\net"]', None),
        (b'["planet%s"]' % (b"!" * 10_000), None),
        (b'["taken","more"]', None),
        (b'[ "taken"]', None),
    ],
)
def test_what_is_not_ours_is_refused_in_one_sentence_that_says_where(key: bytes | None, value: bytes | None) -> None:
    with pytest.raises(WorldError) as refused:
        decode(key, value, WHERE)
    assert str(refused.value).startswith(f"the record at {WHERE} is not a Tailrace checkpoint")
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 700
    assert "give the pipeline a name of its own" in refused.value.hint


class LaterRecord(Record, frozen=True, kw_only=True):
    """A kind that a third format brings."""

    colour: str
    v: int = 3
    r: int = 3


def test_a_kind_that_comes_later_states_its_own_reader_and_leaves_the_others_as_they_are() -> None:
    assert encode_record(LaterRecord(colour="blue")) == b'{"v":3,"r":3,"colour":"blue"}'
    assert encode_record(TAKEN) == b'{"v":1,"r":1,"owner":"host:1:abcd","nonce":"host:1:abcd/3/7","at_ms":5}'


OF_A_SHARD = b'["?window",["arn","shardId-1"],"digests"]'
NEWER = b'{"v":9,"r":9,"digests":"AAEC"}'


@pytest.mark.parametrize(
    ("key", "home"),
    [
        (b'["?note"]', None),
        (b'["?note","orders"]', None),
        (b'["?note",7,["arn"]]', None),
        (OF_A_SHARD, tuple(SHARD)),
        (b'["?segment",["orders","7"]]', ("orders", "7")),
        (b'["?odd",[]]', ()),
    ],
)
@pytest.mark.parametrize("value", [NEWER, b'{"v":1,"r":1}', b'{"v":0,"r":0}', b"\x00\xff", b"", None])
def test_a_kind_that_a_reader_may_do_without_is_kept_as_it_is_and_not_read(
    key: bytes, home: tuple[str, ...] | None, value: bytes | None
) -> None:
    ignored, record = decode(key, value, WHERE)
    assert ignored == IgnoredKey(key, home)
    assert record == (None if value is None else IgnoredRecord(value))
    assert (encode_key(ignored), encode_record(record)) == (key, value)


def test_a_key_says_by_itself_which_lane_it_belongs_to() -> None:
    lanes = range(1, 50)
    for kind in (ShardKey, CheckpointKey, ShardClaimKey):
        assert [kind(*SHARD).home_lane(lane_count) for lane_count in lanes] == [lane_of(SHARD, n) for n in lanes]
    unread, _ = decode(OF_A_SHARD, None, WHERE)
    assert [unread.home_lane(lane_count) for lane_count in lanes] == [lane_of(SHARD, n) for n in lanes]
    for key in (ClaimKey(), TableKey("orders"), PipelineKey(), decode(b'["?note","orders"]', None, WHERE)[0]):
        assert key.home_lane(16) is None


def test_an_unknown_kind_without_the_mark_stops_its_reader() -> None:
    with pytest.raises(FormatVersionError, match="has format 9, newer than this Tailrace reads"):
        decode(b'["window",["arn","shardId-1"]]', NEWER, WHERE)
    for key in (
        b'["window",["arn","shardId-1"]]',
        b'["note?"]',
        b'["?odd",["arn",7]]',
        b'[["?odd"]]',
        b'"?odd"',
        b"[]",
    ):
        with pytest.raises(WorldError, match="is not a Tailrace checkpoint"):
            decode(key, b'{"v":1,"r":1}', WHERE)


@pytest.mark.parametrize(("key", "record"), RECORDS, ids=[type(key).__name__ for key, _ in RECORDS])
def test_each_kind_is_read_by_the_oldest_version(key: TopicKey, record: TopicRecord) -> None:
    """Each states by itself what it needs: a newer kind must not stop the readers of these."""
    assert (encode_record(record) or b"").startswith(b'{"v":1,"r":1,')
    assert {type(key) for key, _ in RECORDS + SWITCHED} == set(KINDS)


@pytest.mark.parametrize(("key", "record"), SWITCHED)
def test_what_a_switch_of_sources_writes_stops_older_versions(key: TopicKey, record: TopicRecord) -> None:
    """They would read on from the source before, or publish again what that published."""
    assert (encode_record(record) or b"").startswith(b'{"v":4,"r":4,')
