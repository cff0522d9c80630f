"""A lasting admin client is one client, until it did not reach Kafka."""

from __future__ import annotations

import pytest

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


def test_one_that_did_not_reach_kafka_is_not_used_again() -> None:
    lasting = LastingAdmin(NOWHERE)
    with pytest.raises(UnreachableError), lasting.use() as first:
        raise UnreachableError("no broker answers", hint="start it")
    with lasting.use() as second:
        assert second is not first
