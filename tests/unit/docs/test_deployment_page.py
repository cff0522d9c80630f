"""The unit, the manifest and the policy that the docs give are ones that their tools take."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

DOCS = Path(__file__).parents[3] / "docs"
UNIT = (DOCS / "tailrace.service").read_text()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    command = re.search(r"^ExecStart=(\S+)", UNIT, flags=re.MULTILINE)
    assert command
    unit = tmp_path / "tailrace.service"
    unit.write_text(UNIT.replace(command[1], sys.executable))  # it must be there
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "tailrace.service" in line] == []
    assert done.returncode == 0


def test_the_deployment_runs_a_worker_with_its_probes() -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", (DOCS / "deployment.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    (container,) = yaml.safe_load(block)["spec"]["template"]["spec"]["containers"]
    assert container["command"][:2] == ["tailrace", "run"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_the_policy_allows_what_the_operations_page_lists() -> None:
    page = (DOCS / "before-you-start.md").read_text()
    (block,) = re.findall(r"^```json\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    actions = [statement["Action"] for statement in json.loads(block)["Statement"]]
    allowed = {each for action in actions for each in ([action] if isinstance(action, str) else action)}
    options = set(re.findall(r"^- for .*`(dynamodb:\w+)`", page, flags=re.MULTILINE))
    assert options == {
        "dynamodb:BatchGetItem",
        "dynamodb:ListTagsOfResource",
        "dynamodb:Scan",
        "dynamodb:UpdateTable",
    }
    permissions = (DOCS / "operations.md").read_text().partition("## Permissions")[2]
    assert allowed | options == set(re.findall(r"`(dynamodb:\w+)`", permissions))
