"""The workload remembers exactly what DynamoDB did, also when an answer is lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from tailrace.local import workload as workload_module
from tailrace.local.checker import Written
from tailrace.local.workload import TableSpec, Workload

TABLES = (TableSpec("orders"), TableSpec("lines", sort_key=True))
TEN_TYPES = {"S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"}

Item = dict[str, dict[str, Any]]
Fault = Callable[[], None]


def timed_out() -> None:
    raise ReadTimeoutError(endpoint_url="http://127.0.0.1")


def server_error() -> None:
    raise client_error("InternalServerError", 500)


def client_error(code: str, status: int) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutItem"
    )


class FakeDynamoDB:
    """Keeps items and conditions as DynamoDB does; `before` and `after` may raise, before or after a write is done."""

    def __init__(self, before: Fault = lambda: None, after: Fault = lambda: None) -> None:
        self.items: dict[tuple[str, str], Item] = {}
        self.done: list[tuple[tuple[str, str], str, int]] = []
        """Item, op and version of every change that was done."""
        self.written: list[Item] = []
        self.streams: list[str] = []
        self._before = before
        self._after = after
        self._lock = threading.Lock()

    def put_item(self, **request: Any) -> None:
        self._write(request, request["Item"])

    def update_item(self, **request: Any) -> None:
        names, values = request["ExpressionAttributeNames"], request["ExpressionAttributeValues"]
        sets = (one.split(" = ") for one in request["UpdateExpression"].removeprefix("SET ").split(", "))
        changed = {names[name]: values[value] for name, value in sets}
        self._write(request, self.items.get(self._place(request), {}) | request["Key"] | changed)

    def delete_item(self, **request: Any) -> None:
        self._write(request, None)

    def get_item(self, **request: Any) -> dict[str, Any]:
        assert request["ConsistentRead"]
        item = self.items.get(self._place(request))
        return {} if item is None else {"Item": item}

    def create_table(self, **request: Any) -> None:
        self.streams.append("stream" if request["StreamSpecification"]["StreamEnabled"] else "no stream")

    def update_table(self, **request: Any) -> None:
        assert request["StreamSpecification"]["StreamEnabled"]
        self.streams.append("stream")

    def batch_write_item(self, **request: Any) -> dict[str, Any]:
        """Leave the last one unprocessed, as DynamoDB may."""
        ((table, puts),) = list(request["RequestItems"].items())[:1]
        done = puts[:-1] or puts
        for put in done:
            item = put["PutRequest"]["Item"]
            self.items[self._place({"TableName": table, "Item": item})] = item
        left = {**request["RequestItems"], table: puts[len(done) :]}
        return {"UnprocessedItems": {name: puts for name, puts in left.items() if puts}}

    def get_paginator(self, name: str) -> FakeDynamoDB:
        assert name == "scan"
        return self

    def paginate(self, **request: Any) -> list[dict[str, Any]]:
        assert request["ConsistentRead"]
        return [{"Items": [item]} for (table, _), item in self.items.items() if table == request["TableName"]]

    def _place(self, request: Any) -> tuple[str, str]:
        key = request.get("Key") or {name: request["Item"][name] for name in ("id", "at") if name in request["Item"]}
        return request["TableName"], str(sorted((name, *value.values()) for name, value in key.items()))

    def _write(self, request: Any, item: Item | None) -> None:
        self._before()
        place = self._place(request)
        with self._lock:
            before = self.items.get(place)
            if request["ConditionExpression"] == "attribute_not_exists(id)":
                meets = before is None
            else:
                assert request["ConditionExpression"] == "#version = :before"
                meets = before is not None and before["version"] == request["ExpressionAttributeValues"][":before"]
            if not meets:
                raise client_error("ConditionalCheckFailedException", 400)
            if item is None:
                assert before is not None
                self.done.append((place, "d", int(before["version"]["N"]) + 1))
                del self.items[place]
            else:
                self.done.append((place, "c" if before is None else "u", int(item["version"]["N"])))
                self.items[place] = item
                self.written.append(item)
        self._after()


def sometimes(fault: Fault, every: int) -> Fault:
    """Fail each so manieth call."""
    calls = 0

    def maybe() -> None:
        nonlocal calls
        calls += 1
        if calls % every == 0:
            fault()

    return maybe


def sequences(changes: list[tuple[tuple[str, str], str, int]]) -> list[list[tuple[str, int]]]:
    """The sequence of each item, in an order that does not depend on the items' names."""
    items: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for item, op, version in changes:
        items.setdefault(item, []).append((op, version))
    return sorted(items.values())


def recorded(history: list[Written]) -> list[list[tuple[str, int]]]:
    return sequences([((change.table, change.key), change.op, change.version) for change in history])


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload_module, "_RETRY_S", 0.0)


def test_each_item_counts_its_changes_from_one() -> None:
    client = FakeDynamoDB()
    history = Workload(client, TABLES, threads=3, items=30).run(2_000)
    assert len(history) == len(client.done) == 2_000
    assert recorded(history) == sequences(client.done)
    for sequence in recorded(history):
        assert [version for _, version in sequence] == list(range(1, len(sequence) + 1))
    assert set(Counter(change.op for change in history)) == {"c", "u", "d"}
    assert any(op == "c" and version > 1 for sequence in recorded(history) for op, version in sequence)


