"""`tailrace serve` as the clients of Kafka Connect see it that are not ours, and as its OpenAPI says it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.names import unique
from support.serve_process import ServeProcess, config_of
from tailrace.local.dynamodb import DynamoDBLocal
from tailrace.local.workload import TableSpec, connect, create_table

ENVIRONMENT = Path(sys.prefix) / "connect-checks" / "bin"
SUPPORT = Path(__file__).parents[1] / "support"


@pytest.mark.parametrize("client", ["kafka-connect-py", "kafka-connect-api"])
def test_a_client_that_is_not_ours_leads_a_connector_through_its_life(
    client: str, start_serve: Callable[..., ServeProcess], dynamodb: DynamoDBLocal
) -> None:
    table = unique("orders")
    create_table(connect(dynamodb.endpoint_url), TableSpec(table))
    served = start_serve()
    connector = {"name": unique("shop"), "config": config_of(table, dynamodb.endpoint_url)}
    run(ENVIRONMENT / "python", SUPPORT / "connect_checks.py", client, served.url, json.dumps(connector))


def test_answers_are_those_of_the_openapi_whatever_is_asked(
    start_serve: Callable[..., ServeProcess], dynamodb: DynamoDBLocal, tmp_path: Path
) -> None:
    served = start_serve()
    config = config_of(unique("orders"), dynamodb.endpoint_url)
    served.call("POST", "/connectors", {"name": "shop", "config": config, "initial_state": "STOPPED"})
    settings = SUPPORT / "schemathesis.toml"
    schemathesis = ("--config-file", settings, "run", f"{served.url}/openapi.json", "--no-color")
    run(ENVIRONMENT / "schemathesis", *schemathesis, folder=tmp_path)


def run(*command: str | Path, folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
