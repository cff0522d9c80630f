"""Reading streams of a real DynamoDB Local: every change, in order, from each position, and what is lost is told."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from support.names import unique
from tailrace.aws.session import AwsSession, AwsSettings
from tailrace.core.change import ViewType
from tailrace.core.ports import ReadError, ReadFailure, SourceRecord, TableStream
from tailrace.core.shard import Position, ShardRef
from tailrace.local.dynamodb import CREDENTIALS, REGION, DynamoDBLocal
from tailrace.sources.dynamodb.streams import DynamoDBStreams

ORDERS = unique("orders")
USERS = unique("users")
TRIM_HORIZON = Position("TRIM_HORIZON")
UNKNOWN_SHARD = "shardId-00000000000000000000-00000000"


@pytest.fixture
def client(dynamodb_client: Any) -> Iterator[Any]:
    """A client whose tables are gone after the test."""
    before = _tables(dynamodb_client)
    yield dynamodb_client
    for name in _tables(dynamodb_client) - before:
        dynamodb_client.delete_table(TableName=name)


@pytest.fixture
def source(dynamodb: DynamoDBLocal, monkeypatch: pytest.MonkeyPatch) -> Iterator[DynamoDBStreams]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    session = AwsSession(AwsSettings(region=REGION, endpoint_url=dynamodb.endpoint_url))
    source = DynamoDBStreams(session, describe_stream_per_second=1000)
    yield source
    source.close()


@pytest.fixture
def create(client: Any, source: DynamoDBStreams) -> Callable[..., ShardRef]:
    """Create a table with a stream and give its only shard."""

    def create(table: str, view_type: ViewType = "NEW_AND_OLD_IMAGES") -> ShardRef:
        answer = client.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": view_type},
        )
        stream_arn = answer["TableDescription"]["LatestStreamArn"]
        (shard,) = source.shards(stream_arn).shards
        return ShardRef(stream_arn, shard.shard_id)

    return create


def put(client: Any, table: str, *ids: str, note: str = "") -> None:
    for each in ids:
        client.put_item(TableName=table, Item={"id": {"S": each}, "note": {"S": note}})


def switch_off(client: Any, table: str) -> None:
    client.update_table(TableName=table, StreamSpecification={"StreamEnabled": False})


def read_all(source: DynamoDBStreams, shard: ShardRef, position: Position = TRIM_HORIZON) -> list[SourceRecord]:
    """Read to the shard's end, or to the first empty page of an open shard (DynamoDB Local gives none in between)."""
    page = source.read(shard, position, None)
    records = list(page.records)
    while page.next_iterator is not None and page.records:
        page = source.read(shard, position, page.next_iterator)
        records += page.records
    return records


def keys(records: list[SourceRecord]) -> list[bytes]:
    return [record.change.keys for record in records if record.change]


def failed(action: Callable[[], object]) -> ReadError:
    with pytest.raises(ReadError) as caught:
        action()
    return caught.value


def test_a_page_larger_than_any_of_aws_is_read_in_parts(
    client: Any, create: Callable[..., ShardRef], source: DynamoDBStreams, caplog: pytest.LogCaptureFixture
) -> None:
    table = unique("large")
    shard = create(table)
    for round_number in range(40):
        puts = [
            {"PutRequest": {"Item": {"id": {"S": f"{number}"}, "note": {"S": f"{round_number}" * 20_000}}}}
            for number in range(25)
        ]
        assert client.batch_write_item(RequestItems={table: puts})["UnprocessedItems"] == {}
    read_all(source, shard)  # the stream may lag behind the writes, and then its pages are small
    records = read_all(source, shard)
    assert len(records) == 1_000
    assert len({record.origin.sequence for record in records}) == 1_000
    assert "is larger than 32 MiB: asking for 500 records at most" in caplog.text


def test_every_change_of_a_table_is_read_in_order(
    client: Any, source: DynamoDBStreams, create: Callable[..., ShardRef]
) -> None:
    shard = create(ORDERS)
    put(client, ORDERS, "a", note="1")
    put(client, ORDERS, "a", note="2")
    client.delete_item(TableName=ORDERS, Key={"id": {"S": "a"}})
    changes = [record.change for record in read_all(source, shard)]
    assert [change and (change.op, _item(change.before), _item(change.after)) for change in changes] == [
        ("c", None, {"id": {"S": "a"}, "note": {"S": "1"}}),
        ("u", {"id": {"S": "a"}, "note": {"S": "1"}}, {"id": {"S": "a"}, "note": {"S": "2"}}),
        ("d", {"id": {"S": "a"}, "note": {"S": "2"}}, None),
    ]
    assert all(change and change.table == ORDERS and change.keys == b'{"id":{"S":"a"}}' for change in changes)
    numbers = [int(change.sequence) for change in changes if change]
    assert numbers == sorted(set(numbers))


