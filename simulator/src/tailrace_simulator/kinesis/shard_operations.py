"""Kinesis's operations on shards: listing, splitting and merging them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from tailrace_simulator.aws_error import AwsError
from tailrace_simulator.kinesis import requests
from tailrace_simulator.kinesis.account import Account, in_use, invalid_argument
from tailrace_simulator.kinesis.shards import Shard
from tailrace_simulator.kinesis.streams import Stream
from tailrace_simulator.sealed import seal, unseal

Answer = dict[str, Any]
_LISTED_MAX: Final = 1000
_TOKEN_LIFE_MS: Final = 300_000


class _ListToken(msgspec.Struct, frozen=True, array_like=True):
    """Where a listing continues."""

    stream: str
    after: str
    wanted: requests.ShardFilter | None
    issued_ms: int


class ShardOperations:
    """One method an operation, named as AWS names it, in small letters. All raise `AwsError`."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def list_shards(self, request: requests.ListShards, now_ms: int) -> Answer:
        """List a stream's shards, those that are closed too."""
        start, wanted = request.exclusive_start_shard_id, request.shard_filter
        if request.next_token is None:
            stream = self._account.stream(request.stream_name, request.stream_arn)
        else:
            if request.stream_name or start or wanted or request.stream_creation_timestamp:
                raise invalid_argument("NextToken and StreamName cannot be provided together.")
            token = _token(request.next_token, now_ms)
            stream = self._account.stream(token.stream, None)
            start, wanted = token.after, token.wanted
        created = request.stream_creation_timestamp
        if created is not None and int(created) != stream.created_ms // 1000:
            raise AwsError("ResourceNotFoundException", f"Stream {stream.name} was not created at {created}.")
        is_wanted = _filter(stream, wanted)
        shards = [
            shard for name, shard in stream.shards.items() if (start is None or name > start) and is_wanted(shard)
        ]
        page = shards[: min(request.max_results, _LISTED_MAX)]
        answer: Answer = {"Shards": [listed(shard) for shard in page]}
        if len(shards) > len(page):
            answer["NextToken"] = seal(_ListToken(stream.name, page[-1].shard_id, wanted, now_ms))
        return answer

    def split_shard(self, request: requests.SplitShard, now_ms: int) -> Answer:
        """Split a shard in two."""
        stream = self._provisioned(request, now_ms)
        at = int(request.new_starting_hash_key)
        stream.split(stream.shard(request.shard_to_split), at, now_ms)
        stream.change("UPDATING", now_ms)
        return {}

    def merge_shards(self, request: requests.MergeShards, now_ms: int) -> Answer:
        """Merge two shards that are next to each other."""
        stream = self._provisioned(request, now_ms)
        shard, other = stream.shard(request.shard_to_merge), stream.shard(request.adjacent_shard_to_merge)
        stream.merge(shard, other, now_ms)
        stream.change("UPDATING", now_ms)
        return {}

    def update_shard_count(self, request: requests.UpdateShardCount, now_ms: int) -> Answer:
        """Split and merge until there are so many shards."""
        stream = self._provisioned(request, now_ms)
        now, target = len(stream.open_shards), request.target_shard_count
        if target > 2 * now or 2 * target < now:
            raise AwsError(
                "LimitExceededException",
                f"UpdateShardCount cannot scale up over double your current open shard count, nor below half of it. "
                f"Current open shard count: {now} Target shard count: {target}",
            )
        stream.rescale(target, now_ms)
        stream.change("UPDATING", now_ms)
        return {
            "StreamName": stream.name,
            "StreamARN": stream.arn,
            "CurrentShardCount": now,
            "TargetShardCount": target,
        }

    def _provisioned(self, request: requests.OfStream, now_ms: int) -> Stream:
        """Return the stream, which must be one whose shards the user manages, and not changing."""
        stream = self._account.stream(request.stream_name, request.stream_arn)
        if stream.mode != "PROVISIONED":
            raise AwsError(
                "ValidationException",
                f"Stream {stream.name} is in the on-demand capacity mode, in which its shards cannot be changed.",
            )
        if (status := stream.status(now_ms)) != "ACTIVE":
            raise in_use(f"Stream {stream.name} not ACTIVE, instead in state {status}")
        return stream


def listed(shard: Shard) -> Answer:
    """Return a shard as AWS lists it."""
    numbers = {"StartingSequenceNumber": str(shard.starting)}
    if shard.ending is not None:
        numbers["EndingSequenceNumber"] = str(shard.ending)
    parents = zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False)
    return {
        "ShardId": shard.shard_id,
        **dict(parents),
        "HashKeyRange": hash_keys(shard),
        "SequenceNumberRange": numbers,
    }


def hash_keys(shard: Shard) -> dict[str, str]:
    """Return the hash keys that a shard owns, as AWS writes them."""
    return {"StartingHashKey": str(shard.low), "EndingHashKey": str(shard.high)}


def child_shards(shard: Shard) -> list[Answer]:
    """Return what follows a closed shard, as AWS says it at the shard's end."""
    return [
        {"ShardId": child.shard_id, "ParentShards": list(child.parents), "HashKeyRange": hash_keys(child)}
        for child in shard.children
    ]


def _token(text: str, now_ms: int) -> _ListToken:
    token = unseal(text, _ListToken)
    if token is None:
        raise invalid_argument("Invalid NextToken.")
    if now_ms - token.issued_ms > _TOKEN_LIFE_MS:
        raise AwsError("ExpiredNextTokenException", "The NextToken is older than 300 seconds.")
    return token


def _filter(stream: Stream, wanted: requests.ShardFilter | None) -> Callable[[Shard], bool]:
    if wanted is None:
        return lambda _: True
    if (wanted.type == "AFTER_SHARD_ID") is (wanted.shard_id is None):
        raise invalid_argument("ShardId goes with the filter type AFTER_SHARD_ID, and only with it.")
    if (wanted.type in {"AT_TIMESTAMP", "FROM_TIMESTAMP"}) is (wanted.timestamp is None):
        raise invalid_argument(
            "Timestamp goes with the filter types AT_TIMESTAMP and FROM_TIMESTAMP, and only with them."
        )
    at_ms = stream.horizon_ms if wanted.timestamp is None else max(wanted.timestamp * 1000, stream.horizon_ms)
    filters: dict[str, Callable[[Shard], bool]] = {
        "AFTER_SHARD_ID": lambda shard: shard.shard_id > (wanted.shard_id or ""),
        "AT_TRIM_HORIZON": lambda shard: _was_open(shard, at_ms),
        "FROM_TRIM_HORIZON": lambda _: True,
        "AT_LATEST": lambda shard: shard.is_open,
        "AT_TIMESTAMP": lambda shard: _was_open(shard, at_ms),
        "FROM_TIMESTAMP": lambda shard: shard.closed_ms is None or shard.closed_ms >= at_ms,
    }
    return filters[wanted.type]


def _was_open(shard: Shard, at_ms: float) -> bool:
    return shard.opened_ms <= at_ms and (shard.closed_ms is None or shard.closed_ms >= at_ms)
