"""A worker of Apache Kafka Connect itself, with the connectors that tests give it."""

from __future__ import annotations

import json
import os
import tarfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from filelock import FileLock
from jgo.env import EnvironmentBuilder
from jgo.maven import MavenContext, PythonResolver

from tailrace.local.artifacts import cache_dir
from tailrace.local.service import JavaService, free_ports

_VERSION: Final = "4.1.0"
_WORKER: Final = f"org.apache.kafka:connect-runtime:{_VERSION}+org.apache.kafka:connect-json:{_VERSION}"


class ConnectWorker(JavaService):
    """One worker in distributed mode on a free port; takes some 20 s. `properties` are those of its file."""

    name = "connect"

    def __init__(self, properties: Mapping[str, str]) -> None:
        self._jars = _jars()
        [port] = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(None)
        self._file = self.folder / "connect.properties"
        # Otherwise it reads every class of every jar for plugins, which takes half of its start.
        lines = {**properties, "listeners": self.url, "plugin.discovery": "service_load"}
        self._file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    def ask(self, path: str, body: Any = None) -> Any:
        """Return the answer of its REST API to GET, or to POST of a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def _arguments(self) -> list[str]:
        main = "org.apache.kafka.connect.cli.ConnectDistributed"
        return ["-Xmx512m", "-cp", os.pathsep.join(self._jars), main, str(self._file)]

    def _is_ready(self, timeout_s: float) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/connectors", timeout=timeout_s):
                return True
        except (urllib.error.URLError, OSError):
            return False


def debezium_jdbc_sink(version: str) -> Path:
    """Return the folder of Debezium's JDBC sink, for `plugin.path`. Skips the test where it cannot be had."""
    folder = cache_dir() / "connect" / f"debezium-jdbc-{version}"
    with FileLock(_made(folder.parent) / ".lock"):
        if not folder.is_dir():
            try:
                plugin = _maven().project("io.debezium", "debezium-connector-jdbc").at_version(version)
                archive = plugin.artifact(packaging="tar.gz", classifier="plugin").resolve()
            except Exception as error:
                pytest.skip(f"Debezium's JDBC sink cannot be had: {error}")
            part = folder.with_suffix(".part")
            with tarfile.open(archive) as opened:
                opened.extractall(part, filter="data")
            part.rename(folder)
    return folder


def _jars() -> list[str]:
    folder = cache_dir() / "connect" / f"worker-{_VERSION}"
    with FileLock(_made(folder.parent) / ".lock"):
        try:
            found = EnvironmentBuilder(context=_maven(), cache_dir=folder).from_endpoint(_WORKER)
        except Exception as error:
            pytest.skip(f"Kafka Connect cannot be had: {error}")
        return sorted(map(str, Path(found.path).rglob("*.jar")))


def _maven() -> MavenContext:
    return MavenContext(resolver=PythonResolver(), repo_cache=cache_dir() / "connect" / "maven")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
