"""The simulator's socket: faults as clients feel them, the control API, a clean end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from urllib3 import HTTPConnectionPool
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from support.waiting import wait_for
from tailrace_simulator import SimulatedDynamoDB

LIST = {"X-Amz-Target": "DynamoDB_20120810.ListTables", "Authorization": "AWS4-HMAC-SHA256 unchecked"}


@pytest.fixture
def simulated() -> Iterator[SimulatedDynamoDB]:
    with SimulatedDynamoDB(seed=1) as simulated:
        yield simulated


@pytest.fixture
def pool(simulated: SimulatedDynamoDB) -> Iterator[HTTPConnectionPool]:
    with HTTPConnectionPool("127.0.0.1", simulated.port, maxsize=1, timeout=5, retries=False) as pool:
        yield pool


def list_tables(pool: HTTPConnectionPool, **options: Any) -> Any:
    return pool.urlopen("POST", "/", body=b"{}", headers=LIST, **options)


def test_a_connection_is_kept_for_the_next_request(pool: HTTPConnectionPool) -> None:
    for _ in range(3):
        assert list_tables(pool).json() == {"TableNames": []}
    assert pool.num_connections == 1


@pytest.mark.parametrize(
    ("fault", "error"), [("reset", "Connection reset"), ("lost", "Connection reset"), ("cut_short", "IncompleteRead")]
)
def test_a_connection_breaks_as_told(
    simulated: SimulatedDynamoDB, pool: HTTPConnectionPool, fault: str, error: str
) -> None:
    simulated.act("fail", operation="ListTables", fault=fault)
    with pytest.raises(ProtocolError, match=error):
        list_tables(pool)
    assert list_tables(pool).status == 200


def test_a_slow_answer_comes_late_and_keeps_nobody_else_waiting(
    simulated: SimulatedDynamoDB, pool: HTTPConnectionPool
) -> None:
    simulated.act("settings", settings={"slow_s": 0.5})
    simulated.act("fail", operation="ListTables", fault="slow")
    began_s = time.monotonic()
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(list_tables, pool)
        wait_for("the slow call", lambda: simulated.state()["calls"].get("ListTables") == 1)
        with HTTPConnectionPool("127.0.0.1", simulated.port) as other:
            assert list_tables(other).status == 200
        assert time.monotonic() - began_s < 0.4
        assert slow.result().status == 200
    assert time.monotonic() - began_s >= 0.5


def test_a_call_that_hangs_is_let_go_when_its_client_gives_up_or_it_is_released(
    simulated: SimulatedDynamoDB, pool: HTTPConnectionPool
) -> None:
    before = threading.active_count()
    simulated.act("fail", operation="*", fault="hang", times=2)
    with pytest.raises(ReadTimeoutError):
        list_tables(pool, timeout=0.1)
    wait_for("the thread's end", lambda: threading.active_count() == before)
    with ThreadPoolExecutor() as threads:
        hanging = threads.submit(list_tables, pool)
        wait_for("the call", lambda: simulated.state()["calls"]["ListTables"] == 2)
        simulated.act("release")
        assert isinstance(hanging.exception(), HTTPError)
    assert list_tables(pool).status == 200


def test_closing_lets_go_of_everybody() -> None:
    before = threading.active_count()
    with SimulatedDynamoDB() as simulated, HTTPConnectionPool("127.0.0.1", simulated.port, maxsize=2) as pool:
        assert list_tables(pool).status == 200
        simulated.act("fail", operation="*", fault="hang")
        with ThreadPoolExecutor() as threads:
            hanging = threads.submit(list_tables, pool, retries=False)
            wait_for("the call", lambda: simulated.state()["calls"]["ListTables"] == 2)
            simulated.close()
            assert isinstance(hanging.exception(), HTTPError)
    wait_for("the threads' end", lambda: threading.active_count() == before)


def test_actions_and_state_can_be_had_over_http(simulated: SimulatedDynamoDB, pool: HTTPConnectionPool) -> None:
    def act(name: str, body: bytes) -> Any:
        return pool.urlopen("POST", f"/_tailrace/{name}", body=body)

    told = act("fail", b'{"operation": "ListTables", "fault": "throttle"}')
    assert (told.status, told.json()) == (200, {})
    assert list_tables(pool).status == 400
    assert act("advance", b'{"seconds": 3600}').status == 200
    state = pool.urlopen("GET", "/_tailrace/state").json()
    assert state["faults"] == {"ListTables throttle": 1}
    assert state["now_ms"] / 1000 == pytest.approx(time.time() + 3600, abs=5)
    assert state == simulated.state() | {"now_ms": state["now_ms"]}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "sentence"),
    [
        ("POST", "explode", b"{}", 400, "there is no action explode"),
        ("POST", "split", b"{}", 400, "give either table or stream"),
        ("POST", "split", b'{"table": "none"}', 400, "none not found"),
        ("POST", "split", b"{", 400, "truncated"),
        ("POST", "split", b"[]", 400, "Expected `object`"),
        ("POST", "advance", b'{"seconds": -1}', 400, "cannot be turned back"),
        ("POST", "split", b'{"name": "x"}', 400, "unknown field `name`"),
        ("GET", "nothing", b"", 404, "there is /_tailrace/state to GET"),
    ],
)
def test_a_wrong_action_is_answered_with_a_sentence(
    pool: HTTPConnectionPool, *, method: str, path: str, body: bytes, status: int, sentence: str
) -> None:
    answer = pool.urlopen(method, f"/_tailrace/{path}", body=body or None)
    assert answer.status == status
    assert sentence in answer.json()["error"]


def test_a_port_that_is_taken_is_refused(simulated: SimulatedDynamoDB) -> None:
    with pytest.raises(OSError, match="in use"):
        SimulatedDynamoDB(port=simulated.port)
