"""The broker and the way to it fail while changes are written: nothing is lost, repeated or out of order."""

from __future__ import annotations

import signal
import struct
import time
from collections.abc import Callable

from support.bench import Bench
from support.kafka_clients import transactional_producer
from support.proxy import END_TXN, KafkaProxy, Request
from tailrace.local.kafka import KafkaBroker

_QUICK = {"transaction.timeout.ms": 6_000}
"""A transaction of unknown outcome is given up after so long."""
_PRODUCER_REFUSED = {47, 48, 90}
"""INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE, PRODUCER_FENCED
(https://kafka.apache.org/protocol#protocol_error_codes)."""


def test_the_broker_is_killed_and_then_restarted(bench: Callable[..., Bench], own_kafka: KafkaBroker) -> None:
    pipeline = bench(on=own_kafka.client_properties(), tuning=_QUICK)
    with pipeline.workload:
        pipeline.worker()
        pipeline.worker()
        pipeline.wait_published(100)
        own_kafka.kill()
        own_kafka.start()
        pipeline.wait_published(300)
        own_kafka.restart()
        pipeline.wait_published(300)
    pipeline.settle()


def test_sigterm_ends_a_worker_in_time_and_a_second_one_at_once_although_the_broker_does_not_answer(
    bench: Callable[..., Bench], own_kafka: KafkaBroker
) -> None:
    pipeline = bench(on=own_kafka.client_properties())
    with pipeline.workload:
        patient, hasty = pipeline.worker(), pipeline.worker()
        pipeline.wait_shared(2)
        pipeline.wait_published(100)
        own_kafka.freeze()
        assigned = len(hasty.logged("lanes assigned"))
        for worker in (patient, hasty):
            worker.terminate()
        hasty.wait_logged("lanes assigned", count=assigned + 1)
        assert hasty.exit_code is None
        hasty.terminate()
        assert hasty.wait(1.0) == -signal.SIGTERM
        assert patient.wait() == 0
        own_kafka.resume()
        pipeline.worker()
        pipeline.wait_published(100)
    pipeline.settle()


def test_a_lane_that_another_producer_fences_is_taken_again(bench: Callable[..., Bench], kafka: KafkaBroker) -> None:
    pipeline = bench()
    with pipeline.workload:
        worker = pipeline.worker()
        pipeline.wait_published(100)
        lane = pipeline.lane_of(pipeline.tables[0])
        transactional_producer(kafka.client_properties(), **{"transactional.id": f"{pipeline.name}.lane-{lane}"})
        worker.wait_logged("lane lost", lane=lane)
        worker.wait_logged("lane taken", lane=lane, count=2)
        pipeline.wait_published(100)
    pipeline.settle()
    assert worker.was_fenced()


def test_an_unknown_outcome_of_a_commit_neither_loses_nor_repeats(
    bench: Callable[..., Bench], kafka: KafkaBroker, kafka_proxy: KafkaProxy
) -> None:
    """Three lanes at once: the commit happened unheard; it never came; it comes when its lane is taken again."""
    pipeline = bench(through={"bootstrap.servers": kafka.proxied_bootstrap_servers}, tuning=_QUICK, tables=12)

    def commit_of(lane: int) -> Callable[[Request], bool]:
        name = f"{pipeline.name}.lane-{lane}".encode()
        return lambda request: request.api_key == END_TXN and name in request.frame

    with pipeline.workload:
        worker = pipeline.worker()
        pipeline.wait_published(200)
        lanes = sorted({pipeline.lane_of(table) for table in pipeline.tables})
        unheard, never, late = lanes[:3]
        happened = kafka_proxy.lose_answer(commit_of(unheard), cut=False)
        dropped = kafka_proxy.drop_request(commit_of(never))
        delayed = kafka_proxy.drop_request(commit_of(late))
        for lane in (unheard, never, late):
            worker.wait_logged("lane lost", lane=lane)
            worker.wait_logged("lane taken", lane=lane, count=2)
        assert happened.is_set()
        assert dropped.happened.is_set()
        assert delayed.happened.is_set()
        for _ in range(5):  # into transactions under way
            (error,) = struct.unpack_from(">h", delayed.deliver_late(), 4)
            assert error in _PRODUCER_REFUSED
            pipeline.wait_published(20)
        assert not [line for lane in lanes[3:] for line in worker.logged("lane lost", lane=lane)]
    pipeline.settle()


def test_connections_that_break_hang_and_crawl(
    bench: Callable[..., Bench], kafka: KafkaBroker, kafka_proxy: KafkaProxy
) -> None:
    pipeline = bench(through={"bootstrap.servers": kafka.proxied_bootstrap_servers}, tuning=_QUICK)
    with pipeline.workload:
        pipeline.worker()
        pipeline.worker()
        pipeline.wait_published(100)
        for _ in range(3):
            kafka_proxy.cut()
            pipeline.wait_published(50)
        kafka_proxy.delay_s = 0.3
        pipeline.wait_published(100)
        kafka_proxy.delay_s = 0.0
        kafka_proxy.black_hole()
        time.sleep(7)  # longer than transactions and the group wait for an answer
        kafka_proxy.pass_again()
        pipeline.wait_published(200)
    pipeline.settle()
