"""docs/alerts.yaml is what Prometheus takes, and it sees a table's first dead letter."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from support.prometheus import RULES, minutes_as_seconds, program

LABELS = '{job="t", pipeline="shop", table="orders"}'


def test_prometheus_takes_the_rules() -> None:
    subprocess.run([program("promtool"), "check", "rules", RULES], check=True, capture_output=True)


def test_every_rule_is_as_short_as_the_tests_want_it() -> None:
    assert not re.search(r"\d[mh]\b|\* 60\b", minutes_as_seconds(RULES.read_text()))


def test_the_first_dead_letter_of_a_table_raises_the_alert(tmp_path: Path) -> None:
    (tmp_path / "test.yaml").write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(RULES)],
                "evaluation_interval": "1m",
                "tests": [
                    {
                        "interval": "1m",
                        "input_series": [
                            {"series": f"tailrace_dead_letters_total{LABELS}", "values": "_x5 1x60"},
                            {"series": 'tailrace_info{job="t"}', "values": "1x65"},
                        ],
                        "alert_rule_test": [
                            {"eval_time": f"{minute}m", "alertname": "TailraceDeadLetters", "exp_alerts": alerts}
                            for minute, alerts in ((4, []), (7, [ALERT]), (40, []))
                        ],
                    }
                ],
            }
        )
    )
    done = subprocess.run(
        [program("promtool"), "test", "rules", tmp_path / "test.yaml"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def _filled_in(text: str) -> str:
    return text.replace("{{ $labels.table }}", "orders").replace("{{ $labels.pipeline }}", "shop")


ALERT = {
    "exp_labels": {"job": "t", "pipeline": "shop", "table": "orders", "severity": "warning"},
    "exp_annotations": next(
        {name: _filled_in(text) for name, text in rule["annotations"].items()}
        for rule in rules()
        if rule["alert"] == "TailraceDeadLetters"
    ),
}
