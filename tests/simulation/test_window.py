"""The window sees every change that may stand before a row in its topic, committed or not."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, cast

from confluent_kafka import Consumer, Producer

from simulation.broker import Broker, Message
from simulation.clients import ModelAdmin, ModelConsumer
from simulation.faults import Faults
from simulation.snapshot_mutations import stale_check_of_committed_records
from tailrace.kafka.clients import Admin
from tailrace.snapshot.window import Window

PLACE = ("shop.orders", 0)


class Clients:
    """The clients of one window, without faults."""

    def __init__(self, broker: Broker) -> None:
        self._broker, self._rng, self._faults = broker, random.Random(1), Faults()
        self._faults.stop()

    def consumer(self, _user: object, own: Mapping[str, Any]) -> Consumer:
        model = ModelConsumer(self._broker, self._rng, self._faults, lambda: 0, lambda _topic, value: value, own=own)
        return cast(Consumer, model)

    def admin(self, _user: object, _timeout_s: float = 0) -> Admin:
        return cast(Admin, ModelAdmin(self._broker, self._rng, self._faults))

    def producer(self, _user: object, own: Mapping[str, Any]) -> Producer:
        raise NotImplementedError

    def drop(self, client: Consumer) -> None:
        client.close()

    def monotonic_s(self) -> float:
        return 0.0


def changed_in_an_open_transaction() -> set[tuple[str, bytes]]:
    broker = Broker(lambda: 0, lambda *_: False)
    window = Window({}, factory=Clients(broker))
    window.follow({PLACE[0]})
    mark = window.mark([PLACE[0]])
    epoch = broker.init_producer_id("lane")
    broker.add_partitions("lane", epoch, {PLACE})
    broker.produce("lane", epoch, PLACE, [Message(b"orders/1", b"orders/1 1", [])])
    window.read_to_end([PLACE[0]], 1.0)
    return window.changed([(PLACE[0], b"orders/1"), (PLACE[0], b"orders/2")], mark)


def test_a_change_in_an_open_transaction_makes_a_row_stale() -> None:
    assert changed_in_an_open_transaction() == {(PLACE[0], b"orders/1")}


def test_a_window_of_committed_records_does_not_see_it() -> None:
    """The planted fault is found here: few histories have such a transaction open at the right moment."""
    with stale_check_of_committed_records():
        assert changed_in_an_open_transaction() == set()
