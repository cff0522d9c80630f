"""Kinesis's operations on records: putting them, and reading them by iterators. Pure."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any, Final

import msgspec

from tailrace_simulator.aws_error import AwsError
from tailrace_simulator.faults import Decision, Fault
from tailrace_simulator.kinesis import positions, requests
from tailrace_simulator.kinesis.account import Account, invalid_argument
from tailrace_simulator.kinesis.positions import ShardIterator
from tailrace_simulator.kinesis.shard_operations import child_shards
from tailrace_simulator.kinesis.shards import HASH_KEYS
from tailrace_simulator.kinesis.streams import Stream
from tailrace_simulator.sealed import seal
from tailrace_simulator.settings import Settings

Answer = dict[str, Any]
_PUT_BYTES_MAX: Final = 10 * 1024 * 1024
_SHORT_MAX: Final = 10


class RecordOperations:
    """One method an operation, named as AWS names it, in small letters. All raise `AwsError`."""

    def __init__(self, account: Account, settings: Settings) -> None:
        self._account = account
        self._settings = settings

    def put_record(self, request: requests.PutRecord, now_ms: int) -> Answer:
        """Put one record."""
        stream = self._account.stream(request.stream_name, request.stream_arn)
        return _put(stream, request, _data(stream, request), now_ms)

    def put_records(self, request: requests.PutRecords, now_ms: int, decision: Decision) -> Answer:
        """Put records in their order; with the fault some of them are throttled."""
        stream = self._account.stream(request.stream_name, request.stream_arn)
        data = [_data(stream, entry) for entry in request.records]
        if sum(map(len, data)) > _PUT_BYTES_MAX:
            raise invalid_argument("Records size exceeds 10 MB limit")
        refused: set[int] = set()
        if Fault.UNPROCESSED in decision.faults:
            count = decision.random.randint(1, len(data))
            refused = set(decision.random.sample(range(len(data)), count))
        results = [
            _throttled(stream) if place in refused else _put(stream, entry, data[place], now_ms)
            for place, entry in enumerate(request.records)
        ]
        return {"FailedRecordCount": len(refused), "Records": results}

    def get_shard_iterator(self, request: requests.GetShardIterator, now_ms: int) -> Answer:
        """Return a position to read from."""
        stream = self._account.stream(request.stream_name, request.stream_arn)
        shard = stream.shard(request.shard_id)
        after = positions.position(
            shard, request.shard_iterator_type, request.starting_sequence_number, request.timestamp, now_ms
        )
        shard.iterators.check(self._settings, now_ms)
        iterator = ShardIterator(stream.name, stream.created_ms, shard.shard_id, str(after), now_ms)
        return {"ShardIterator": seal(iterator)}

    def get_records(self, request: requests.GetRecords, now_ms: int, decision: Decision) -> bytes:
        """Return the answer's body: the records are encoded already."""
        iterator = positions.decode(request.shard_iterator)
        life_s = self._settings.kinesis_iterator_life_s
        if Fault.EXPIRED in decision.faults or now_ms - iterator.issued_ms > life_s * 1000:
            raise positions.expired(iterator, now_ms, life_s)
        stream = self._account.stream(iterator.stream, request.stream_arn)
        if stream.created_ms != iterator.created_ms:
            raise invalid_argument("The ShardIterator is one of a stream of this name that was deleted.")
        shard = stream.shard(iterator.shard_id)
        shard.reads.check(self._settings, now_ms)
        limit = request.limit
        if Fault.SHORT in decision.faults:
            limit = decision.random.randint(1, min(limit, _SHORT_MAX))
        if Fault.EMPTY in decision.faults:
            limit = 0
        page = stream.read(shard, int(iterator.after), limit, now_ms, late_end=Fault.LATE_END in decision.faults)
        shard.reads.size_bytes += page.size_bytes
        rest: Answer = {"MillisBehindLatest": page.behind_ms}
        if page.is_end:
            rest["ChildShards"] = child_shards(shard)
        else:
            following = msgspec.structs.replace(iterator, after=str(page.last), issued_ms=now_ms)
            rest["NextShardIterator"] = seal(following)
        return b'{"Records":[' + b",".join(page.bodies) + b"]," + msgspec.json.encode(rest)[1:]


def _data(stream: Stream, entry: requests.PutRecord | requests.PutRecordsEntry) -> bytes:
    """Return the bytes of a record to put. Raises `AwsError` for one that the stream does not take."""
    try:
        data = b64decode(entry.data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise AwsError("SerializationException", "Data is not base64") from error
    most = stream.record_kib * 1024
    if len(data) + len(entry.partition_key.encode("utf-8", "surrogatepass")) > most:
        raise AwsError(
            "ValidationException",
            f"1 validation error detected: Value at 'data' failed to satisfy constraint: Member must have length less "
            f"than or equal to {most}",
        )
    if entry.explicit_hash_key is not None and int(entry.explicit_hash_key) >= HASH_KEYS:
        raise invalid_argument(
            f"Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. "
            f"Specified value was {entry.explicit_hash_key}"
        )
    return data


def _put(stream: Stream, entry: requests.PutRecord | requests.PutRecordsEntry, data: bytes, now_ms: int) -> Answer:
    hash_key = None if entry.explicit_hash_key is None else int(entry.explicit_hash_key)
    shard, sequence = stream.put(entry.partition_key, data, now_ms, hash_key)
    return {"ShardId": shard.shard_id, "SequenceNumber": str(sequence)}


def _throttled(stream: Stream) -> Answer:
    return {
        "ErrorCode": "ProvisionedThroughputExceededException",
        "ErrorMessage": f"Rate exceeded for shard in stream {stream.name}.",
    }
