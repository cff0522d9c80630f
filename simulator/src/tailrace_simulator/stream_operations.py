"""DynamoDB Streams' operations: a request in, the answer out. Pure."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgspec

from tailrace_simulator import iterators, requests
from tailrace_simulator.aws_error import AwsError, invalid_parameter
from tailrace_simulator.faults import Decision, Fault
from tailrace_simulator.iterators import ShardIterator
from tailrace_simulator.settings import Settings
from tailrace_simulator.streams import Shard, trimmed
from tailrace_simulator.tables import Database

_SHARDS_MAX: Final = 100
_STREAMS_MAX: Final = 100
_RECORDS_MAX: Final = 1000
_SEQUENCE_DIGITS: Final = range(21, 41)


class StreamOperations:
    """One method an operation, named as AWS names it, in small letters. All raise `AwsError`."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._readers = 0
        self._described_ms: deque[int] = deque()
        """When DescribeStream was called within the last second."""

    def list_streams(self, request: requests.ListStreams, now_ms: int) -> dict[str, Any]:
        """List the streams, those that were switched off too."""
        requests.check_range(request.limit, "limit", _STREAMS_MAX)
        start = request.exclusive_start_stream_arn
        streams = [
            stream
            for arn, stream in sorted(self._database.streams.items())
            if request.table_name in {None, stream.table} and (start is None or arn > start)
        ]
        page = streams[: request.limit]
        more = {"LastEvaluatedStreamArn": page[-1].arn} if len(streams) > len(page) else {}
        shown = [{"StreamArn": each.arn, "TableName": each.table, "StreamLabel": each.label} for each in page]
        return {"Streams": shown} | more

    def describe_stream(self, request: requests.DescribeStream, now_ms: int, decision: Decision) -> dict[str, Any]:
        """List a stream's shards, as far as listings are up to date."""
        requests.check_range(request.limit, "limit", _SHARDS_MAX)
        self._check_describe_rate(now_ms)
        stream = self._database.stream(request.stream_arn)
        if Fault.HOLE in decision.faults:
            stream.hide(decision.random)
        parent = request.shard_filter.shard_id if request.shard_filter else None
        page = stream.describe(
            request.limit,
            request.exclusive_start_shard_id,
            lambda shard: parent is None or shard.parent_id == parent,
        )
        description = {
            "StreamArn": stream.arn,
            "StreamLabel": stream.label,
            "StreamStatus": "ENABLED" if stream.disabled_ms is None else "DISABLED",
            "StreamViewType": stream.view_type,
            "CreationRequestDateTime": stream.created_ms / 1000,
            "TableName": stream.table,
            "KeySchema": [
                {"AttributeName": name, "KeyType": role}
                for name, role in zip(stream.key_names, ("HASH", "RANGE"), strict=False)
            ],
            "Shards": [_listed(shard, closed=closed) for shard, closed in page.shards],
        }
        if page.last is not None:
            description["LastEvaluatedShardId"] = page.last
        return {"StreamDescription": description}

    def get_shard_iterator(self, request: requests.GetShardIterator, now_ms: int) -> dict[str, Any]:
        """Return a position to read from."""
        stream = self._database.stream(request.stream_arn)
        shard = stream.shard(request.shard_id)
        after = _position(request, shard)
        self._readers += 1
        iterator = ShardIterator(stream.arn, shard.shard_id, str(after), now_ms, self._readers, 0)
        return {"ShardIterator": iterators.encode(iterator)}

    def get_records(self, request: requests.GetRecords, now_ms: int, decision: Decision) -> bytes:
        """Return the answer's body: the records are encoded already."""
        requests.check_range(request.limit, "limit", _RECORDS_MAX)
        iterator = iterators.decode(request.shard_iterator)
        if Fault.EXPIRED in decision.faults or now_ms - iterator.issued_ms > self._settings.iterator_life_s * 1000:
            raise iterators.expired()
        stream = self._database.stream(iterator.stream_arn)
        shard = stream.shard(iterator.shard_id)
        self._check_readers(shard, iterator, now_ms)
        limit = request.limit
        if Fault.SHORT in decision.faults:
            limit = decision.random.randint(1, min(limit, 10))
        page = stream.read(shard, int(iterator.after), limit, late_end=Fault.LATE_END in decision.faults)
        bodies, after = page.bodies, page.after
        if Fault.EMPTY in decision.faults:
            bodies, after = [], int(iterator.after)
        following = b""
        if after is not None:
            text = iterators.encode(
                msgspec.structs.replace(iterator, after=str(after), issued_ms=now_ms, uses=iterator.uses + 1)
            )
            following = b',"NextShardIterator":' + msgspec.json.encode(text)
        return b'{"Records":[' + b",".join(bodies) + b"]" + following + b"}"

    def _check_describe_rate(self, now_ms: int) -> None:
        most = self._settings.describe_stream_per_second
        while self._described_ms and self._described_ms[0] <= now_ms - 1000:
            self._described_ms.popleft()
        if most and len(self._described_ms) >= most:
            raise AwsError("ThrottlingException", "Rate of requests exceeds the allowed throughput.")
        self._described_ms.append(now_ms)

    def _check_readers(self, shard: Shard, iterator: ShardIterator, now_ms: int) -> None:
        """Refuse one reader too many.

        A reader counts from its second page on, so that a client that asks for an iterator again is not a second one.
        """
        most = self._settings.readers_per_shard
        since_ms = now_ms - self._settings.reader_window_s * 1000
        active = {reader: at_ms for reader, at_ms in shard.readers.items() if at_ms > since_ms}
        if iterator.uses:
            if most and iterator.reader not in active and len(active) >= most:
                raise AwsError("LimitExceededException", f"Too many readers of shard {shard.shard_id}: at most {most}")
            active[iterator.reader] = now_ms
        shard.readers = active


def _listed(shard: Shard, *, closed: bool) -> dict[str, Any]:
    numbers = {"StartingSequenceNumber": str(shard.starting)}
    if closed:
        numbers["EndingSequenceNumber"] = str(shard.ending)
    listed: dict[str, Any] = {"ShardId": shard.shard_id, "SequenceNumberRange": numbers}
    if shard.parent_id is not None:
        listed["ParentShardId"] = shard.parent_id
    return listed


def _position(request: requests.GetShardIterator, shard: Shard) -> int:
    """Return the sequence number after which reading starts."""
    kind, text = request.shard_iterator_type, request.sequence_number
    if kind in {"TRIM_HORIZON", "LATEST"}:
        if text is not None:
            raise invalid_parameter("SequenceNumber should not be passed for this iterator type")
        newest = shard.sequences[-1] if shard.sequences else shard.trimmed_through
        return shard.trimmed_through if kind == "TRIM_HORIZON" else newest
    if text is None:
        raise invalid_parameter("Invalid SequenceNumber")
    if len(text) not in _SEQUENCE_DIGITS:
        bound = "greater than or equal to 21" if len(text) < _SEQUENCE_DIGITS.start else "less than or equal to 40"
        raise requests.constraint(text, "sequenceNumber", f"Member must have length {bound}")
    if not (text.isascii() and text.isdecimal()):
        raise invalid_parameter("Invalid SequenceNumber")
    sequence = int(text)
    if sequence < shard.starting or (shard.ending is not None and sequence > shard.ending):
        raise invalid_parameter(f"SequenceNumber {text} is not one of shard {shard.shard_id}")
    if sequence <= shard.trimmed_through:
        raise trimmed()
    return sequence if kind == "AFTER_SEQUENCE_NUMBER" else sequence - 1