def test_a_shard_longer_than_a_page_is_read_whole(
    client: Any, source: DynamoDBStreams, create: Callable[..., ShardRef]
) -> None:
    shard = create(ORDERS)
    ids = [f"{number:04}" for number in range(1100)]
    for start in range(0, len(ids), 25):
        items = [{"PutRequest": {"Item": {"id": {"S": each}}}} for each in ids[start : start + 25]]
        client.batch_write_item(RequestItems={ORDERS: items})
    first = source.read(shard, TRIM_HORIZON, None)
    assert (len(first.records), first.full) == (1000, True)
    rest = source.read(shard, TRIM_HORIZON, first.next_iterator)
    assert (len(rest.records), rest.full) == (100, False)
    assert sorted(keys(first.records + rest.records)) == [b'{"id":{"S":"%s"}}' % each.encode() for each in ids]


def test_reading_starts_where_the_position_says(
    client: Any, source: DynamoDBStreams, create: Callable[..., ShardRef]
) -> None:
    shard = create(ORDERS)
    put(client, ORDERS, "a", "b", "c")
    latest = source.read(shard, Position("LATEST"), None)
    second = read_all(source, shard)[1].origin.sequence
    put(client, ORDERS, "d")
    assert latest.records == []
    assert keys(source.read(shard, Position("LATEST"), latest.next_iterator).records) == [b'{"id":{"S":"d"}}']
    after = Position("AFTER_SEQUENCE_NUMBER", second)
    assert keys(read_all(source, shard, after)) == [b'{"id":{"S":"c"}}', b'{"id":{"S":"d"}}']


def test_changes_made_before_since_may_be_dropped_but_never_those_after(
    client: Any, source: DynamoDBStreams, create: Callable[..., ShardRef]
) -> None:
    shard = create(ORDERS)
    since_ms = time.time_ns() // 1_000_000
    put(client, ORDERS, "a")
    assert len(read_all(source, shard, Position("TRIM_HORIZON", since_ms=since_ms))) == 1
    assert read_all(source, shard, Position("TRIM_HORIZON", since_ms=since_ms + 3_600_000)) == []


@pytest.mark.parametrize(
    ("view_type", "has_before", "has_after"),
    [
        ("NEW_AND_OLD_IMAGES", True, True),
        ("NEW_IMAGE", False, True),
        ("OLD_IMAGE", True, False),
        ("KEYS_ONLY", False, False),
    ],
)
def test_each_view_type_carries_what_it_promises(
    client: Any,
    source: DynamoDBStreams,
    create: Callable[..., ShardRef],
    *,
    view_type: ViewType,
    has_before: bool,
    has_after: bool,
) -> None:
    shard = create(ORDERS, view_type)
    put(client, ORDERS, "a")
    put(client, ORDERS, "a", note="changed")
    change = read_all(source, shard)[-1].change
    assert change
    assert (change.op, change.view_type) == ("u", view_type)
    assert (change.before is not None, change.after is not None) == (has_before, has_after)
    assert source.table_stream(ORDERS) == TableStream(ORDERS, shard.stream, view_type, ("id",))


def test_an_iterator_that_is_old_or_damaged_asks_for_another(
    client: Any, source: DynamoDBStreams, create: Callable[..., ShardRef]
) -> None:
    shard = create(ORDERS)
    put(client, ORDERS, "a")
    iterator = source.read(shard, TRIM_HORIZON, None).next_iterator
    assert iterator
    for bad in (_aged(iterator, minutes=16), iterator[:-8] + "AAAAAAA=", "nothing"):
        error = failed(partial(source.read, shard, TRIM_HORIZON, bad))
        assert error.failure is ReadFailure.EXPIRED
        assert bad not in str(error) or bad == "nothing"
    assert keys(read_all(source, shard)) == [b'{"id":{"S":"a"}}']


