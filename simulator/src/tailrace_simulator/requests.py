"""The requests that the simulator understands: their shapes, and AWS's errors for what does not fit.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

import re
from typing import Any, Literal, TypeVar

import msgspec

from tailrace_simulator.aws_error import AwsError, invalid
from tailrace_simulator.streams import ViewType

ReturnValues = Literal["NONE", "ALL_OLD", "UPDATED_OLD", "ALL_NEW", "UPDATED_NEW"]


class Request(msgspec.Struct, rename="pascal", kw_only=True, forbid_unknown_fields=True):
    """A request's parameters, named as AWS names them."""


class _Table(Request):
    table_name: str


class _Counted(Request):
    return_consumed_capacity: Literal["NONE", "TOTAL", "INDEXES"] = "NONE"


class _OfItems(_Counted, kw_only=True):
    table_name: str


class _Expressed(_OfItems):
    expression_attribute_names: dict[str, str] | None = None
    expression_attribute_values: dict[str, Any] | None = None


class KeySchemaElement(Request):
    """One attribute of a primary key."""

    attribute_name: str
    key_type: Literal["HASH", "RANGE"]


class AttributeDefinition(Request):
    """A key attribute's type."""

    attribute_name: str
    attribute_type: Literal["S", "N", "B"]


class StreamSpecification(Request):
    """Whether a table has a stream, and what is in it."""

    stream_enabled: bool
    stream_view_type: ViewType | None = None


class ProvisionedThroughput(Request):
    """Capacity units a second. Reads are throttled by them; writes never are."""

    read_capacity_units: int
    write_capacity_units: int


class Tag(Request):
    """A tag of a table."""

    key: str
    value: str


class CreateTable(_Table, kw_only=True):
    """Secondary indexes are not supported; the last three parameters are accepted and ignored."""

    key_schema: list[KeySchemaElement]
    attribute_definitions: list[AttributeDefinition]
    billing_mode: Literal["PROVISIONED", "PAY_PER_REQUEST"] = "PROVISIONED"
    provisioned_throughput: ProvisionedThroughput | None = None
    stream_specification: StreamSpecification | None = None
    tags: list[Tag] = []
    sse_specification: Any = msgspec.field(default=None, name="SSESpecification")
    table_class: Any = None
    deletion_protection_enabled: Any = None


class DescribeTable(_Table):
    """Show a table."""


class DeleteTable(_Table):
    """Drop a table."""


class UpdateTable(_Table, kw_only=True):
    """Switch a table's stream on or off; nothing else can be changed."""

    stream_specification: StreamSpecification | None = None


class ListTables(Request):
    """List the tables' names, in their order."""

    exclusive_start_table_name: str | None = None
    limit: int = 100


class TagResource(Request):
    """Give a table tags, in place of those with the same keys."""

    resource_arn: str
    tags: list[Tag]


class UntagResource(Request):
    """Take tags from a table."""

    resource_arn: str
    tag_keys: list[str]


class ListTagsOfResource(Request):
    """Show a table's tags."""

    resource_arn: str
    next_token: str | None = None


class TagFilter(Request):
    """A tag that resources must have; without values, any value of it."""

    key: str
    values: list[str] = []


class GetResources(Request):
    """List the resources that have tags, as the Resource Groups Tagging API does."""

    pagination_token: str = ""
    resources_per_page: int = 50
    resource_type_filters: list[str] = []
    tag_filters: list[TagFilter] = []


class TimeToLiveSpecification(Request):
    """The attribute that says when an item expires."""

    enabled: bool
    attribute_name: str


class UpdateTimeToLive(_Table, kw_only=True):
    """Switch Time to Live on or off."""

    time_to_live_specification: TimeToLiveSpecification


class DescribeTimeToLive(_Table):
    """Show whether Time to Live is on."""


class _Write(_Expressed):
    condition_expression: str | None = None
    return_values: ReturnValues = "NONE"
    return_values_on_condition_check_failure: Literal["NONE", "ALL_OLD"] = "NONE"
    return_item_collection_metrics: Literal["NONE", "SIZE"] = "NONE"


class PutItem(_Write, kw_only=True):
    """Put one item."""

    item: dict[str, Any]


class UpdateItem(_Write, kw_only=True):
    """Change one item, or make it."""

    key: dict[str, Any]
    update_expression: str | None = None


class DeleteItem(_Write, kw_only=True):
    """Delete one item."""

    key: dict[str, Any]


class GetItem(_OfItems, kw_only=True):
    """Get one item; reads are always consistent."""

    key: dict[str, Any]
    consistent_read: bool = False
    projection_expression: str | None = None
    expression_attribute_names: dict[str, str] | None = None


class KeysAndAttributes(Request):
    """The items of one table that a batch reads."""

    keys: list[dict[str, Any]]
    consistent_read: bool = False
    projection_expression: str | None = None
    expression_attribute_names: dict[str, str] | None = None


