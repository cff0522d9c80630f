"""What makes the clients of those who live long with Kafka, and the time by which they watch them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from confluent_kafka import Consumer, Producer

from tailrace.kafka.clients import Admin


class ClientFactory(Protocol):
    """Makes clients. The module `clients` is one; the simulation has another."""

    def producer(self, user: Mapping[str, str], own: Mapping[str, Any]) -> Producer:
        """Make a producer; `own` wins over `user`."""
        ...

    def consumer(self, user: Mapping[str, str], own: Mapping[str, Any]) -> Consumer:
        """Make a consumer; `own` wins over `user`."""
        ...

    def admin(self, user: Mapping[str, str], timeout_s: float = ...) -> Admin:
        """Make an admin client whose calls take no longer than `timeout_s`."""
        ...

    def drop(self, client: Consumer) -> None:
        """Close a consumer that has stopped, without waiting for it."""
        ...

    def monotonic_s(self) -> float:
        """Return a time that only differences of mean something, in seconds."""
        ...
