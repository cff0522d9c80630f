"""Several pipelines in one process: they end together, and what is said of them names them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from tailrace import logs
from tailrace.errors import WorldError
from tailrace.worker.exposition import Exposition
from tailrace.worker.health import of_all
from tailrace.worker.together import Member, Together


class Worker:
    """Runs until it is stopped, or told to fail."""

    def __init__(self, fails: Exception | None = None, *, fails_at_stop: Exception | None = None) -> None:
        self.stopped = threading.Event()
        self._fails = fails
        self._fails_at_stop = fails_at_stop

    def run(self) -> None:
        if self._fails is not None:
            raise self._fails
        assert self.stopped.wait(10)
        if self._fails_at_stop is not None:
            raise self._fails_at_stop

    def stop(self) -> None:
        self.stopped.set()


def together(**workers: Worker) -> Together:
    return Together({name: Member(worker, logs.naming(name)) for name, worker in workers.items()})


def test_all_end_when_they_are_stopped() -> None:
    shop, bank = Worker(), Worker()
    both = together(shop=shop, bank=bank)
    threading.Timer(0.05, both.stop).start()
    both.run()
    assert shop.stopped.is_set()
    assert bank.stopped.is_set()


def test_the_first_that_ends_by_itself_stops_the_others_and_is_named() -> None:
    shop = Worker(fails_at_stop=WorldError("late"))
    with pytest.raises(WorldError) as caught:
        together(shop=shop, bank=Worker(WorldError("Kafka is gone", hint="start it"))).run()
    assert str(caught.value) == "pipeline bank: Kafka is gone; start it"
    assert shop.stopped.is_set()


def test_a_defect_of_one_stops_the_others_too() -> None:
    shop = Worker()
    with pytest.raises(ZeroDivisionError):
        together(shop=shop, bank=Worker(ZeroDivisionError())).run()
    assert shop.stopped.is_set()


def test_the_only_one_is_not_named() -> None:
    with pytest.raises(WorldError, match=r"\AKafka is gone\Z"):
        together(shop=Worker(WorldError("Kafka is gone"))).run()


def test_probes_name_the_pipeline_that_is_not_well() -> None:
    def silent() -> str | None:
        raise TimeoutError

    assert of_all({"shop": lambda: None, "bank": lambda: None})() is None
    assert of_all({"shop": lambda: None, "bank": lambda: "no lanes"})() == "pipeline bank: no lanes"
    assert of_all({"shop": silent, "bank": lambda: "no lanes"})() == "pipeline shop: the worker does not answer"
    assert of_all({"shop": lambda: "no lanes"})() == "no lanes"


def test_metrics_of_all_pipelines_have_one_head_each_and_the_pipelines_name() -> None:
    registries = {name: CollectorRegistry() for name in ("shop", "bank")}
    for number, registry in enumerate(registries.values(), 1):
        Counter("reads", "Reads.", ["table"], registry=registry).labels("orders").inc(number)
    Gauge("up", "Up.", registry=registries["bank"]).set(1)
    lines = generate_latest(Exposition("pipeline", registries)).decode().splitlines()
    assert [line for line in lines if not line.startswith("#") and "_created" not in line] == [
        'reads_total{pipeline="shop",table="orders"} 1.0',
        'reads_total{pipeline="bank",table="orders"} 2.0',
        'up{pipeline="bank"} 1.0',
    ]
    assert lines.count("# TYPE reads_total counter") == 1


LOGS = """
import logging
from concurrent.futures import Future

from tailrace import logs
from tailrace.process.threads import Pool


def start(name: str, done: Future[None]) -> None:
    pool = Pool("reader", 1)
    pool.submit(lambda: logging.getLogger("tailrace.worker").info(f"of {name}, secret"))
    pool.submit(lambda: done.set_result(None))


logs.configure("info", lambda text: text.replace("secret", "***"), as_json=True)
for name in ("shop", "bank"):
    done = Future()
    logs.naming(name).run(start, name, done)
    done.result(10)
logs.log.info("of the process")
"""


def test_a_line_names_its_pipeline_in_every_thread_that_was_started_for_it() -> None:
    done = subprocess.run([sys.executable, "-c", LOGS], check=True, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["event"], line.get("pipeline")) for line in lines] == [
        ("of shop, ***", "shop"),
        ("of bank, ***", "bank"),
        ("of the process", None),
    ]
