"""`tailrace serve` on a real broker: a connector's whole life by Kafka Connect's REST API, over two processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from support.names import unique
from support.serve_process import TRUSTPILOT, ServeProcess, basic, config_of, is_alive, metric_of, state_of, workers
from support.waiting import wait_for
from tailrace.errors import WorldError
from tailrace.kafka.topic_reader import TopicReader
from tailrace.local.dynamodb import DynamoDBLocal
from tailrace.local.kafka import KafkaBroker
from tailrace.local.workload import TableSpec, connect, create_table


def documents(kafka: KafkaBroker, topic: str) -> set[str]:
    """Return the ids of the documents that a topic holds."""
    try:
        with TopicReader(kafka.client_properties(), topic) as reader:
            values = [message.value() for message in reader.read()]
    except WorldError:
        return set()  # there is no such topic yet
    return {json.loads(json.loads(value)["document"])["id"]["s"] for value in values if value}


def test_a_connector_is_created_runs_pauses_fails_over_and_goes(
    start_serve: Callable[..., ServeProcess], kafka: KafkaBroker, dynamodb: DynamoDBLocal
) -> None:
    table, name = unique("orders"), unique("shop")
    database = connect(dynamodb.endpoint_url)
    create_table(database, TableSpec(table))
    one, two = start_serve(), start_serve()
    config = config_of(table, dynamodb.endpoint_url)

    created = one.call("POST", "/connectors", {"name": name, "config": config})
    assert created.status == 201, created
    assert created.body["config"]["aws.secret.key"] == "***"
    assert one.call("POST", "/connectors", {"name": name, "config": config}).status == 409
    wait_for("both processes know it", lambda: name in two.call("GET", "/connectors").body)
    wait_for("it runs in both", lambda: state_of(two, name) == ("RUNNING", ["RUNNING", "RUNNING"]), 60)
    expanded = one.call("GET", "/connectors?expand=status&expand=info").body[name]
    assert (expanded["info"]["type"], expanded["status"]["connector"]["state"]) == ("source", "RUNNING")

    database.put_item(TableName=table, Item={"id": {"S": "first"}})
    topic = f"dynamodb-{table}"
    wait_for("a change arrives", lambda: "first" in documents(kafka, topic), 60)
    assert one.call("GET", f"/connectors/{name}/topics").body == {name: {"topics": [topic]}}
    offsets = one.call("GET", f"/connectors/{name}/offsets").body["offsets"]
    assert offsets
    assert offsets[0].keys() == {"partition", "offset"}

    def published(process: ServeProcess) -> float:
        labels = {"connector": name, "pipeline": name, "table": table}
        return metric_of(process, "tailrace_changes_published_total", **labels) or 0

    wait_for("one of the workers has counted the change", lambda: published(one) + published(two) == 1)
    assert metric_of(one, "tailrace_connector_up", connector=name) == 1
    assert metric_of(one, "tailrace_connectors", state="running") == 1
    assert metric_of(one, "tailrace_serve_requests_total", status="409") == 1

    assert one.call("PUT", f"/connectors/{name}/pause").status == 202
    wait_for("it pauses", lambda: state_of(two, name) == ("PAUSED", ["PAUSED", "PAUSED"]), 30)
    assert two.call("PUT", f"/connectors/{name}/resume").status == 202
    wait_for("it runs again", lambda: state_of(one, name) == ("RUNNING", ["RUNNING", "RUNNING"]), 60)

    orphans = workers(one)
    one.kill()
    wait_for("a killed server takes its worker with it", lambda: not any(map(is_alive, orphans)), 30)
    database.put_item(TableName=table, Item={"id": {"S": "second"}})
    wait_for("the other process takes over", lambda: "second" in documents(kafka, topic), 60)
    wait_for("the one is known to be gone", lambda: state_of(two, name)[1] == ["RUNNING"], 30)

    assert two.call("DELETE", f"/connectors/{name}/offsets").status == 400  # not stopped
    assert two.call("PUT", f"/connectors/{name}/stop").status == 204
    wait_for("it stops", lambda: state_of(two, name) == ("STOPPED", []), 60)
    assert two.call("DELETE", f"/connectors/{name}/offsets").status == 200
    assert two.call("GET", f"/connectors/{name}/offsets").body == {"offsets": []}
    assert two.call("DELETE", f"/connectors/{name}").status == 204
    assert two.call("GET", f"/connectors/{name}").status == 404


def test_users_have_roles_and_secrets_are_not_shown(
    start_serve: Callable[..., ServeProcess], tmp_path: Path, dynamodb: DynamoDBLocal
) -> None:
    users = tmp_path / "users.yaml"
    users.write_text(
        "users:\n"
        '  - {name: olga, role: operator, password: "${env:OLGA}"}\n'
        '  - {name: vera, role: viewer, token: "${env:VERA}"}\n'
    )
    served = start_serve("--auth", str(users), environment={"OLGA": "pass-of-olga", "VERA": "token-of-vera"})
    olga, vera = {"Authorization": basic("olga", "pass-of-olga")}, {"Authorization": "Bearer token-of-vera"}
    config = config_of(unique("table"), dynamodb.endpoint_url)
    assert served.call("GET", "/connectors").status == 401
    assert served.call("GET", "/connectors", Authorization=basic("olga", "wrong")).status == 401
    assert served.call("GET", "/connectors", **vera).body == []
    assert served.call("GET", "/metrics").status == 401
    assert "tailrace_connectors" in served.call("GET", "/metrics", **vera).body
    refused = served.call("POST", "/connectors", {"name": "x", "config": config}, **vera)
    assert (refused.status, refused.body["error_code"]) == (403, 403)
    assert served.call("PUT", f"/connector-plugins/{TRUSTPILOT}/config/validate", config, **vera).status == 200
    name = unique("shop")
    body = {"name": name, "config": config, "initial_state": "STOPPED"}
    assert served.call("POST", "/connectors", body, **olga).status == 201
    shown = served.call("GET", f"/connectors/{name}/config", **vera).body
    assert shown["aws.secret.key"] == "***"
    # What is shown can be given back: the secret stays.
    assert served.call("PUT", f"/connectors/{name}/config", shown | {"tasks.max": "2"}, **olga).status == 200
    assert served.call("GET", f"/connectors/{name}", **vera).body["config"]["tasks.max"] == "2"
    assert served.call("DELETE", f"/connectors/{name}", **olga).status == 204
    for log in tmp_path.glob("serve-*.log"):
        assert "not-a-secret-here" not in log.read_text()


def test_wrong_requests_are_answered_as_connect_answers_them(start_serve: Callable[..., ServeProcess]) -> None:
    served = start_serve()
    assert served.call("GET", "/connectors/none").body == {"error_code": 404, "message": "Connector none not found"}
    assert served.call("POST", "/connectors", {"config": {}}).status == 400
    wrong = served.call("POST", "/connectors", {"name": "a", "config": {"connector.class": "com.acme.Own"}})
    assert wrong.status == 400
    assert "com.acme.Own" in wrong.body["message"]
    found = served.call("PUT", f"/connector-plugins/{TRUSTPILOT}/config/validate", {"colour": "red"}).body
    assert found["error_count"] == 1
    (colour,) = [each for each in found["configs"] if each["value"]["errors"]]
    assert colour["value"]["name"] == "colour"
    assert {each["class"] for each in served.call("GET", "/connector-plugins").body} > {TRUSTPILOT}
    keys = served.call("GET", "/connector-plugins/DynamoDBSourceConnector/config").body
    assert {"name", "type", "importance", "documentation", "default_value"} <= keys[0].keys()
    assert served.call("PUT", "/admin/loggers/tailrace.serve", {"level": "debug"}).body == ["tailrace.serve"]
    assert served.call("GET", "/admin/loggers/tailrace.serve").body["level"] == "DEBUG"
    assert served.call("PUT", "/admin/loggers/tailrace", {"level": "loud"}).status == 404
    assert served.call("GET", "/").body.keys() == {"version", "commit", "kafka_cluster_id"}
    assert served.call("GET", "/openapi.json").body["info"]["title"] == "Tailrace"
    assert served.call("GET", "/nothing").body["error_code"] == 404
