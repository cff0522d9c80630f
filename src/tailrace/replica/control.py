"""The control table: how far the copies are, beside them, and which process may move that on.

Its items, by `id`: `replica` says what writes here; `epoch` is the last one handed out; `topic <name>` is the topic
that is copied, with its epoch; `position <name>/<partition>/<epoch>` says how far a partition is, and who owns it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from tailrace.aws.errors import RefusedRequestError
from tailrace.errors import WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.replica.version import next_epoch

KEY: Final = "id"
_FAILED: Final = "ConditionalCheckFailed"

Row = dict[str, dict[str, str]]
"""DynamoDB JSON whose values are of one text each."""
_Answer = TypeVar("_Answer")


class Found(msgspec.Struct, rename="pascal"):
    """The answer of GetItem."""

    item: Row | None = None


class Changed(msgspec.Struct, rename="pascal"):
    """The answer of UpdateItem."""

    attributes: Row = {}


class Asks(Protocol):
    """What is asked of a `Database`."""

    def ask(self, operation: str, request: dict[str, Any], answer: type[_Answer]) -> _Answer:
        """Make a call."""
        ...


class CopiedTopic(NamedTuple):
    """A topic that is copied."""

    topic_id: str
    epoch: int
    partitions: int


class Progress(NamedTuple):
    """How far a partition is."""

    next_offset: int
    last_ms: int
    """The time of the last record that was written; 0: none was."""
    committed_ms: int


class Control:
    """Every call raises WorldError, and UnreachableError for what may pass."""

    def __init__(
        self, database: Asks, table: str, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        """`table` exists."""
        self.table = table
        self._database = database
        self._now_ms = now_ms

    def found(self, definition: Mapping[str, str]) -> str:
        """Return the identity of the copies, a random name; `definition` says what must never change about them."""
        identity = f"{secrets.randbits(48):012x}"
        texts = {name: {"S": text} for name, text in {"identity": identity, **definition}.items()}
        self._put_new({KEY: {"S": "replica"}, **texts})
        found = self._get("replica") or {}
        for name, text in definition.items():
            before = found.get(name, {}).get("S", "")
            if before != text:
                raise WorldError(
                    f"the copies that {self.table} keeps track of are of another {name}: {before}, not {text}",
                    hint="name another replica.control_table and other tables, or delete them all to begin again",
                )
        return found["identity"]["S"]

    def is_founded(self) -> bool:
        """Return whether anything was copied yet."""
        return self._get("replica") is not None

    def topic(self, name: str, topic_id: str, partitions: int) -> CopiedTopic:
        """Return the topic of a name that is copied: this one, with an epoch beyond all others, if there is none."""
        found = self.known_topic(name)
        if found is None:
            row = {
                KEY: {"S": f"topic {name}"},
                "topic_id": {"S": topic_id},
                "epoch": {"N": str(self._new_epoch())},
                "partitions": {"N": str(partitions)},
            }
            self._put_new(row)
            found = self.known_topic(name)
            assert found is not None
        return found

    def known_topic(self, name: str) -> CopiedTopic | None:
        """Return the topic of a name that is copied; None: none is."""
        row = self._get(f"topic {name}")
        if row is None:
            return None
        return CopiedTopic(row["topic_id"]["S"], int(row["epoch"]["N"]), int(row["partitions"]["N"]))

    def claim(self, place: Place, epoch: int, owner: str) -> Progress | None:
        """Make a process the owner of a partition, and return how far it is; from now on no other can move it."""
        request = {
            "TableName": self.table,
            "Key": self._key(place, epoch),
            "UpdateExpression": "SET #owner = :owner",
            "ExpressionAttributeNames": {"#owner": "owner"},
            "ExpressionAttributeValues": {":owner": {"S": owner}},
            "ReturnValues": "ALL_NEW",
        }
        return _progress(self._database.ask("UpdateItem", request, Changed).attributes)

    def progress(self, place: Place, epoch: int) -> Progress | None:
        """Return how far a partition is."""
        return _progress(self._get(self._key(place, epoch)[KEY]["S"]))

    def owned(self, place: Place, epoch: int, owner: str) -> Progress | bool | None:
        """Return how far a partition is; False when another process owns it."""
        row = self._get(self._key(place, epoch)[KEY]["S"]) or {}
        return _progress(row) if row.get("owner", {}).get("S") == owner else False

    def move(self, place: Place, epoch: int, owner: str, progress: Progress, *, before: int | None) -> dict[str, Any]:
        """Return the Update that moves a position from `before`, if the process is still the owner.

        None as `before`: it has none yet.
        """
        at = "next_offset = :before" if before is not None else "attribute_not_exists(next_offset)"
        values = {":owner": {"S": owner}} | ({":before": {"N": str(before)}} if before is not None else {})
        fields = {f":{name}": {"N": str(number)} for name, number in progress._asdict().items()}
        return {
            "TableName": self.table,
            "Key": self._key(place, epoch),
            "UpdateExpression": "SET " + ", ".join(f"{name} = :{name}" for name in progress._fields),
            "ConditionExpression": f"#owner = :owner AND {at}",
            "ExpressionAttributeNames": {"#owner": "owner"},
            "ExpressionAttributeValues": values | fields,
        }

    def _key(self, place: Place, epoch: int) -> Row:
        return {KEY: {"S": f"position {place.topic}/{place.partition}/{epoch}"}}

    def _new_epoch(self) -> int:
        while True:
            row = self._get("epoch")
            epoch = next_epoch(int(row["last"]["N"]) if row is not None else None, self._now_ms() // 1000)
            request = {
                "TableName": self.table,
                "Key": {KEY: {"S": "epoch"}},
                "UpdateExpression": "SET #last = :last",
                "ConditionExpression": "attribute_not_exists(#last) OR #last < :last",
                "ExpressionAttributeNames": {"#last": "last"},
                "ExpressionAttributeValues": {":last": {"N": str(epoch)}},
            }
            if self._holds("UpdateItem", request):
                return epoch

    def _put_new(self, row: Row) -> None:
        """Put a row unless there is one of its key."""
        self._holds(
            "PutItem", {"TableName": self.table, "Item": row, "ConditionExpression": f"attribute_not_exists({KEY})"}
        )

    def _holds(self, operation: str, request: dict[str, Any]) -> bool:
        """Carry out a write; return False when its condition does not hold."""
        try:
            self._database.ask(operation, request, dict[str, Any])
        except RefusedRequestError as error:
            if error.code.startswith(_FAILED):
                return False
            raise
        return True

    def _get(self, name: str) -> Row | None:
        request = {"TableName": self.table, "Key": {KEY: {"S": name}}, "ConsistentRead": True}
        return self._database.ask("GetItem", request, Found).item


def _progress(row: Row | None) -> Progress | None:
    if row is None or "next_offset" not in row:
        return None
    return Progress(*(int(row[name]["N"]) for name in Progress._fields))
