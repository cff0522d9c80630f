"""The requests that bring a copy a state of an item, so that none goes back whatever the order they come in. Pure.

Sources: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_PutItem.html,
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html and
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from tailrace.errors import RecordError
from tailrace.replica.records import STAGE, ItemWrite
from tailrace.replica.version import version_text

TRANSACTION_ITEMS: Final = 99
"""A transaction has up to 100 actions; one is the position."""
TRANSACTION_BYTES: Final = 3 << 20
"""It has up to 4 MB."""
_UNIT_BYTES: Final = 1024

_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Request(NamedTuple):
    """A call of DynamoDB that may be repeated, and may come late."""

    operation: str
    payload: bytes
    subject: str
    """The table, as errors name it."""
    units: float
    """About so many write capacity units."""


class Versioned(NamedTuple):
    """How items say which state they are."""

    attribute: str
    keep_deleted_ms: int

    def request(self, write: ItemWrite, epoch: int, now_ms: int) -> Request:
        """Return the call that writes a state unless the item has a newer one. Raises `RecordError`.

        Of a deleted item its key and version stay for a while, as nothing else would stop an older state.
        """
        version = version_text(epoch, write.offset, deleted=write.item is None)
        added: dict[str, Any] = {self.attribute: {"S": version}}
        if write.item is None:
            text = write.keys
            if write.copy.ttl_attribute is not None:
                expires_s = (now_ms + self.keep_deleted_ms) // 1000
                added[write.copy.ttl_attribute] = {"N": str(expires_s)}
        else:
            text = write.item
            if self.attribute in _names(text):
                raise RecordError(
                    f"the item has an attribute {self.attribute} of its own",
                    stage=STAGE,
                    hint="set replica.version_attribute to a name that no item has",
                )
        request = {
            "TableName": write.copy.name,
            "Item": msgspec.Raw(text.rstrip()[:-1] + b"," + _encode(added)[1:]),
            "ConditionExpression": "attribute_not_exists(#v) OR #v < :v",
            "ExpressionAttributeNames": {"#v": self.attribute},
            "ExpressionAttributeValues": {":v": {"S": version}},
            "ReturnConsumedCapacity": "TOTAL",
        }
        return Request("PutItem", _encode(request), write.copy.name, 1 + write.size_bytes // _UNIT_BYTES)


def transaction(writes: Sequence[ItemWrite], position: dict[str, Any]) -> Request:
    """Return the call that writes states and moves the position, both or neither; `position` is its Update."""
    actions: list[dict[str, Any]] = [{"Update": position}]
    for write in writes:
        if write.item is None:
            actions.append({"Delete": {"TableName": write.copy.name, "Key": msgspec.Raw(write.keys)}})
        else:
            actions.append({"Put": {"TableName": write.copy.name, "Item": msgspec.Raw(write.item)}})
    request = {"TransactItems": actions, "ReturnConsumedCapacity": "TOTAL"}
    units = 2.0 * sum(1 + write.size_bytes // _UNIT_BYTES for write in writes) + 2
    subject = writes[0].copy.name if writes else position["TableName"]
    return Request("TransactWriteItems", _encode(request), subject, units)
