"""Kinesis's operations on streams as a whole: a request in, the answer out. Pure."""

from __future__ import annotations

from typing import Any, Final

from tailrace_simulator.aws_error import AwsError
from tailrace_simulator.kinesis import requests
from tailrace_simulator.kinesis.account import Account, in_use, invalid_argument
from tailrace_simulator.kinesis.shard_operations import listed
from tailrace_simulator.kinesis.streams import Stream
from tailrace_simulator.settings import Settings

Answer = dict[str, Any]
_RETENTION_HOURS: Final = range(24, 8761)


class StreamOperations:
    """One method an operation, named as AWS names it, in small letters. All raise `AwsError`."""

    def __init__(self, account: Account, settings: Settings) -> None:
        self._account = account
        self._settings = settings

    def create_stream(self, request: requests.CreateStream, now_ms: int) -> Answer:
        """Make a stream; it takes records at once."""
        details = request.stream_mode_details
        mode = details.stream_mode if details else "PROVISIONED"
        if mode == "PROVISIONED" and request.shard_count is None:
            raise AwsError("ValidationException", "ShardCount must not be null for a provisioned stream.")
        if mode == "ON_DEMAND" and request.shard_count is not None:
            raise AwsError("ValidationException", "ShardCount must not be given for an on-demand stream.")
        shards = request.shard_count or self._settings.on_demand_shards
        self._account.create(request.stream_name, mode, shards, request.max_record_size, now_ms)
        return {}

    def delete_stream(self, request: requests.DeleteStream, now_ms: int) -> Answer:
        """Drop a stream at once."""
        stream = self._account.stream(request.stream_name, request.stream_arn)
        self._account.delete(stream, with_consumers=request.enforce_consumer_deletion)
        return {}

    def describe_stream(self, request: requests.DescribeStream, now_ms: int) -> Answer:
        """Show a stream and its shards."""
        stream = self._account.stream(request.stream_name, request.stream_arn)
        start = request.exclusive_start_shard_id
        shards = [shard for name, shard in stream.shards.items() if start is None or name > start]
        description = _description(stream, now_ms) | {
            "Shards": [listed(shard) for shard in shards[: request.limit]],
            "HasMoreShards": len(shards) > request.limit,
        }
        return {"StreamDescription": description}

    def describe_stream_summary(self, request: requests.DescribeStreamSummary, now_ms: int) -> Answer:
        """Show a stream."""
        stream = self._account.stream(request.stream_name, request.stream_arn)
        summary = _description(stream, now_ms) | {
            "OpenShardCount": len(stream.open_shards),
            "ConsumerCount": len(self._account.consumers_of(stream)),
            "MaxRecordSizeInKiB": stream.record_kib,
        }
        return {"StreamDescriptionSummary": summary}

    def list_streams(self, request: requests.ListStreams, now_ms: int) -> Answer:
        """List the streams' names; NextToken is the last name."""
        start = request.exclusive_start_stream_name or request.next_token
        streams = [stream for name, stream in sorted(self._account.streams.items()) if start is None or name > start]
        page = streams[: request.limit]
        has_more = len(streams) > len(page)
        answer: Answer = {
            "StreamNames": [stream.name for stream in page],
            "HasMoreStreams": has_more,
            "StreamSummaries": [_summary(stream, now_ms) for stream in page],
        }
        return answer | ({"NextToken": page[-1].name} if has_more else {})

    def update_stream_mode(self, request: requests.UpdateStreamMode, now_ms: int) -> Answer:
        """Change how a stream grows."""
        stream = self._account.stream(None, request.stream_arn)
        check_active(stream, now_ms)
        mode = request.stream_mode_details.stream_mode
        if mode == stream.mode:
            raise AwsError("ValidationException", f"Stream {stream.name} is in the capacity mode {mode} already.")
        stream.mode = mode
        stream.change("UPDATING", now_ms)
        return {}

    def increase_stream_retention_period(self, request: requests.IncreaseStreamRetentionPeriod, now_ms: int) -> Answer:
        """Keep records for longer."""
        return self._keep(request, now_ms, is_longer=True)

    def decrease_stream_retention_period(self, request: requests.DecreaseStreamRetentionPeriod, now_ms: int) -> Answer:
        """Keep records for less long; what is too old then goes at once."""
        return self._keep(request, now_ms, is_longer=False)

    def _keep(
        self,
        request: requests.IncreaseStreamRetentionPeriod | requests.DecreaseStreamRetentionPeriod,
        now_ms: int,
        *,
        is_longer: bool,
    ) -> Answer:
        stream = self._account.stream(request.stream_name, request.stream_arn)
        check_active(stream, now_ms)
        hours = request.retention_period_hours
        if hours not in _RETENTION_HOURS:
            raise invalid_argument(f"Retention period must be from 24 to 8760 hours, and is {hours}.")
        if hours == stream.retention_hours or (hours > stream.retention_hours) is not is_longer:
            raise invalid_argument(
                f"Requested retention period ({hours} hours) for stream {stream.name} must be "
                f"{'more' if is_longer else 'less'} than the current one ({stream.retention_hours} hours)."
            )
        stream.retention_hours = hours
        stream.tick(now_ms)
        stream.change("UPDATING", now_ms)
        return {}


def check_active(stream: Stream, now_ms: int) -> None:
    """Raise `AwsError` for a stream that is still changing."""
    if (status := stream.status(now_ms)) != "ACTIVE":
        raise in_use(f"Stream {stream.name} not ACTIVE, instead in state {status}")


def _summary(stream: Stream, now_ms: int) -> Answer:
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": stream.status(now_ms),
        "StreamModeDetails": {"StreamMode": stream.mode},
        "StreamCreationTimestamp": stream.created_ms // 1000,
    }


def _description(stream: Stream, now_ms: int) -> Answer:
    return _summary(stream, now_ms) | {
        "RetentionPeriodHours": stream.retention_hours,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
    }
