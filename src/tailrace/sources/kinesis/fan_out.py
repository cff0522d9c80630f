"""Reads shards of Kinesis by enhanced fan-out: AWS pushes the records to a registered consumer.

A shard is polled until it is caught up with, and then subscribed to: so positions are proved and tails read in the one
way that there is, and a shard that has ended is hardly ever subscribed to.
Source: https://docs.aws.amazon.com/kinesis/latest/APIReference/API_SubscribeToShard.html
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from tailrace.aws.ask import Call, ask
from tailrace.aws.errors import Subject, refused, unanswered
from tailrace.aws.event_stream import EventStream
from tailrace.aws.http import AwsClient
from tailrace.core.ports import LogPage, LogReader, ReadError, ReadFailure
from tailrace.core.shard import Position, ShardRef
from tailrace.sources.kinesis.iterators import subject_of
from tailrace.sources.kinesis.log_page import LogDecoder
from tailrace.sources.kinesis.polling import Polling
from tailrace.sources.kinesis.services import KINESIS
from tailrace.sources.kinesis.stream_ref import StreamRef, parse

_SUBSCRIBE: Final = "SubscribeToShard"
_PUSHED: Final = "pushed"
_POLLED: Final = "polled"
"""What iterators begin with: `pushed:NUMBER:COUNT`, and `polled:CALM:ITERATOR` around those of `Polling`."""
_CALM_PAGES: Final = 3
"""So many pages in a row with nothing more behind them show that a shard is caught up with, and not about to end."""
_IDLE_S: Final = 60.0
"""A subscription that was not read for so long is closed: its shard may have gone to another worker."""

OpenStream = Callable[[str, bytes, Subject], EventStream]


class _Consumer(msgspec.Struct, rename="pascal"):
    consumer_status: str
    consumer_a_r_n: str = msgspec.field(name="ConsumerARN")


class _Described(msgspec.Struct, rename="pascal"):
    consumer_description: _Consumer


class _Registered(msgspec.Struct, rename="pascal"):
    consumer: _Consumer


class _EventPart(msgspec.Struct, rename="pascal"):
    continuation_sequence_number: str | None = None
    child_shards: list[msgspec.Raw] | None = None


@dataclass
class _Subscription:
    """One of a shard. `after` is the sequence number behind which it goes on."""

    shard: ShardRef
    number: int
    after: str
    read_s: float
    count: int = 0
    stream: EventStream | None = None

    @property
    def iterator(self) -> str:
        return f"{_PUSHED}:{self.number}:{self.count}"


class FanOut(LogReader):
    """Reads shards as the consumer `consumer`. Safe to call from many threads at once, each at another shard."""

    def __init__(
        self,
        polling: Polling,
        client: AwsClient,
        decode: LogDecoder,
        consumer: str,
        *,
        open_stream: OpenStream,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        """`open_stream` sends the request of an operation whose response goes on, and raises `ReadError`."""
        self._polling = polling
        self._client = client
        self._decode = decode
        self._consumer = consumer
        self._open = open_stream
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._subscriptions: dict[int, _Subscription] = {}
        """By number: the tail of a shard may be read for each of its children at once."""
        self._consumers: dict[StreamRef, str] = {}

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> LogPage:
        """Read the next page; without an iterator, begin at `position`. Raises `ReadError`."""
        self._drop_idle()
        kind, _, rest = (iterator or f"{_POLLED}:0:").partition(":")
        if kind == _PUSHED:
            return self._pushed(shard, int(rest.partition(":")[0]), iterator)
        calm, _, polled = rest.partition(":")
        page = self._polling.read(shard, position, polled or None)
        if page.next_iterator is None:
            return page
        calm_pages = 0 if page.full else int(calm) + 1
        after = self._polling.read_up_to(page)
        if calm_pages < _CALM_PAGES or after is None:
            return msgspec.structs.replace(page, next_iterator=f"{_POLLED}:{calm_pages}:{page.next_iterator}")
        subscription = _Subscription(shard, next(self._numbers), after, self._clock())
        with self._lock:
            self._subscriptions[subscription.number] = subscription
        return msgspec.structs.replace(page, next_iterator=subscription.iterator)

    def close(self) -> None:
        """End all subscriptions."""
        for number in list(self._subscriptions):
            self._drop(number)

    def _pushed(self, shard: ShardRef, number: int, iterator: str | None) -> LogPage:
        with self._lock:
            subscription = self._subscriptions.get(number)
        if subscription is None or subscription.iterator != iterator:
            raise ReadError(f"the subscription to shard {shard.shard_id} has ended", ReadFailure.EXPIRED)
        subscription.read_s = self._clock()
        try:
            return self._next(shard, subscription)
        except OSError as error:
            self._close(subscription)
            raise unanswered(_SUBSCRIBE, subject_of(shard), KINESIS.name, error) from error
        except ReadError:
            self._close(subscription)
            raise

    def _next(self, shard: ShardRef, subscription: _Subscription) -> LogPage:
        """Return the next event as a page, an empty one if none has arrived; a subscription lives five minutes."""
        if subscription.stream is None:
            subscription.stream = self._subscribe(shard, subscription.after)
        event = subscription.stream.take()
        if event is None or (not event.is_error and event.kind != "SubscribeToShardEvent"):
            if subscription.stream.is_over:
                self._close(subscription)
            return LogPage([], subscription.iterator, size_bytes=0, full=event is not None)
        if event.is_error:
            headers = {"x-amzn-errortype": event.kind}
            raise refused(KINESIS, _SUBSCRIBE, subject_of(shard), status=400, headers=headers, body=event.payload)
        page = self._decode(event.payload, shard=shard)
        part = msgspec.json.decode(event.payload, type=_EventPart)
        if part.continuation_sequence_number is None or part.child_shards:
            self._drop(subscription.number)
            return msgspec.structs.replace(page, next_iterator=None)
        subscription.after = part.continuation_sequence_number
        subscription.count += 1
        return msgspec.structs.replace(page, next_iterator=subscription.iterator)

    def _subscribe(self, shard: ShardRef, after: str) -> EventStream:
        self._polling.check(shard)
        request = {
            "ConsumerARN": self._consumer_of(parse(shard.stream)),
            "ShardId": shard.shard_id,
            "StartingPosition": {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": after},
        }
        return self._open(_SUBSCRIBE, msgspec.json.encode(request), subject_of(shard))

    def _consumer_of(self, stream: StreamRef) -> str:
        """Return the ARN of the consumer, registered first if it is not. Raises `ReadError` until it is active."""
        if known := self._consumers.get(stream):
            return known
        subject = Subject(f"consumer {self._consumer} of stream {stream.name}", f"{stream.arn}/consumer/*")
        request = {"StreamARN": stream.arn, "ConsumerName": self._consumer}
        try:
            call = Call(self._client, "DescribeStreamConsumer", subject)
            found = ask(call, request, _Described, self._sleep).consumer_description
        except ReadError as error:
            if error.failure is not ReadFailure.GONE:
                raise
            register = Call(self._client, "RegisterStreamConsumer", Subject(subject.words, stream.arn))
            found = ask(register, request, _Registered, self._sleep).consumer
        if found.consumer_status != "ACTIVE":
            raise ReadError(
                f"{subject.words} is not active yet: {found.consumer_status}",
                ReadFailure.UNAVAILABLE,
                hint="it is tried again",
            )
        self._consumers[stream] = found.consumer_a_r_n
        return found.consumer_a_r_n

    def _drop_idle(self) -> None:
        now_s = self._clock()
        with self._lock:
            idle = [number for number, each in self._subscriptions.items() if now_s - each.read_s > _IDLE_S]
        for number in idle:
            self._drop(number)

    def _drop(self, number: int) -> None:
        with self._lock:
            subscription = self._subscriptions.pop(number, None)
        if subscription is not None:
            self._close(subscription)

    def _close(self, subscription: _Subscription) -> None:
        if subscription.stream is not None:
            subscription.stream.close()
            subscription.stream = None
