"""The tags of tables: those that have some, listed at once; and those of one table, from DynamoDB itself.

Sources: https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html and
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ListTagsOfResource.html
"""

from __future__ import annotations

import logging
import re
import time
import zlib
from collections.abc import Callable
from typing import Any, Final

import msgspec
from urllib3 import PoolManager

from tailrace.aws.ask import Call, ask
from tailrace.aws.errors import RefusedRequestError, Subject, broken
from tailrace.aws.http import AwsClient, Crc32
from tailrace.aws.pace import Pace
from tailrace.aws.service import Service
from tailrace.aws.session import AwsSession
from tailrace.core.ports import ReadError, ReadFailure
from tailrace.core.tags import WantedTags, in_words
from tailrace.sources.dynamodb.services import TABLES, TAGGING
from tailrace.sources.dynamodb.table_description import describe_table

_PER_PAGE: Final = 100
_PER_SECOND: Final = 5
"""DynamoDB allows an account 10 ListTagsOfResource a second."""
_PAGES_MAX: Final = 10_000
_TABLE_ARN: Final = re.compile(r"arn:[^:]*:dynamodb:[^:/]*:[^:/]*:table/([a-zA-Z0-9_.-]{1,255})")

logger = logging.getLogger("tailrace.sources")


class _Tag(msgspec.Struct, rename="pascal"):
    key: str
    value: str


class _TagPage(msgspec.Struct, rename="pascal"):
    tags: list[_Tag] = []
    next_token: str | None = None


class _Resource(msgspec.Struct):
    arn: str = msgspec.field(name="ResourceARN")


class _ResourcePage(msgspec.Struct, rename="pascal"):
    resource_tag_mapping_list: list[_Resource] = []
    pagination_token: str | None = None
    """Empty at the end."""


class TableTags:
    """Asks for tags of the tables of one account and region. Safe to call from many threads at once."""

    def __init__(
        self,
        session: AwsSession,
        pool: PoolManager,
        tables: AwsClient,
        *,
        make_client: Callable[[AwsSession, PoolManager, str, Service, Crc32], AwsClient] = AwsClient,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Ask DynamoDB through `tables`. Raises `WorldError` when the endpoint is not known."""
        endpoint = session.endpoint(TAGGING.endpoint_name)
        self._tagging = make_client(session, pool, endpoint, TAGGING, zlib.crc32)
        self._has_own_endpoint = endpoint == session.endpoint(TABLES.endpoint_name)
        """The file or the environment names one for all services: it may lack the tagging API."""
        self._lacks_tagging = False
        self._tables = tables
        self._region = session.region
        self._arns: dict[str, str] = {}
        self._pace = Pace(_PER_SECOND, clock, sleep)
        self._sleep = sleep

    def tables_with(self, wanted: WantedTags) -> frozenset[str] | None:
        """List the tables that have tags; None when the endpoint cannot. The list may lag behind.

        Raises `ReadError`.
        """
        if self._lacks_tagging:
            return None
        try:
            return self._list(wanted)
        except ReadError as error:
            is_refused = isinstance(error, RefusedRequestError) or error.failure is ReadFailure.DENIED
            if not (self._has_own_endpoint and is_refused):
                raise
            logger.warning(
                "the endpoint does not list tables by tags, so each table is asked for its own, %d a second: %s",
                _PER_SECOND,
                error,
            )
            self._lacks_tagging = True
            return None

    def of(self, table: str) -> dict[str, str]:
        """Return the tags of a table. Raises `ReadError`, GONE when there is no such table."""
        if table not in self._arns:
            self._arns[table] = describe_table(self._tables, table, self._region, self._sleep).table_arn
        arn = self._arns[table]
        call = Call(self._tables, "ListTagsOfResource", Subject(f"table {table}", arn), self._pace)
        request = {"ResourceArn": arn}
        tags: dict[str, str] = {}
        for _ in range(_PAGES_MAX):
            page = ask(call, request, _TagPage, self._sleep)
            tags |= {tag.key: tag.value for tag in page.tags}
            if not page.next_token:
                return tags
            request["NextToken"] = page.next_token
        raise _endless(call)

    def _list(self, wanted: WantedTags) -> frozenset[str]:
        call = Call(self._tagging, "GetResources", Subject(f"the tables with the tags {in_words(wanted)}", "*"))
        request: dict[str, Any] = {
            "ResourceTypeFilters": ["dynamodb:table"],
            "ResourcesPerPage": _PER_PAGE,
            "TagFilters": [{"Key": each.key} | ({"Values": each.values} if each.values else {}) for each in wanted],
        }
        names: set[str] = set()
        for _ in range(_PAGES_MAX):
            page = ask(call, request, _ResourcePage, self._sleep)
            for resource in page.resource_tag_mapping_list:
                found = _TABLE_ARN.fullmatch(resource.arn)
                if found is None:
                    raise broken(call.operation, call.subject, f"{resource.arn} is not the ARN of a table")
                names.add(found[1])
            if not page.pagination_token:
                return frozenset(names)
            request["PaginationToken"] = page.pagination_token
        raise _endless(call)


def _endless(call: Call) -> ReadError:
    return broken(call.operation, call.subject, f"it has more than {_PAGES_MAX} pages")
