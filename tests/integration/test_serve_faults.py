"""`tailrace serve` when processes die and configurations go wrong, and whom it lets in by certificate."""

from __future__ import annotations

import os
import signal
import ssl
import urllib.error
from collections.abc import Callable
from pathlib import Path

import pytest

from support import tls
from support.names import unique
from support.serve_process import HAS_CHILDREN, ServeProcess, config_of, metric_of, state_of, workers
from support.waiting import wait_for
from tailrace.kafka.java_clients import translate
from tailrace.local.dynamodb import DynamoDBLocal
from tailrace.local.kafka import KafkaBroker
from tailrace.local.workload import TableSpec, connect, create_table
from tailrace.serve.state import ConnectorRecord
from tailrace.serve.store import Store


@pytest.mark.skipif(not HAS_CHILDREN, reason="the children of a process are read from /proc")
def test_dead_processes_are_replaced_and_wrong_configurations_are_told(
    start_serve: Callable[..., ServeProcess], kafka: KafkaBroker, dynamodb: DynamoDBLocal
) -> None:
    table, name = unique("orders"), unique("shop")
    create_table(connect(dynamodb.endpoint_url), TableSpec(table))
    one, two = start_serve(), start_serve()
    config = config_of(table, dynamodb.endpoint_url)
    assert one.call("POST", "/connectors", {"name": name, "config": config}).status == 201
    wait_for("it runs in both", lambda: state_of(two, name) == ("RUNNING", ["RUNNING", "RUNNING"]), 60)

    before = {process: workers(process) for process in (one, two)}
    assert two.call("PUT", f"/connectors/{name}/config", config | {"tasks.max": "2"}).status == 200

    def is_replaced(process: ServeProcess) -> bool:
        now = workers(process)
        return len(now) == 1 and now != before[process]

    wait_for("both run the new configuration", lambda: is_replaced(one) and is_replaced(two), 60)

    assert one.stop() == 0
    wait_for("one that is stopped has left", lambda: state_of(two, name) == ("RUNNING", ["RUNNING"]), 10)

    (worker,) = workers(two)
    wait_for("it is up", lambda: metric_of(two, "tailrace_connector_up", connector=name) == 1)
    os.kill(worker, signal.SIGSTOP)
    assert metric_of(two, "tailrace_connector_up", connector=name) == 0
    os.kill(worker, signal.SIGKILL)
    wait_for("a killed worker has failed", lambda: state_of(two, name) == ("FAILED", ["FAILED"]), 30)
    assert two.call("GET", f"/connectors/{name}/tasks/0/status").body["trace"]
    wait_for("it is started again", lambda: state_of(two, name) == ("RUNNING", ["RUNNING"]), 60)
    assert metric_of(two, "tailrace_connector_restarts_total", connector=name) == 1

    # As a process of an older version may have written it, so that no request has checked it.
    with_typo = {**config, "name": name, "kafka.topic.prefx": "dynamodb-"}
    store = Store(translate(kafka.client_properties()).properties, two.group)
    store.start()
    store.write("connector", name, ConnectorRecord(with_typo))
    wait_for("a wrong configuration fails", lambda: state_of(two, name) == ("FAILED", ["FAILED"]), 60)
    failed = two.call("GET", f"/connectors/{name}/status").body
    assert "kafka.topic.prefx" in failed["tasks"][0]["trace"]
    assert failed["connector"]["trace"] == failed["tasks"][0]["trace"]
    store.close()


def test_a_client_certificate_gives_the_role(start_serve: Callable[..., ServeProcess], tmp_path: Path) -> None:
    users = tmp_path / "users.yaml"
    users.write_text(
        "users:\n  - {name: works, role: viewer, certificate: worker}\n"
        f"tls: {{certificate: {tls.BROKER}, key: {tls.BROKER}, client_ca: {tls.CA}}}\n"
    )
    served = start_serve("--auth", str(users), scheme="https", context=shows(None))
    assert served.call("GET", "/connectors").status == 401
    known = shows(tls.WORKER)
    assert served.call_with(known, "GET", "/connectors").body == []
    refused = served.call_with(known, "PUT", "/connectors/shop/pause")
    assert (refused.status, refused.body["message"]) == (
        403,
        "works is a viewer: only an operator may change connectors",
    )
    with pytest.raises((urllib.error.URLError, ConnectionError, ssl.SSLError)):
        served.call_with(shows(tls.STRANGER), "GET", "/connectors")
    assert served.call("GET", "/health").status == 200


def shows(certificate: Path | None) -> ssl.SSLContext:
    """Return what a client trusts, and what it shows of itself."""
    context = ssl.create_default_context(cafile=str(tls.CA))
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context
