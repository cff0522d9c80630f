"""Kinesis Data Streams as one service: which request goes where, and what its calls are counted by. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from tailrace_simulator.aws_error import AwsError
from tailrace_simulator.faults import KINESIS_OPERATIONS, KINESIS_PREFIX, PUTS, Decision, Fault
from tailrace_simulator.kinesis import positions, requests
from tailrace_simulator.kinesis.account import Account
from tailrace_simulator.kinesis.consumer_operations import ConsumerOperations, Push, Subscription
from tailrace_simulator.kinesis.record_operations import RecordOperations
from tailrace_simulator.kinesis.shard_operations import ShardOperations
from tailrace_simulator.kinesis.shards import Shard
from tailrace_simulator.kinesis.stream_operations import StreamOperations
from tailrace_simulator.kinesis.streams import Stream
from tailrace_simulator.requests import Request, method_of
from tailrace_simulator.settings import Settings

SHAPES: Final[dict[str, type[Request]]] = {
    name: getattr(requests, name.removeprefix(KINESIS_PREFIX)) for name in KINESIS_OPERATIONS
}


class KinesisService:
    """Answers requests. Not safe to use from many threads at once."""

    def __init__(self, *, region: str, account: str, seed: int, settings: Settings) -> None:
        self.account = Account(region=region, account=account, seed=seed, settings=settings)
        self._consumers = ConsumerOperations(self.account, settings)
        parts = (
            StreamOperations(self.account, settings),
            ShardOperations(self.account),
            RecordOperations(self.account, settings),
            self._consumers,
        )
        methods = {name: method_of(name.removeprefix(KINESIS_PREFIX)) for name in KINESIS_OPERATIONS}
        self._calls: dict[str, Callable[..., Any]] = {
            operation: next(getattr(part, method) for part in parts if hasattr(part, method))
            for operation, method in methods.items()
        }

    def carry_out(
        self, operation: str, request: Request, now_ms: int, decision: Decision
    ) -> dict[str, Any] | bytes | Subscription:
        """Carry out a request. Raises `AwsError`."""
        if operation in PUTS and (stream := self._named(request)):
            reshard(stream, decision, now_ms)
        draws = isinstance(request, requests.GetRecords | requests.PutRecords)
        answer: dict[str, Any] | bytes | Subscription = self._calls[operation](
            request, now_ms, *([decision] if draws else [])
        )
        return answer

    def push(self, subscription: Subscription, now_ms: int) -> Push:
        """Return what a subscription's client is sent now."""
        return self._consumers.push(subscription, now_ms)

    def subject(self, request: Request) -> tuple[str, str]:
        """Return the stream that a request is about, and its subject: what its calls are counted by."""
        shard_id = getattr(request, "shard_id", None)
        match request:
            case requests.GetRecords():
                try:
                    iterator = positions.decode(request.shard_iterator)
                except AwsError:
                    return "", ""
                stream, shard_id = self.account.streams.get(iterator.stream), iterator.shard_id
            case requests.SubscribeToShard():
                consumer = self.account.consumers.get(request.consumer_arn)
                stream = consumer.stream if consumer else None
            case requests.CreateStream():
                return request.stream_name, request.stream_name
            case _:
                stream = self._named(request)
        if stream is None:
            return "", ""
        shard = stream.shards.get(shard_id or "")
        return stream.name, f"{stream.name}/{shard.ordinal}" if shard else stream.name

    def state(self, now_ms: int) -> dict[str, Any]:
        """Return how every stream stands."""
        return {name: _stream_state(stream, now_ms) for name, stream in sorted(self.account.streams.items())}

    def _named(self, request: Request) -> Stream | None:
        name = getattr(request, "stream_name", None) or (getattr(request, "stream_arn", None) or "").rpartition("/")[2]
        return self.account.streams.get(name)


def reshard(stream: Stream, decision: Decision, now_ms: int) -> None:
    """Split or merge shards before a record is put, if that was drawn."""
    rng = decision.random
    divisible = [shard for shard in stream.open_shards if shard.high > shard.low]
    if Fault.SPLIT in decision.faults and divisible:
        shard = rng.choice(divisible)
        stream.split(shard, rng.randint(shard.low + 1, shard.high), now_ms)
    if Fault.MERGE in decision.faults:
        merge_any(stream, None, rng, now_ms)


def merge_any(stream: Stream, shard: Shard | None, rng: random.Random, now_ms: int) -> list[Shard]:
    """Merge an open shard, by default one that is drawn, with one beside it; return the parents, or none."""
    chosen = shard or rng.choice(stream.open_shards)
    other = stream.neighbour(chosen)
    if other is None:
        return []
    stream.merge(chosen, other, now_ms)
    return [chosen, other]


def _stream_state(stream: Stream, now_ms: int) -> dict[str, Any]:
    return {
        "mode": stream.mode,
        "status": stream.status(now_ms),
        "retention_hours": stream.retention_hours,
        "shards": {shard_id: _shard_state(shard) for shard_id, shard in stream.shards.items()},
    }


def _shard_state(shard: Shard) -> dict[str, Any]:
    return {
        "parents": list(shard.parents),
        "hash_keys": [str(shard.low), str(shard.high)],
        "starting": str(shard.starting),
        "ending": None if shard.ending is None else str(shard.ending),
        "trimmed_through": str(shard.trimmed_through),
        "records": len(shard.sequences),
    }
