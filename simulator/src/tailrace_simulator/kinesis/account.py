"""The Kinesis streams of one account and region, and their registered consumers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tailrace_simulator.aws_error import AwsError, not_found
from tailrace_simulator.kinesis.streams import Stream, StreamMode
from tailrace_simulator.settings import Settings

_CONSUMERS_MAX: Final = 20


@dataclass(eq=False)
class Consumer:
    """A consumer with enhanced fan-out."""

    name: str
    arn: str
    stream: Stream
    created_ms: int
    subscribed: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By shard: the number of the subscription that holds it, and when that began."""


class Account:
    """Raises `AwsError` for what is not there, or there already."""

    def __init__(self, *, region: str, account: str, seed: int, settings: Settings) -> None:
        self.streams: dict[str, Stream] = {}
        self.consumers: dict[str, Consumer] = {}
        self._region = region
        self._account = account
        self._seed = seed
        self._settings = settings
        self._created = 0

    def create(self, name: str, mode: StreamMode, shards: int, record_kib: int, now_ms: int) -> Stream:
        """Make a stream."""
        if name in self.streams:
            raise in_use(f"Stream {name} under account {self._account} already exists.")
        self._created += 1
        self.streams[name] = Stream(
            name=name,
            arn=f"arn:aws:kinesis:{self._region}:{self._account}:stream/{name}",
            mode=mode,
            shards=shards,
            record_kib=record_kib,
            now_ms=now_ms,
            seed=f"{self._seed}/kinesis/{name}/{self._created}",
            settings=self._settings,
        )
        return self.streams[name]

    def stream(self, name: str | None, arn: str | None) -> Stream:
        """Return the stream that a request names, by name, by ARN or by both."""
        if name is None and arn is None:
            raise invalid_argument("Either StreamName or StreamARN should be provided in the request.")
        wanted = name if name is not None else (arn or "").rpartition("/")[2]
        stream = self.streams.get(wanted)
        if stream is None or arn not in {None, stream.arn}:
            raise not_found(f"Stream {wanted} under account {self._account} not found.")
        return stream

    def delete(self, stream: Stream, *, with_consumers: bool) -> None:
        """Drop a stream with all of its records."""
        consumers = self.consumers_of(stream)
        if consumers and not with_consumers:
            raise in_use(
                f"Stream {stream.name} under account {self._account} has consumers registered and cannot be deleted."
            )
        for consumer in consumers:
            del self.consumers[consumer.arn]
        del self.streams[stream.name]

    def register(self, stream: Stream, name: str, now_ms: int) -> Consumer:
        """Register a consumer of a stream."""
        known = self.consumers_of(stream)
        if any(consumer.name == name for consumer in known):
            raise in_use(f"Consumer {name} under stream {stream.arn} already exists.")
        if len(known) >= _CONSUMERS_MAX:
            raise AwsError("LimitExceededException", f"Stream {stream.name} has {_CONSUMERS_MAX} consumers already.")
        consumer = Consumer(name, f"{stream.arn}/consumer/{name}:{now_ms // 1000}", stream, now_ms)
        self.consumers[consumer.arn] = consumer
        return consumer

    def consumer(self, arn: str | None, stream_arn: str | None, name: str | None) -> Consumer:
        """Return a consumer by its ARN, or by its stream's ARN and its name."""
        if arn is None and (stream_arn is None or name is None):
            raise invalid_argument("Either ConsumerARN, or StreamARN and ConsumerName, must be provided.")
        for consumer in self.consumers.values():
            if consumer.arn == arn or (arn is None and (consumer.stream.arn, consumer.name) == (stream_arn, name)):
                return consumer
        raise not_found(f"Consumer {arn or name}, account {self._account} not found.")

    def consumers_of(self, stream: Stream) -> list[Consumer]:
        """Return a stream's consumers, by their names."""
        found = (consumer for consumer in self.consumers.values() if consumer.stream is stream)
        return sorted(found, key=lambda consumer: consumer.name)

    def tick(self, now_ms: int) -> None:
        """Do what the time asks for in every stream."""
        for stream in self.streams.values():
            stream.tick(now_ms)


def invalid_argument(message: str) -> AwsError:
    """Return the error for an argument that cannot be, or not as things stand."""
    return AwsError("InvalidArgumentException", message)


def in_use(message: str) -> AwsError:
    """Return the error for what is there already, or busy."""
    return AwsError("ResourceInUseException", message)
