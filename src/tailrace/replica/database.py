"""The DynamoDB of the copies: what a table is, and calls that are few and small, or many and without a parser."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from tailrace.aws.ask import Call, ask
from tailrace.aws.errors import RefusedRequestError
from tailrace.aws.http import AwsClient, open_pool
from tailrace.aws.session import AwsSession
from tailrace.core.ports import ReadError, ReadFailure
from tailrace.errors import UnreachableError, WorldError
from tailrace.replica.records import Copy
from tailrace.replica.requests import Request
from tailrace.sources.dynamodb.services import TABLES
from tailrace.sources.dynamodb.table_description import ACTIVE, TableDescription, describe_table, table_subject

CALLS_AT_ONCE: Final = 32
_TIMEOUT_S: Final = (3.0, 10.0)
"""To connect, and for an answer."""
_CREATION_S: Final = 60.0
_CHECK: Final = "check the network, replica.endpoint_url and replica.region"
_SERVICE: Final = msgspec.structs.replace(
    TABLES,
    hints={
        **TABLES.hints,
        ReadFailure.GONE: "make it with the keys of its source, or correct replica.tables and replica.region",
        ReadFailure.THROTTLED: "give the table more write capacity, or set replica.write_capacity",
    },
)

_Answer = TypeVar("_Answer")


class _TimeToLive(msgspec.Struct, frozen=True, rename="pascal"):
    time_to_live_status: str = "DISABLED"
    attribute_name: str | None = None


class _DescribedTimeToLive(msgspec.Struct, rename="pascal"):
    time_to_live_description: _TimeToLive = _TimeToLive()


class Database:
    """One account and region. Safe to use from many threads at once."""

    def __init__(self, session: AwsSession, sleep: Callable[[float], None] = time.sleep) -> None:
        """Open no connection yet. Raises WorldError when the endpoint is not known."""
        endpoint = session.endpoint(_SERVICE.endpoint_name)
        connect_s, answer_s = _TIMEOUT_S
        pool = open_pool(
            session, endpoint, connections=CALLS_AT_ONCE, connect_timeout_s=connect_s, read_timeout_s=answer_s
        )
        self._client = AwsClient(session, pool, endpoint, _SERVICE)
        self.region = session.region
        self._pool = pool
        self._sleep = sleep

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._pool.clear()

    def carry_out(self, request: Request) -> bytes:
        """Make a call, once, and return the answer's body. Raises `ReadError`."""
        return self._client.call(request.operation, request.payload, table_subject(request.subject, self.region))

    def ask(self, operation: str, request: dict[str, Any], answer: type[_Answer]) -> _Answer:
        """Return the decoded answer about `request["TableName"]`; up to three attempts.

        Raises RefusedRequestError for what DynamoDB does not take, UnreachableError for what may pass, and WorldError.
        """
        call = Call(self._client, operation, table_subject(request["TableName"], self.region))
        try:
            return ask(call, request, answer, self._sleep)
        except ReadError as error:
            raise _told(error) from error

    def copy_of(self, table: str, name: str) -> Copy:
        """Describe the copy of a table. Raises WorldError, when there is none, too."""
        described = self._describe(name)
        if described is None:
            raise WorldError(
                f"the table {name}, the copy of {table}, does not exist in {self.region}",
                hint=_SERVICE.hints[ReadFailure.GONE],
            )
        types = {each.attribute_name: each.attribute_type for each in described.attribute_definitions}
        key_types = {key.attribute_name: types.get(key.attribute_name, "S") for key in described.key_schema}
        found = self.ask("DescribeTimeToLive", {"TableName": name}, _DescribedTimeToLive).time_to_live_description
        is_on = found.time_to_live_status in {"ENABLED", "ENABLING"}
        return Copy(table, name, key_types, found.attribute_name if is_on else None)

    def make_table(self, name: str, key: str) -> None:
        """Make a table with one key attribute, text, unless there is one of this name. Raises WorldError."""
        if self.has_table(name):
            return
        request = {
            "TableName": name,
            "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
            "BillingMode": "PAY_PER_REQUEST",
        }
        try:
            self.ask("CreateTable", request, dict[str, Any])
        except RefusedRequestError as error:
            if not error.code.startswith("ResourceInUse"):  # another process was first
                raise WorldError(error.message, hint=error.hint) from error
        until_s = time.monotonic() + _CREATION_S
        while (made := self._describe(name)) is None or made.table_status != ACTIVE:
            if time.monotonic() > until_s:
                raise UnreachableError(f"the table {name} is not active {_CREATION_S:.0f} s after it was made")
            self._sleep(0.5)

    def has_table(self, name: str) -> bool:
        """Return whether there is a table of this name. Raises WorldError."""
        return self._describe(name) is not None

    def _describe(self, name: str) -> TableDescription | None:
        try:
            return describe_table(self._client, name, self.region, self._sleep)
        except ReadError as error:
            if error.failure is ReadFailure.GONE:
                return None
            raise _told(error) from error


def _told(error: ReadError) -> ReadError | WorldError:
    """Return the error for who waits for the answer."""
    if isinstance(error, RefusedRequestError):
        return error
    if error.failure in {ReadFailure.THROTTLED, ReadFailure.UNAVAILABLE}:
        return UnreachableError(error.message, hint=_CHECK if error.failure is ReadFailure.UNAVAILABLE else error.hint)
    return WorldError(error.message, hint=error.hint)