def test_a_stream_that_was_switched_off_is_read_to_its_end(
    client: Any, source: DynamoDBStreams, create: Callable[..., ShardRef]
) -> None:
    shard = create(ORDERS)
    put(client, ORDERS, "a", "b")
    open_page = source.read(shard, TRIM_HORIZON, None)
    assert open_page.next_iterator
    switch_off(client, ORDERS)
    assert source.table_stream(ORDERS) == TableStream(ORDERS, None, None, ("id",))
    (listed,) = source.shards(shard.stream).shards
    assert (listed.shard_id, listed.closed) == (shard.shard_id, True)
    assert source.read(shard, TRIM_HORIZON, open_page.next_iterator).next_iterator is None
    assert keys(read_all(source, shard)) == [b'{"id":{"S":"a"}}', b'{"id":{"S":"b"}}']


def test_a_stream_that_is_switched_on_again_is_another(
    client: Any, source: DynamoDBStreams, create: Callable[..., ShardRef]
) -> None:
    shard = create(ORDERS)
    created_ms = source.shards(shard.stream).created_ms
    switch_off(client, ORDERS)
    specification = {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    client.update_table(TableName=ORDERS, StreamSpecification=specification)
    stream = source.table_stream(ORDERS)
    assert stream.stream not in {None, shard.stream}
    assert stream.view_type == "KEYS_ONLY"
    assert source.shards(str(stream.stream)).created_ms > created_ms


def test_a_table_that_was_deleted_is_gone_but_its_stream_is_read_to_its_end(
    client: Any, source: DynamoDBStreams, create: Callable[..., ShardRef]
) -> None:
    shard = create(ORDERS)
    put(client, ORDERS, "a")
    client.delete_table(TableName=ORDERS)
    assert failed(lambda: source.table_stream(ORDERS)).failure is ReadFailure.GONE
    assert keys(read_all(source, shard))[0] == b'{"id":{"S":"a"}}'


def test_an_unknown_shard_or_stream_is_gone(source: DynamoDBStreams, create: Callable[..., ShardRef]) -> None:
    shard = create(ORDERS)
    no_shard, no_stream = ShardRef(shard.stream, UNKNOWN_SHARD), ShardRef(shard.stream + "9", shard.shard_id)
    for missing in (no_shard, no_stream):
        assert failed(partial(source.read, missing, TRIM_HORIZON, None)).failure is ReadFailure.GONE
        assert not source.exists(missing)
    assert source.exists(shard)
    assert failed(lambda: source.shards(no_stream.stream)).failure is ReadFailure.GONE


def test_a_shard_without_children_has_none(source: DynamoDBStreams, create: Callable[..., ShardRef]) -> None:
    assert source.children(create(ORDERS)) == ()


def test_tables_are_listed_by_name_and_pattern(
    client: Any, source: DynamoDBStreams, create: Callable[..., ShardRef]
) -> None:
    users = [f"{USERS}-{number:03}" for number in range(101)]
    for table in (*users, USERS.upper() + "-1", ORDERS):
        create(table)
    assert source.table_names([f"{USERS}-*"]) == users
    assert source.table_names([f"{ORDERS[:-1]}?", "zzz-later"]) == [ORDERS, "zzz-later"]


def test_many_threads_read_at_once(client: Any, source: DynamoDBStreams, create: Callable[..., ShardRef]) -> None:
    shards = {table: create(table) for table in (f"{USERS}-{number}" for number in range(4))}
    for table in shards:
        put(client, table, *map(str, range(20)))
    with ThreadPoolExecutor(max_workers=len(shards)) as pool:
        read = dict(zip(shards, pool.map(lambda shard: keys(read_all(source, shard)), shards.values()), strict=True))
    assert read == {table: [b'{"id":{"S":"%d"}}' % number for number in range(20)] for table in shards}


def _tables(client: Any) -> set[str]:
    return {name for page in client.get_paginator("list_tables").paginate() for name in page["TableNames"]}


def _item(image: bytes | None) -> Any:
    return None if image is None else json.loads(image)


def _aged(iterator: str, *, minutes: int) -> str:
    """Return an iterator of DynamoDB Local as if it had been handed out earlier: its time is the last of its fields."""
    head, inside = iterator.rsplit("|", 1)
    fields = base64.b64decode(inside).decode().split("|")
    fields[-1] = str(int(fields[-1]) - minutes * 60_000).zfill(len(fields[-1]))
    return f"{head}|{base64.b64encode('|'.join(fields).encode()).decode()}"
