"""DynamoDB as copies of tables use it, in memory: answers are lost, and requests come late or twice, from a seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from random import Random
from typing import Any, TypeVar

import msgspec

from tailrace.aws.errors import RefusedRequestError
from tailrace.core.ports import ReadError, ReadFailure
from tailrace.errors import UnreachableError
from tailrace.replica.requests import Request

_Answer = TypeVar("_Answer")
_Item = dict[str, Any]


class Inline(Executor):
    """Does what it is given at once."""

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **more: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*arguments, **more))
        except BaseException as error:
            future.set_exception(error)
        return future


class Target:
    """All tables; the key of an item is its `id`."""

    def __init__(self, random: Random) -> None:
        self.tables: dict[str, dict[str, _Item]] = {}
        self.went_back: list[str] = []
        """Items of which an older state followed a newer one: their attribute `at` became less."""
        self.is_calm = False
        self.interrupt: Callable[[], None] = lambda: None
        """Called before a request is carried out, and after."""
        self._random = random
        self._late: list[tuple[str, bytes]] = []
        self._newest: dict[str, int] = {}

    def carry_out(self, request: Request) -> bytes:
        """Carry out a request, or lose it, or its answer."""
        return self._meet(request.operation, request.payload)

    def ask(self, operation: str, request: _Item, answer: type[_Answer]) -> _Answer:
        """The same, decoded."""
        try:
            return msgspec.json.decode(self._meet(operation, msgspec.json.encode(request)), type=answer)
        except RefusedRequestError:
            raise
        except ReadError as error:
            raise UnreachableError(error.message) from error

    def deliver(self, table: str = "") -> None:
        """Let all come that is late, or what is of one table."""
        late, self._late = self._late, []
        for each in late:
            if table.encode() in each[1]:
                self._come(each)
            else:
                self._late.append(each)

    def _meet(self, operation: str, payload: bytes) -> bytes:
        self.interrupt()
        if self.is_calm:
            return self._do(operation, payload)
        if self._late and self._random.random() < 0.3:
            self._come(self._late.pop(self._random.randrange(len(self._late))))
        fate = self._random.random()
        if fate < 0.05:  # on its way for long
            self._late.append((operation, payload))
        if fate < 0.08:
            raise ReadError("no answer", ReadFailure.UNAVAILABLE)
        if fate < 0.12:
            raise ReadError("slow down", ReadFailure.THROTTLED)
        answer = self._do(operation, payload)
        if fate < 0.16:  # a proxy sends it again
            self._late.append((operation, payload))
        self.interrupt()
        if fate < 0.22:
            raise ReadError("the answer is lost", ReadFailure.UNAVAILABLE)
        return answer

    def _come(self, late: tuple[str, bytes]) -> None:
        try:
            self._do(*late)
        except RefusedRequestError:
            return

    def _do(self, operation: str, payload: bytes) -> bytes:
        request = json.loads(payload)
        if operation == "GetItem":
            item = self._table(request).get(request["Key"]["id"]["S"])
            return json.dumps({"Item": item} if item is not None else {}).encode()
        if operation == "TransactWriteItems":
            actions = [each for action in request["TransactItems"] for each in action.items()]
            reasons = [{"Code": "None" if self._holds(each) else "ConditionalCheckFailed"} for _, each in actions]
            if any(each["Code"] != "None" for each in reasons):
                raise _refused("TransactionCanceledException", {"CancellationReasons": reasons})
            for kind, each in actions:
                self._write(kind, each)
            return b"{}"
        if not self._holds(request):
            raise _refused("ConditionalCheckFailedException", {})
        return json.dumps({"Attributes": self._write(operation.removesuffix("Item"), request)}).encode()

    def _write(self, kind: str, request: _Item) -> _Item:
        item: _Item
        key: _Item = request.get("Key") or request["Item"]
        table, name = self._table(request), key["id"]["S"]
        if kind == "Delete":
            table.pop(name, None)
            return {}
        if kind == "Put":
            item = request["Item"]
        else:
            item = {**(table.get(name) or key)}
            for part in request["UpdateExpression"].removeprefix("SET ").split(", "):
                attribute, value = part.split(" = ")
                names = request.get("ExpressionAttributeNames", {})
                item[names.get(attribute, attribute)] = request["ExpressionAttributeValues"][value]
        table[name] = item
        if "at" in item:
            at = int(item["at"]["N"])
            if at < self._newest.get(name, -1):
                self.went_back.append(f"{name}: {at} after {self._newest[name]}")
            self._newest[name] = max(at, self._newest.get(name, -1))
        return item

    def _holds(self, request: _Item) -> bool:
        key = request.get("Key") or request["Item"]
        item = self._table(request).get(key["id"]["S"], {})

        def holds(term: str) -> bool:
            if term.startswith("attribute_not_exists("):
                return self._name(request, term[21:-1]) not in item
            attribute, compare, value = term.split(" ")
            found = item.get(self._name(request, attribute))
            wanted = request["ExpressionAttributeValues"][value]
            if found is None or found.keys() != wanted.keys():
                return False
            (one,), (other,) = found.values(), wanted.values()
            if "N" in found:
                one, other = int(one), int(other)
            return bool(one < other) if compare == "<" else bool(one == other)

        text = request.get("ConditionExpression")
        if not text:
            return True
        return any(all(holds(term) for term in each.split(" AND ")) for each in text.split(" OR "))

    @staticmethod
    def _name(request: _Item, name: str) -> str:
        return str(request.get("ExpressionAttributeNames", {}).get(name, name))

    def _table(self, request: _Item) -> dict[str, _Item]:
        return self.tables.setdefault(request["TableName"], {})


def _refused(code: str, body: _Item) -> RefusedRequestError:
    return RefusedRequestError("refused", ReadFailure.UNAVAILABLE, code=code, body=json.dumps(body).encode())
