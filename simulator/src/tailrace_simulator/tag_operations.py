"""The tags of tables: DynamoDB's operations, and GetResources of the Resource Groups Tagging API. Pure.

Source: https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html
"""

from __future__ import annotations

from typing import Any, Final

from tailrace_simulator import requests
from tailrace_simulator.aws_error import AwsError, invalid, not_found
from tailrace_simulator.settings import Settings
from tailrace_simulator.tables import Database, Table

TAG_OPERATIONS: Final = frozenset({"TagResource", "UntagResource", "ListTagsOfResource", "GetResources"})
_TAGS_MAX: Final = 50
_TAGS_PER_PAGE: Final = 10
_VALUES_MAX: Final = 20
_PER_PAGE_MAX: Final = 100
_TYPES: Final = {"dynamodb", "dynamodb:table"}


class TagOperations:
    """One method an operation, named as AWS names it, in small letters. All raise `AwsError`."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def tag_resource(self, request: requests.TagResource, now_ms: int) -> dict[str, Any]:
        """Give a table tags."""
        table = self._table(request.resource_arn)
        if not request.tags or any(not tag.key for tag in request.tags):
            raise invalid("Atleast one Tag needs to be provided as Input, and each needs a key")
        tags = table.tags | {tag.key: tag.value for tag in request.tags}
        if len(tags) > _TAGS_MAX:
            raise AwsError("LimitExceededException", "Cannot have more than 50 tags on a resource")
        table.set_tags(tags, now_ms)
        return {}

    def untag_resource(self, request: requests.UntagResource, now_ms: int) -> dict[str, Any]:
        """Take tags from a table; those that it does not have do not matter."""
        table = self._table(request.resource_arn)
        table.set_tags({key: value for key, value in table.tags.items() if key not in request.tag_keys}, now_ms)
        return {}

    def list_tags_of_resource(self, request: requests.ListTagsOfResource, now_ms: int) -> dict[str, Any]:
        """Show a table's tags, ten a page."""
        tags = self._table(request.resource_arn).tags
        start = _number(request.next_token or "0")
        page = sorted(tags)[start : start + _TAGS_PER_PAGE]
        more = {"NextToken": f"{start + len(page)}"} if len(tags) > start + len(page) else {}
        return {"Tags": [{"Key": key, "Value": tags[key]} for key in page]} | more

    def get_resources(self, request: requests.GetResources, now_ms: int) -> dict[str, Any]:
        """List the tables that have all the tags; the list may lag behind."""
        if not 1 <= request.resources_per_page <= _PER_PAGE_MAX:
            raise _invalid_parameter("ResourcesPerPage must be from 1 to 100")
        if len(request.tag_filters) > _TAGS_MAX or any(len(each.values) > _VALUES_MAX for each in request.tag_filters):
            raise _invalid_parameter("there can be 50 tag filters, each with 20 values")
        if unknown := set(request.resource_type_filters) - _TYPES:
            raise _invalid_parameter(f"the simulator has no resources of type {', '.join(sorted(unknown))}")
        found = [
            (table.arn, tags)
            for _, table in sorted(self._database.tables.items())
            if (tags := self._shown(table, now_ms)) and all(_has(tags, each) for each in request.tag_filters)
        ]
        start = _number(request.pagination_token or "0")
        page = found[start : start + request.resources_per_page]
        end = start + len(page)
        return {
            "PaginationToken": f"{end}" if end < len(found) else "",
            "ResourceTagMappingList": [
                {"ResourceARN": arn, "Tags": [{"Key": key, "Value": value} for key, value in sorted(tags.items())]}
                for arn, tags in page
            ],
        }

    def _shown(self, table: Table, now_ms: int) -> dict[str, str]:
        is_late = now_ms - table.tagged_ms < self._settings.tag_lag_s * 1000
        return table.tags_before if is_late else table.tags

    def _table(self, arn: str) -> Table:
        table = self._database.tables.get(arn.rpartition("/")[2])
        if table is None or table.arn != arn:
            raise not_found(f"Requested resource not found: ResourcArn: {arn} not found")
        return table


def _has(tags: dict[str, str], wanted: requests.TagFilter) -> bool:
    return wanted.key in tags and (not wanted.values or tags[wanted.key] in wanted.values)


def _number(token: str) -> int:
    if not token.isdecimal() or not token.isascii() or len(token) > len(f"{2**31}"):
        raise invalid("Invalid token")
    return int(token)


def _invalid_parameter(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)
