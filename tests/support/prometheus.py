"""A real Prometheus that scrapes one worker and evaluates the shipped alert rules, with a minute played in a second."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import yaml

from support.waiting import TIMEOUT_S, wait_for
from tailrace.local.service import free_ports

RULES = Path(__file__).parents[2] / "docs" / "alerts.yaml"


def program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`; skips the test where there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name}: apt-get install prometheus, or brew install prometheus")
    return found


def minutes_as_seconds(rules: str) -> str:
    """Return the rules with every duration, in PromQL and of `for`, sixty times as short."""
    in_seconds = re.sub(r"\* 60\b", "* 1", rules)
    return re.sub(r"(\b\d+)m\b", r"\1s", in_seconds)


class Prometheus:
    """A context manager; `url` is the worker's metrics port."""

    def __init__(self, folder: Path, worker_port: int) -> None:
        (self._port,) = free_ports(1)
        (folder / "alerts.yaml").write_text(minutes_as_seconds(RULES.read_text()))
        settings = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yaml"],
            "scrape_configs": [{"job_name": "tailrace", "static_configs": [{"targets": [f"127.0.0.1:{worker_port}"]}]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
        self._log = (folder / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [
                program("prometheus"),
                "--config.file=prometheus.yml",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
            cwd=folder,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        wait_for("Prometheus has scraped the worker", self._has_scraped)

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire now."""
        alerts = self._ask("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def wait_firing(self, *names: str, timeout_s: float = TIMEOUT_S) -> None:
        """Return once all of these alerts have fired, at whatever times."""
        fired: set[str] = set()

        def have_fired() -> bool:
            fired.update(self.firing())
            return fired.issuperset(names)

        wait_for(f"the alerts {names} fire", have_fired, timeout_s)

    def _has_scraped(self) -> bool:
        try:
            return bool(self._ask("query?query=tailrace_info")["result"])
        except OSError:
            assert self._process.poll() is None, "Prometheus has ended"
            return False

    def _ask(self, what: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/{what}", timeout=10) as answer:
            return json.load(answer)["data"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()