class BatchGetItem(_Counted, kw_only=True):
    """Get up to 100 items; reads are always consistent."""

    request_items: dict[str, KeysAndAttributes]


class _PutRequest(Request):
    item: dict[str, Any]


class _DeleteRequest(Request):
    key: dict[str, Any]


class WriteRequest(Request):
    """One write of a batch: a put or a delete."""

    put_request: _PutRequest | None = None
    delete_request: _DeleteRequest | None = None


class BatchWriteItem(_Counted, kw_only=True):
    """Put and delete up to 25 items."""

    request_items: dict[str, list[WriteRequest]]
    return_item_collection_metrics: Literal["NONE", "SIZE"] = "NONE"


class KinesisConfiguration(Request):
    """How precise the creation times of change records in Kinesis are."""

    approximate_creation_date_time_precision: Literal["MILLISECOND", "MICROSECOND"] | None = None


class DescribeKinesisStreamingDestination(_Table):
    """Show which Kinesis streams a table's changes go to."""


class EnableKinesisStreamingDestination(_Table, kw_only=True):
    """Let a table's changes go to a Kinesis stream."""

    stream_arn: str
    enable_kinesis_streaming_configuration: KinesisConfiguration | None = None


class DisableKinesisStreamingDestination(_Table, kw_only=True):
    """Let a table's changes go to a Kinesis stream no longer."""

    stream_arn: str
    enable_kinesis_streaming_configuration: KinesisConfiguration | None = None


class UpdateKinesisStreamingDestination(_Table, kw_only=True):
    """Change how precise creation times are."""

    stream_arn: str
    update_kinesis_streaming_configuration: KinesisConfiguration | None = None


class Scan(_Expressed):
    """Read a table page by page."""

    limit: int | None = None
    exclusive_start_key: dict[str, Any] | None = None
    segment: int | None = None
    total_segments: int | None = None
    select: Literal["ALL_ATTRIBUTES", "COUNT", "SPECIFIC_ATTRIBUTES"] | None = None
    consistent_read: bool = False
    filter_expression: str | None = None
    projection_expression: str | None = None


class ShardFilter(Request):
    """Only the children of one shard."""

    type: Literal["CHILD_SHARDS"]
    shard_id: str | None = None


class DescribeStream(Request):
    """List a stream's shards page by page."""

    stream_arn: str
    limit: int = 100
    exclusive_start_shard_id: str | None = None
    shard_filter: ShardFilter | None = None


class GetShardIterator(Request):
    """Get a position to read from."""

    stream_arn: str
    shard_id: str
    shard_iterator_type: Literal["TRIM_HORIZON", "LATEST", "AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"]
    sequence_number: str | None = None


class GetRecords(Request):
    """Read the next page of a shard."""

    shard_iterator: str
    limit: int = 1000


class ListStreams(Request):
    """List the streams, those that were switched off too."""

    table_name: str | None = None
    limit: int = 100
    exclusive_start_stream_arn: str | None = None


_Shape = TypeVar("_Shape", bound=Request)


def parse(body: bytes, shape: type[_Shape]) -> _Shape:
    """Decode a request. Raises `AwsError`: SerializationException for wrong JSON, ValidationException for the rest."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise _refused(str(error), shape) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AwsError("SerializationException", f"The request is not JSON: {error}") from error


def method_of(operation: str) -> str:
    """Return an operation's name as Python's methods are named."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()


def check_range(value: int, name: str, most: int) -> None:
    """Raise `AwsError` unless 1 <= `value` <= `most`."""
    bounds = "greater than or equal to 1" if value < 1 else f"less than or equal to {most}"
    if not 1 <= value <= most:
        raise constraint(str(value), name, f"Member must have value {bounds}")


def constraint(value: str | None, name: str, what: str) -> AwsError:
    """Return AWS's error for a parameter that breaks its constraint."""
    shown = "null" if value is None else f"'{value}'"
    return invalid(f"1 validation error detected: Value {shown} at '{name}' failed to satisfy constraint: {what}")


def _refused(message: str, shape: type[Request]) -> AwsError:
    if missing := re.search(r"missing required field `(\w+)`", message):
        return constraint(None, missing[1][0].lower() + missing[1][1:], "Member must not be null")
    if unknown := re.search(r"unknown field `(\w+)`", message):
        return invalid(f"the simulator does not know the parameter {unknown[1]} of {shape.__name__}")
    if choice := re.search(r"Invalid enum value '(.*)' - at `\$\.?(.*)`", message):
        name = choice[2][:1].lower() + choice[2][1:]
        return constraint(choice[1], name, "Member must satisfy enum value set")
    if broken := re.search(
        r"Expected `(?:str|int|array)` (of length .*|matching .*|[<>]=? .*) - at `\$\.?(.*)`", message
    ):
        name = broken[2][:1].lower() + broken[2][1:]
        return invalid(f"1 validation error detected: Value at '{name}' failed to satisfy constraint: {broken[1]}")
    return AwsError("SerializationException", message)
