"""The requests of Kinesis Data Streams that the simulator understands.

Source: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from tailrace_simulator.kinesis.sequence_numbers import SEQUENCE_PATTERN
from tailrace_simulator.kinesis.streams import RECORD_KIB, StreamMode
from tailrace_simulator.requests import Request

Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[a-zA-Z0-9_.-]+$")]
Arn = Annotated[str, Meta(min_length=1, max_length=2048, pattern=r"^arn:aws.*:kinesis:.*:[0-9]{12}:stream/\S+$")]
ConsumerArn = Annotated[
    str, Meta(max_length=2048, pattern=r"^arn:aws.*:kinesis:.*:[0-9]{12}:.*stream/[\w.-]+/consumer/[\w.-]+:[0-9]+$")
]
HashKey = Annotated[str, Meta(pattern=r"^(0|([1-9][0-9]{0,38}))$")]
Sequence = Annotated[str, Meta(pattern=rf"^({SEQUENCE_PATTERN})$")]
Token = Annotated[str, Meta(min_length=1, max_length=1048576)]
PartitionKey = Annotated[str, Meta(min_length=1, max_length=256)]
PositionType = Literal["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"]
Count = Annotated[int, Meta(ge=1, le=10_000)]


class OfStream(Request, kw_only=True):
    """A request about a stream, named in one way or in both."""

    stream_name: Name | None = None
    stream_arn: Arn | None = field(default=None, name="StreamARN")
    stream_id: Any = None
    """Accepted and ignored: AWS reserves it."""


class StreamModeDetails(Request):
    """How a stream grows."""

    stream_mode: StreamMode


class CreateStream(Request, kw_only=True):
    """Make a stream; the last three parameters are accepted and ignored."""

    stream_name: Name
    shard_count: Annotated[int, Meta(ge=1)] | None = None
    stream_mode_details: StreamModeDetails | None = None
    max_record_size: Annotated[int, Meta(ge=1024, le=10240)] = field(default=RECORD_KIB, name="MaxRecordSizeInKiB")
    tags: Any = None
    warm_throughput: Any = field(default=None, name="WarmThroughputMiBps")
    record_distribution_strategy: Any = None


class DeleteStream(OfStream):
    """Drop a stream."""

    enforce_consumer_deletion: bool = False


class DescribeStream(OfStream):
    """Show a stream and its shards."""

    limit: Count = 100
    exclusive_start_shard_id: Name | None = None


class DescribeStreamSummary(OfStream):
    """Show a stream."""


class ListStreams(Request):
    """List the streams' names, in their order."""

    limit: Count = 100
    exclusive_start_stream_name: Name | None = None
    next_token: Token | None = None


class ShardFilter(Request):
    """Which shards are listed."""

    type: Literal[
        "AFTER_SHARD_ID", "AT_TRIM_HORIZON", "FROM_TRIM_HORIZON", "AT_LATEST", "AT_TIMESTAMP", "FROM_TIMESTAMP"
    ]
    shard_id: Name | None = None
    timestamp: float | None = None


class ListShards(OfStream):
    """List a stream's shards."""

    next_token: Token | None = None
    exclusive_start_shard_id: Name | None = None
    max_results: Count = 1000
    stream_creation_timestamp: float | None = None
    shard_filter: ShardFilter | None = None


class SplitShard(OfStream, kw_only=True):
    """Split a shard in two."""

    shard_to_split: Name
    new_starting_hash_key: HashKey


class MergeShards(OfStream, kw_only=True):
    """Merge two shards that are next to each other."""

    shard_to_merge: Name
    adjacent_shard_to_merge: Name


class UpdateShardCount(OfStream, kw_only=True):
    """Split and merge until there are so many shards."""

    target_shard_count: Annotated[int, Meta(ge=1)]
    scaling_type: Literal["UNIFORM_SCALING"]


class UpdateStreamMode(Request, kw_only=True):
    """Change how a stream grows; the last parameter is accepted and ignored."""

    stream_arn: Arn = field(name="StreamARN")
    stream_mode_details: StreamModeDetails
    stream_id: Any = None
    warm_throughput: Any = field(default=None, name="WarmThroughputMiBps")


class IncreaseStreamRetentionPeriod(OfStream, kw_only=True):
    """Keep records for longer."""

    retention_period_hours: int


class DecreaseStreamRetentionPeriod(OfStream, kw_only=True):
    """Keep records for less long."""

    retention_period_hours: int


class GetShardIterator(OfStream, kw_only=True):
    """Get a position to read from."""

    shard_id: Name
    shard_iterator_type: PositionType
    starting_sequence_number: Sequence | None = None
    timestamp: float | None = None


class GetRecords(Request, kw_only=True):
    """Read the next page of a shard."""

    shard_iterator: Annotated[str, Meta(min_length=1, max_length=512)]
    limit: Count = 10_000
    stream_arn: Arn | None = field(default=None, name="StreamARN")
    stream_id: Any = None


class PutRecord(OfStream, kw_only=True):
    """Put one record; `sequence_number_for_ordering` changes nothing: records are in the order of their calls."""

    data: str
    partition_key: PartitionKey
    explicit_hash_key: HashKey | None = None
    sequence_number_for_ordering: Sequence | None = None


class PutRecordsEntry(Request, kw_only=True):
    """One of several records to put."""

    data: str
    partition_key: PartitionKey
    explicit_hash_key: HashKey | None = None


class PutRecords(OfStream, kw_only=True):
    """Put up to 500 records."""

    records: Annotated[list[PutRecordsEntry], Meta(min_length=1, max_length=500)]


class RegisterStreamConsumer(Request, kw_only=True):
    """Register a consumer with enhanced fan-out; its tags are accepted and ignored."""

    stream_arn: Arn = field(name="StreamARN")
    consumer_name: Name
    stream_id: Any = None
    tags: Any = None


class _OfConsumer(Request, kw_only=True):
    stream_arn: Arn | None = field(default=None, name="StreamARN")
    consumer_name: Name | None = None
    consumer_arn: ConsumerArn | None = field(default=None, name="ConsumerARN")
    stream_id: Any = None


class DescribeStreamConsumer(_OfConsumer):
    """Show a consumer."""


class DeregisterStreamConsumer(_OfConsumer):
    """Forget a consumer."""


class ListStreamConsumers(Request, kw_only=True):
    """List a stream's consumers."""

    stream_arn: Arn = field(name="StreamARN")
    next_token: Token | None = None
    max_results: Count = 100
    stream_creation_timestamp: float | None = None
    stream_id: Any = None


class StartingPosition(Request):
    """Where a subscription begins."""

    type: PositionType
    sequence_number: Sequence | None = None
    timestamp: float | None = None


class SubscribeToShard(Request, kw_only=True):
    """Have a shard's records pushed."""

    consumer_arn: ConsumerArn = field(name="ConsumerARN")
    shard_id: Name
    starting_position: StartingPosition
    stream_id: Any = None
