"""A script for the environment of the Connect checks: clients that are not ours lead a connector through its life.

python connect_checks.py kafka-connect-py|kafka-connect-api URL '{"name": …, "config": {…}}'
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from kafka_connect import KafkaConnect  # type: ignore[import-not-found]  # it is in that environment
from kafka_connect_api.errors import GenericConflict, GenericNotFound  # type: ignore[import-not-found]  # it is in that environment
from kafka_connect_api.kafka_connect_api import Api, Cluster  # type: ignore[import-not-found]  # it is in that environment
from requests.exceptions import HTTPError

TIMEOUT_S = 60


def wait_for(what: str, is_true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + TIMEOUT_S
    while not is_true():
        assert time.monotonic() < deadline, f"{what}: not within {TIMEOUT_S} s"
        time.sleep(0.2)


def with_kafka_connect_py(url: str, name: str, config: dict[str, str]) -> None:
    """The client behind the command `kc`."""
    client = KafkaConnect(url)

    def is_in(state: str, tasks: int) -> bool:
        status = client.get_connector_status(name)
        return status["connector"]["state"] == state and len(status["tasks"]) == tasks

    assert {"version", "commit", "kafka_cluster_id"} <= client.get_cluster_info().keys()
    plugin = config["connector.class"]
    assert plugin in [each["class"] for each in client.list_connector_plugins()]
    assert client.validate_connector_config(plugin, config)["error_count"] == 0
    created = client.create_connector({"name": name, "config": config})
    assert (created["name"], created["type"]) == (name, "source")
    assert fails(lambda: client.create_connector({"name": name, "config": config}), 409)
    assert client.list_connectors(pattern=name) == [name]
    wait_for("it runs", lambda: is_in("RUNNING", 1))
    expanded = client.list_connectors(expand="status", state="RUNNING")
    assert expanded[name]["status"]["tasks"][0]["state"] == "RUNNING"
    assert client.list_connectors(expand="info")[name]["info"]["config"]["name"] == name
    assert client.get_connector(name)["tasks"] == [{"connector": name, "task": 0}]
    assert client.get_connector_config(name)["connector.class"] == plugin
    assert client.update_connector(name, config | {"tasks.max": "2"})["config"]["tasks.max"] == "2"
    assert client.list_connector_tasks(name)[0]["id"] == {"connector": name, "task": 0}
    assert client.get_connector_task_status(name, 0)["id"] == 0
    assert client.list_connector_topics(name)[name].keys() == {"topics"}
    client.reset_connector_topics(name)
    client.pause_connector(name)
    wait_for("it pauses", lambda: is_in("PAUSED", 1))
    client.resume_connector(name)
    wait_for("it runs again", lambda: is_in("RUNNING", 1))
    client.restart_connector(name)
    assert client.restart_connector(name, include_tasks=True)["name"] == name
    assert client.restart_connector(name, only_failed=True)["name"] == name
    client.restart_connector_task(name, 0)
    client.stop_connector(name)
    wait_for("it stops", lambda: is_in("STOPPED", 0))
    client.delete_connector(name)
    assert fails(lambda: client.get_connector(name), 404)
    assert fails(lambda: client.pause_connector(name), 404)


def with_kafka_connect_api(url: str, name: str, config: dict[str, str]) -> None:
    """The client kafka-connect-api, of compose-x."""
    cluster = Cluster(Api(url=url))
    assert cluster.version
    assert cluster.kafka_cluster
    cluster.api.post("/connectors", json={"name": name, "config": config})
    assert raises(GenericConflict, lambda: cluster.api.post("/connectors", json={"name": name, "config": config}))
    connector = cluster.connectors[name]
    assert connector.exists()
    assert connector.connector_class == config["connector.class"]
    wait_for("it runs", lambda: connector.state == "RUNNING" and len(connector.tasks) == 1)
    assert connector.tasks[0].is_running()
    connector.config = config | {"tasks.max": "2"}
    assert connector.config["tasks.max"] == "2"
    connector.pause()
    wait_for("it pauses", lambda: connector.state == "PAUSED")
    connector.resume()
    connector.restart()
    connector.cycle_connector()
    cluster.root_logger = "DEBUG"
    assert cluster.root_logger["level"] == "DEBUG"
    assert "tailrace.serve" in cluster.set_logger_log_level("tailrace.serve", "INFO")
    connector.delete()
    assert not cluster.connectors
    assert raises(GenericNotFound, connector.exists)


def fails(call: Callable[[], Any], status: int) -> bool:
    """Whether a call of kafka-connect-py fails with a status of HTTP."""
    try:
        call()
    except HTTPError as error:
        return error.response is not None and error.response.status_code == status
    return False


def raises(kind: type[Exception], call: Callable[[], Any]) -> bool:
    """Whether a call raises an exception of a kind."""
    try:
        call()
    except kind:
        return True
    return False


if __name__ == "__main__":
    client, url, connector = sys.argv[1:]
    drive = with_kafka_connect_py if client == "kafka-connect-py" else with_kafka_connect_api
    drive(url, **json.loads(connector))
