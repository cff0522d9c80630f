"""A seeded writer against DynamoDB that remembers every change that DynamoDB acknowledged.

Each item is written by one thread, one change after the other, each on the condition that the item is as the change
before left it. So a write whose answer was lost can be sent again: it is done once, by whichever try.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tailrace.core.change import ViewType
from tailrace.local.checker import Written, WrittenOp
from tailrace.local.dynamodb import CREDENTIALS, REGION

_Attributes = dict[str, Any]
"""DynamoDB JSON: attribute values by name."""

_HOT_ITEMS = 3
_HOT_SHARE = 0.3
_ITEMS_OF_ID = 4
"""Items that share a partition key in a table with a sort key."""
_BATCH = 25
"""The most that BatchWriteItem takes."""
_RETRY_S = 0.2
_GIVE_UP_S = 60.0
"""How long DynamoDB may be away before a write fails."""
_CATCH_UP_S = 0.5
"""How far a thread that fell behind its rate may lag before it forgets what it owes."""


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table to make: partition key `id`, and sort key `at` if wanted."""

    name: str
    sort_key: bool = False
    view_type: ViewType = "NEW_AND_OLD_IMAGES"


def connect(endpoint_url: str, *, read_timeout_s: float = 5.0) -> Any:
    """Make a boto3 client of DynamoDB Local for many threads; it does not retry."""
    return boto3.client(
        "dynamodb",
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(
            connect_timeout=2, read_timeout=read_timeout_s, retries={"total_max_attempts": 1}, max_pool_connections=64
        ),
    )


def create_table(client: Any, spec: TableSpec, *, has_stream: bool = True) -> None:
    """Make a table, with its stream unless that is to be enabled later."""
    names = [("id", "S"), ("at", "N")] if spec.sort_key else [("id", "S")]
    client.create_table(
        TableName=spec.name,
        KeySchema=[
            {"AttributeName": name, "KeyType": kind} for (name, _), kind in zip(names, ("HASH", "RANGE"), strict=False)
        ],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind in names],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification=_stream(spec) if has_stream else {"StreamEnabled": False},
    )


def _stream(spec: TableSpec) -> dict[str, Any]:
    return {"StreamEnabled": True, "StreamViewType": spec.view_type}


