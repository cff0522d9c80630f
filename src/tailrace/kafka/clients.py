"""Makes Kafka clients: the user's properties that each knows, those that the protocol owns, and quiet logs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from tailrace.errors import WorldError
from tailrace.kafka import properties

logger = logging.getLogger("tailrace.kafka")

REQUEST_TIMEOUT_S = 15.0
"""How long a call that a person waits for may take."""


def producer(user: Mapping[str, str], own: Mapping[str, Any]) -> Producer:
    """Make a producer; `own` wins over `user`."""
    return Producer({**properties.for_producer(user), **_observed(), **own}, logger=logger)


def consumer(user: Mapping[str, str], own: Mapping[str, Any]) -> Consumer:
    """Make a consumer; `own` wins over `user`."""
    return Consumer({**properties.for_consumer(user), **_observed(), **own}, logger=logger)


def admin(user: Mapping[str, str]) -> AdminClient:
    """Make an admin client."""
    return AdminClient({**properties.for_admin(user), **_observed()}, logger=logger)


def world_error(error: KafkaException | KafkaError, attempted: str, user: Mapping[str, str]) -> WorldError:
    """Tell a Kafka failure as a sentence with its mend."""
    cause = error.args[0] if isinstance(error, KafkaException) else error
    hint = _HINTS.get(cause.code(), "see the broker's log for the cause")
    hint = hint.format(servers=user.get("bootstrap.servers", ""))
    return WorldError(f"{attempted} failed: {cause.str()} ({cause.name()})", hint=hint)


_UNREACHABLE = "check that Kafka runs at kafka.bootstrap.servers ({servers}) and that security.protocol fits it"
_HINTS = {
    KafkaError._TRANSPORT: _UNREACHABLE,
    KafkaError._ALL_BROKERS_DOWN: _UNREACHABLE,
    KafkaError._TIMED_OUT: _UNREACHABLE,
    KafkaError._RESOLVE: _UNREACHABLE,
    KafkaError._AUTHENTICATION: "check sasl.mechanism, sasl.username and sasl.password in the kafka section",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: (
        "grant the principal Read, Write, Describe and Create on the pipeline's topics"
    ),
    KafkaError.GROUP_AUTHORIZATION_FAILED: "grant the principal Read on the consumer group named like the pipeline",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: (
        "grant the principal Write and Describe on the transactional ids <name>.lane-*"
    ),
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: (
        "grant the principal IdempotentWrite, and Create if topics are to be made, on the cluster"
    ),
}


def _observed() -> dict[str, Any]:
    return {"error_cb": _on_error}


def _on_error(error: KafkaError) -> None:
    """Log what librdkafka goes through; what it means is decided where a call fails."""
    logger.warning("%s (%s)", error.str(), error.name())
