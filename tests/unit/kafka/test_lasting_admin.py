"""A lasting admin client is one client, until it gets no answer."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from tailrace.errors import UnreachableError, WorldError
from tailrace.kafka.clients import LastingAdmin

NOWHERE = {"bootstrap.servers": "127.0.0.1:1"}


def test_every_use_is_of_the_same_client() -> None:
    lasting = LastingAdmin(NOWHERE)
    with lasting.use() as first, lasting.use() as second:
        assert first is second
    with pytest.raises(WorldError), lasting.use():
        raise WorldError("Kafka refused it", hint="grant the right")
    with lasting.use() as third:
        assert third is first


@pytest.mark.parametrize(
    "failure",
    [
        UnreachableError("no broker answers", hint="start it"),
        KafkaException(KafkaError(KafkaError.FENCED_LEADER_EPOCH)),
    ],
)
def test_one_that_got_no_answer_is_not_used_again(failure: Exception) -> None:
    lasting = LastingAdmin(NOWHERE)
    with pytest.raises(type(failure)), lasting.use() as first:
        raise failure
    with lasting.use() as second:
        assert second is not first