class Workload:
    """Creates, updates and deletes items of the tables: a few hot ones and a long tail.

    The same seed, tables, threads and items give each thread the same sequence of changes. `rate` is changes per
    second of all threads together; None: as fast as they can.
    """

    def __init__(
        self,
        client: Any,
        tables: Sequence[TableSpec],
        *,
        seed: int = 0,
        threads: int = 2,
        items: int = 200,
        rate: float | None = None,
        history: list[Written] | None = None,
    ) -> None:
        """Make it; workloads of different tables may share a `history`."""
        self.history: list[Written] = [] if history is None else history
        """Every acknowledged change; those of one item in their order. Grows while it runs."""
        self.tables = tuple(tables)
        self._stopping = threading.Event()
        self._errors: list[BaseException] = []
        self._writers = [
            _Writer(
                client,
                [_Item(table, number) for number in range(thread, max(items, threads), threads) for table in tables],
                random.Random(f"{seed}/{thread}"),
                self.history.append,
            )
            for thread in range(threads)
        ]
        self._pause_s = threads / rate if rate else 0.0
        self._client = client
        self._threads: list[threading.Thread] = []

    def create_tables(self) -> Self:
        """Make the tables."""
        for spec in self.tables:
            create_table(self._client, spec)
        return self

    def create_loaded_tables(self) -> list[Written]:
        """Make the tables with every item in them, then enable their streams, which know nothing of it.

        Return what was written. It is no part of the history: only a snapshot can publish it.
        """
        for spec in self.tables:
            create_table(self._client, spec, has_stream=False)
        loaded = [written for writer in self._writers for written in writer.load()]
        for spec in self.tables:
            self._client.update_table(TableName=spec.name, StreamSpecification=_stream(spec))
        return loaded

    def held(self) -> dict[tuple[str, str], int]:
        """Read the tables: the version of each item that they hold, by table and key."""
        return {
            (spec.name, _key_text(item)): int(item["version"]["N"])
            for spec in self.tables
            for page in self._client.get_paginator("scan").paginate(TableName=spec.name, ConsistentRead=True)
            for item in page["Items"]
        }

    def run(self, changes: int) -> list[Written]:
        """Make so many changes, shared evenly by the threads, and give the history."""
        self.start(changes)
        self.wait()
        return self.history

    def start(self, changes: int | None = None) -> Self:
        """Write in threads until `stop`, or until so many changes are made."""
        self._stopping.clear()
        for number, writer in enumerate(self._writers):
            share = None if changes is None else len(range(number, changes, len(self._writers)))
            thread = threading.Thread(target=self._write, args=(writer, share), name=f"writer {number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def stop(self) -> None:
        """End after the writes under way. Raises what ended a thread before."""
        self._stopping.set()
        self.wait()

    def abandon(self) -> None:
        """Make no more changes, and do not wait for those under way."""
        self._stopping.set()

    def wait(self) -> None:
        """Return when the threads have ended. Raises what ended one of them early."""
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        if self._errors:
            raise self._errors[0]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _write(self, writer: _Writer, changes: int | None) -> None:
        made = 0
        next_s = time.monotonic()
        try:
            while made != changes and not self._stopping.wait(max(0.0, next_s - time.monotonic())):
                writer.write_one()
                made += 1
                next_s = max(next_s + self._pause_s, time.monotonic() - _CATCH_UP_S)
        except BaseException as error:  # told by `wait`
            self._errors.append(error)
            self._stopping.set()


class _Item:
    """An item as its writer left it."""

    def __init__(self, table: TableSpec, number: int) -> None:
        self.table = table.name
        of_id = number // _ITEMS_OF_ID if table.sort_key else number
        name = f"{_SUBJECTS[of_id % len(_SUBJECTS)]}-{of_id}"
        self.key: _Attributes = {"id": {"S": name}}
        if table.sort_key:
            self.key["at"] = {"N": str(number)}
        self.key_text = _key_text(self.key)
        self.version = 0
        self.exists = False
        self.may_be_deleted = True


class _Writer:
    """Makes one change after the other to items that nobody else writes."""

    def __init__(
        self, client: Any, items: list[_Item], random_: random.Random, record: Callable[[Written], None]
    ) -> None:
        self._client = client
        self._items = items
        self._random = random_
        self._record = record

    def load(self) -> Iterator[Written]:
        """Make all items, as their first version."""
        for start in range(0, len(self._items), _BATCH):
            batch, left = self._items[start : start + _BATCH], dict[str, list[Any]]()
            time_ns = time.time_ns()
            for item in batch:
                body = _attributes(self._random) | _marks(1, time_ns) | item.key
                left.setdefault(item.table, []).append({"PutRequest": {"Item": body}})
            while left:
                left = self._client.batch_write_item(RequestItems=left).get("UnprocessedItems", {})
            for item in batch:
                item.version, item.exists = 1, True
                yield Written(item.table, item.key_text, "c", 1, time_ns)

    def write_one(self) -> None:
        """Make one change, sent again until its outcome is known."""
        draw = self._random
        hot = draw.random() < _HOT_SHARE
        item = draw.choice(self._items[:_HOT_ITEMS] if hot else self._items)
        op: WrittenOp = "c" if not item.exists else "d" if draw.random() < 0.2 and item.may_be_deleted else "u"
        version, time_ns = item.version + 1, time.time_ns()
        self._send(item, op, self._request(item, op, _marks(version, time_ns)), version)
        item.version, item.exists = version, op != "d"
        self._record(Written(item.table, item.key_text, op, version, time_ns))

    def _request(self, item: _Item, op: WrittenOp, marks: _Attributes) -> tuple[Callable[..., Any], dict[str, Any]]:
        """Return a call of the client and its arguments."""
        condition: dict[str, Any] = {"TableName": item.table, "ConditionExpression": "attribute_not_exists(id)"}
        if op != "c":
            condition["ConditionExpression"] = "#version = :before"
            condition["ExpressionAttributeNames"] = {"#version": "version"}
            condition["ExpressionAttributeValues"] = {":before": {"N": str(item.version)}}
        if op == "d":
            return self._client.delete_item, {**condition, "Key": item.key}
        body = _attributes(self._random) | marks
        if op == "c" or self._random.random() < 0.5:
            return self._client.put_item, {**condition, "Item": body | item.key}
        names = {f"#{place}": name for place, name in enumerate(body)}
        values = {f":{place}": value for place, value in enumerate(body.values())}
        changed = {**condition, "Key": item.key}
        changed["UpdateExpression"] = "SET " + ", ".join(f"#{place} = :{place}" for place in range(len(body)))
        changed["ExpressionAttributeNames"] = condition["ExpressionAttributeNames"] | names
        changed["ExpressionAttributeValues"] = condition["ExpressionAttributeValues"] | values
        return self._client.update_item, changed

    def _send(
        self, item: _Item, op: WrittenOp, request: tuple[Callable[..., Any], dict[str, Any]], version: int
    ) -> None:
        """Send until it is known that the change was made. Raises the client's error when it cannot be."""
        deadline_s = time.monotonic() + _GIVE_UP_S
        unknown = False
        while True:
            try:
                self._try(item, op, request, version, again=unknown)
            except (BotoCoreError, ClientError) as error:
                if not _is_unknown(error) or time.monotonic() > deadline_s:
                    raise
            else:
                return
            unknown = True
            if op == "c":
                # The first try may still be on its way, and could bring back an item that was deleted meanwhile.
                item.may_be_deleted = False
            time.sleep(_RETRY_S)

    def _try(
        self,
        item: _Item,
        op: WrittenOp,
        request: tuple[Callable[..., Any], dict[str, Any]],
        version: int,
        *,
        again: bool,
    ) -> None:
        call, arguments = request
        try:
            call(**arguments)
        except ClientError as error:
            refused = error.response["Error"]["Code"] == "ConditionalCheckFailedException"
            if not (again and refused and self._is_made(item, op, version)):
                raise

    def _is_made(self, item: _Item, op: WrittenOp, version: int) -> bool:
        """Ask DynamoDB whether the item is as the change leaves it."""
        found = self._client.get_item(TableName=item.table, Key=item.key, ConsistentRead=True).get("Item")
        if found is None or op == "d":
            return found is None and op == "d"
        return bool(found["version"]["N"] == str(version))


def _marks(version: int, time_ns: int) -> _Attributes:
    return {"version": {"N": str(version)}, "written_ns": {"N": str(time_ns)}}


def _key_text(item: _Attributes) -> str:
    """Return the key of an item as the record's key has it."""
    key: dict[str, object] = {"id": item["id"]["S"]}
    if "at" in item:
        key["at"] = int(item["at"]["N"])
    return json.dumps(key, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def _is_unknown(error: BotoCoreError | ClientError) -> bool:
    """Return whether the write may have been made nonetheless."""
    return isinstance(error, BotoCoreError) or error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500


_SUBJECTS = ("coffee", "thé vert", "抹茶", 'naïve "quote"', "🦦 otter", "salt/pepper", "plain")
_NUMBERS = (
    "0",
    "-1",
    "19.99",
    "0.1",
    "12345678901234567890123456789012345678",
    "-0.00000000000000000000000000000000000012345678901234567890123456789012345678",
    "9.9999999999999999999999999999999999999E+125",
    "1E-130",
)


def _attributes(draw: random.Random) -> _Attributes:
    """Return some attributes; all ten types come about."""
    some = draw.sample(sorted(_ATTRIBUTES), draw.randint(2, 6))
    return {name: _ATTRIBUTES[name](draw) for name in some}


def _number(draw: random.Random) -> str:
    return draw.choice(_NUMBERS) if draw.random() < 0.3 else str(draw.randrange(10_000))


def _binary(draw: random.Random) -> bytes:
    return draw.randbytes(draw.randrange(32))


def _status(draw: random.Random) -> dict[str, Any]:
    return {"S": draw.choice(["new", "paid", "packed", "sent", "delivered", "returned", ""])}


def _list(draw: random.Random) -> dict[str, Any]:
    return {"L": [{"S": draw.choice(_SUBJECTS)}, {"N": _number(draw)}, {"NULL": True}, {"L": []}]}


def _nested(draw: random.Random) -> dict[str, Any]:
    value: dict[str, Any] = {"N": _number(draw)}
    for level in range(draw.choice([1, 2, 5, 28])):
        value = {"M": {f"level {level}": value, "on": {"BOOL": level % 2 == 0}}}
    return value


_ATTRIBUTES: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "status": _status,
    "name": lambda draw: {"S": draw.choice(_SUBJECTS)},
    "total": lambda draw: {"N": _number(draw)},
    "photo": lambda draw: {"B": _binary(draw)},
    "gift": lambda draw: {"BOOL": draw.random() < 0.5},
    "note": lambda _draw: {"NULL": True},
    "lines": _list,
    "address": _nested,
    "tags": lambda draw: {"SS": draw.sample(_SUBJECTS, draw.randint(1, 4))},
    "sizes": lambda draw: {"NS": draw.sample(_NUMBERS, draw.randint(1, 4))},
    "seals": lambda draw: {"BS": sorted({_binary(draw) + b"." for _ in range(3)})},
    "text": lambda draw: {"S": "long " * draw.choice([1, 10, 2000])},
}
