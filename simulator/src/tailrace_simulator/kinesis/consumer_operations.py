"""Kinesis's operations on consumers with enhanced fan-out, and the subscriptions by which shards are pushed. Pure.

Source: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SubscribeToShard.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from tailrace_simulator.aws_error import AwsError, not_found
from tailrace_simulator.kinesis import positions, requests
from tailrace_simulator.kinesis.account import Account, Consumer, in_use
from tailrace_simulator.kinesis.event_stream import message
from tailrace_simulator.kinesis.shard_operations import child_shards
from tailrace_simulator.kinesis.shards import Shard
from tailrace_simulator.settings import Settings

Answer = dict[str, Any]
_RESUBSCRIBE_MS: Final = 5000
_EVENT_BYTES: Final = 1024 * 1024
_EVENT_RECORDS: Final = 10_000


@dataclass(eq=False)
class Subscription:
    """A consumer's subscription to a shard, and how far it was pushed."""

    consumer: Consumer
    shard: Shard
    after: int
    number: int
    began_ms: int
    pushed_ms: float = float("-inf")


class Push(NamedTuple):
    """What is sent next, if anything, and whether the subscription is over with it."""

    messages: bytes
    is_over: bool


class ConsumerOperations:
    """One method an operation, named as AWS names it, in small letters. All raise `AwsError`."""

    def __init__(self, account: Account, settings: Settings) -> None:
        self._account = account
        self._settings = settings
        self._subscriptions = 0

    def register_stream_consumer(self, request: requests.RegisterStreamConsumer, now_ms: int) -> Answer:
        """Register a consumer, which is ACTIVE at once."""
        stream = self._account.stream(None, request.stream_arn)
        return {"Consumer": _consumer(self._account.register(stream, request.consumer_name, now_ms))}

    def describe_stream_consumer(self, request: requests.DescribeStreamConsumer, now_ms: int) -> Answer:
        """Show a consumer."""
        consumer = self._account.consumer(request.consumer_arn, request.stream_arn, request.consumer_name)
        return {"ConsumerDescription": _consumer(consumer) | {"StreamARN": consumer.stream.arn}}

    def deregister_stream_consumer(self, request: requests.DeregisterStreamConsumer, now_ms: int) -> Answer:
        """Forget a consumer; its subscriptions end."""
        consumer = self._account.consumer(request.consumer_arn, request.stream_arn, request.consumer_name)
        del self._account.consumers[consumer.arn]
        return {}

    def list_stream_consumers(self, request: requests.ListStreamConsumers, now_ms: int) -> Answer:
        """List a stream's consumers; NextToken is the last one's name."""
        stream = self._account.stream(None, request.stream_arn)
        start = request.next_token or ""
        consumers = [each for each in self._account.consumers_of(stream) if each.name > start]
        page = consumers[: request.max_results]
        more = {"NextToken": page[-1].name} if len(consumers) > len(page) else {}
        return {"Consumers": [_consumer(each) for each in page]} | more

    def subscribe_to_shard(self, request: requests.SubscribeToShard, now_ms: int) -> Subscription:
        """Begin a subscription; one that has lasted for 5 seconds gives way to it."""
        consumer = self._account.consumer(request.consumer_arn, None, None)
        shard = consumer.stream.shard(request.shard_id)
        start = request.starting_position
        after = positions.position(shard, start.type, start.sequence_number, start.timestamp, now_ms)
        if shard.shard_id in consumer.subscribed:
            _, began_ms = consumer.subscribed[shard.shard_id]
            if now_ms - began_ms < _RESUBSCRIBE_MS:
                raise in_use(f"Another active subscription exists for this consumer: {consumer.arn}")
        self._subscriptions += 1
        consumer.subscribed[shard.shard_id] = self._subscriptions, now_ms
        return Subscription(consumer, shard, after, self._subscriptions, now_ms)

    def push(self, subscription: Subscription, now_ms: int) -> Push:
        """Return what a subscription's client is sent now."""
        consumer, shard = subscription.consumer, subscription.shard
        if consumer.arn not in self._account.consumers or shard.shard_id not in consumer.stream.shards:
            return _failed(not_found(f"Consumer {consumer.arn} or its shard {shard.shard_id} not found."))
        if consumer.subscribed.get(shard.shard_id, (0, 0))[0] != subscription.number:
            return _failed(in_use(f"Another subscription took over from this one: {consumer.arn}"))
        if now_ms - subscription.began_ms >= self._settings.subscription_s * 1000:
            return Push(b"", is_over=True)
        page = shard.read(subscription.after, _EVENT_RECORDS, _EVENT_BYTES, now_ms)
        is_due = now_ms - subscription.pushed_ms >= self._settings.push_interval_s * 1000
        if not (page.bodies or page.is_end or is_due):
            return Push(b"", is_over=False)
        subscription.after, subscription.pushed_ms = page.last, now_ms
        rest: Answer = {"MillisBehindLatest": page.behind_ms}
        if page.is_end:
            rest["ChildShards"] = child_shards(shard)
        else:
            rest["ContinuationSequenceNumber"] = str(max(page.last, shard.starting))
        event = b'{"Records":[' + b",".join(page.bodies) + b"]," + msgspec.json.encode(rest)[1:]
        return Push(message("event", "SubscribeToShardEvent", event), page.is_end)


def initial_response() -> bytes:
    """Return the message that a subscription begins with."""
    return message("event", "initial-response", b"{}")


def _failed(error: AwsError) -> Push:
    payload = msgspec.json.encode({"message": error.message})
    return Push(message("exception", error.code, payload), is_over=True)


def _consumer(consumer: Consumer) -> Answer:
    return {
        "ConsumerName": consumer.name,
        "ConsumerARN": consumer.arn,
        "ConsumerStatus": "ACTIVE",
        "ConsumerCreationTimestamp": consumer.created_ms // 1000,
    }