def test_loaded_items_are_no_changes_and_are_changed_from_there() -> None:
    client = FakeDynamoDB()
    workload = Workload(client, TABLES, threads=2, items=40)
    loaded = workload.create_loaded_tables()
    assert client.streams == ["no stream", "no stream", "stream", "stream"]
    assert len(loaded) == len(client.items) == 80
    assert workload.held() == {(item.table, item.key): 1 for item in loaded}
    history = workload.run(500)
    assert min(change.version for change in history) == 2
    alive = dict[tuple[str, str], int]()
    for change in [*loaded, *history]:
        alive[change.table, change.key] = 0 if change.op == "d" else change.version
    assert workload.held() == {item: version for item, version in alive.items() if version}


def test_an_item_says_when_and_as_what_version_it_was_written() -> None:
    client = FakeDynamoDB()
    begin_ns = time.time_ns()
    history = Workload(client, TABLES, threads=1, items=5).run(200)
    written = [(str(change.version), str(change.time_ns)) for change in history if change.op != "d"]
    assert [(item["version"]["N"], item["written_ns"]["N"]) for item in client.written] == written
    assert all(begin_ns <= change.time_ns <= time.time_ns() for change in history)


def test_the_key_is_canonical_json() -> None:
    history = Workload(FakeDynamoDB(), TABLES, items=30, threads=1).run(500)
    keys = {change.key for change in history}
    assert '{"id":"coffee-0"}' in keys
    assert any(key.startswith('{"at":') for key in keys)
    assert any("抹茶" in key for key in keys)


def test_all_ten_types_come_about() -> None:
    client = FakeDynamoDB()
    Workload(client, TABLES, threads=1).run(300)
    assert {tag for item in client.written for value in item.values() for tag in value} == TEN_TYPES


def test_some_items_are_hot_and_there_is_a_long_tail() -> None:
    history = Workload(FakeDynamoDB(), [TableSpec("orders")], threads=1, items=200).run(3_000)
    changes = Counter(change.key for change in history).most_common()
    assert len(changes) > 190
    assert changes[0][1] > 10 * changes[-1][1]


def test_the_seed_decides_what_is_written() -> None:
    def written(seed: int) -> list[list[tuple[str, int]]]:
        return recorded(Workload(FakeDynamoDB(), TABLES, seed=seed, threads=2).run(500))

    assert written(1) == written(1)
    assert written(1) != written(2)


@pytest.mark.parametrize("fault", [timed_out, server_error])
def test_a_write_that_was_done_but_not_answered_is_recorded_once(fault: Fault) -> None:
    client = FakeDynamoDB(after=sometimes(fault, every=7))
    history = Workload(client, TABLES, threads=1, items=20).run(1_000)
    assert len(history) == 1_000
    assert recorded(history) == sequences(client.done)


@pytest.mark.parametrize("fault", [timed_out, server_error])
def test_a_write_that_was_not_done_is_done_again(fault: Fault) -> None:
    client = FakeDynamoDB(before=sometimes(fault, every=5))
    history = Workload(client, TABLES, threads=1, items=20).run(1_000)
    assert recorded(history) == sequences(client.done)


def test_answers_lost_on_both_ways() -> None:
    client = FakeDynamoDB(sometimes(timed_out, every=5), sometimes(timed_out, every=7))
    history = Workload(client, TABLES, threads=4, items=40).run(1_000)
    assert recorded(history) == sequences(client.done)


def test_an_item_is_not_deleted_after_a_create_that_may_come_a_second_time() -> None:
    client = FakeDynamoDB(after=sometimes(timed_out, every=2))
    history = Workload(client, [TableSpec("orders")], threads=1, items=1).run(300)
    sent_again = [op for sequence in recorded(history) for op, _ in sequence]
    assert sent_again[-100:] == ["u"] * 100


def test_what_dynamodb_refuses_is_raised() -> None:
    def refuse() -> None:
        raise client_error("AccessDeniedException", 400)

    workload = Workload(FakeDynamoDB(before=sometimes(refuse, every=10)), TABLES)
    with pytest.raises(ClientError, match="AccessDenied"):
        workload.run(100)
    assert len(workload.history) < 100


def test_an_absent_dynamodb_is_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload_module, "_GIVE_UP_S", 0.05)
    with pytest.raises(ReadTimeoutError):
        Workload(FakeDynamoDB(before=timed_out), TABLES).run(1)


def test_the_rate_bounds_the_writes() -> None:
    workload = Workload(FakeDynamoDB(), TABLES, threads=2, rate=100)
    began_s = time.monotonic()
    workload.run(50)
    assert time.monotonic() - began_s > 0.4


def test_it_writes_until_it_is_stopped_and_may_go_on() -> None:
    workload = Workload(FakeDynamoDB(), TABLES)
    with workload:
        while len(workload.history) < 20:
            time.sleep(0.001)
    first = len(workload.history)
    workload.run(10)
    assert len(workload.history) == first + 10
