"""Flink in one process: the SQL gateway, and within it a mini cluster for each job."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from tailrace.errors import WorldError
from tailrace.flink.environment import Environment
from tailrace.flink.job import Job
from tailrace.flink.rest import call
from tailrace.flink.session import Session
from tailrace.local.service import JavaService, free_ports

_HEAP: Final = "-Xmx2g"
# What Flink's own scripts open for Java 17 and newer.
_OPENED: Final = (
    "java.lang",
    "java.net",
    "java.nio",
    "java.text",
    "java.time",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "java.util.concurrent.locks",
    "sun.nio.ch",
)
_LOG: Final = """rootLogger.level = WARN
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c - %m%n
"""


class Gateway(JavaService):
    """One process; a context manager that starts and closes it. Nobody but this machine reaches it.

    Args:
        environment: where Flink is.
        slots: how many tasks of a job run at the same time.
        options: more of Flink's configuration.
        variables: more environment variables, such as AWS's credentials.
        folder: what is kept when it ends is its log.
    """

    name = "flink"

    def __init__(
        self,
        environment: Environment,
        *,
        slots: int = 2,
        options: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self._environment = environment
        self._slots = slots
        self._options = dict(options or {})
        self._variables = dict(variables or {})
        (self._port,) = free_ports(1)
        super().__init__(folder)

    @property
    def url(self) -> str:
        """Where its REST API is."""
        return f"http://127.0.0.1:{self._port}"

    def session(self) -> Session:
        """Open a session. Raises WorldError."""
        return Session(self.url)

    def submit(self, session: Session, statement: str) -> Job:
        """Start the job of a statement in a mini cluster of its own. Raises WorldError."""
        (port,) = free_ports(1)
        session.run(f"SET 'rest.bind-port' = '{port}'")
        return Job(f"http://127.0.0.1:{port}", session.submit(statement))

    def spawn(self) -> None:
        """Start without waiting, its configuration written first."""
        conf = self.folder / "conf"
        conf.mkdir(exist_ok=True)
        (self.folder / "tmp").mkdir(exist_ok=True)
        (conf / "config.yaml").write_text(
            "".join(f"{name}: {_yaml(value)}\n" for name, value in self._config().items())
        )
        (conf / "log4j.properties").write_text(_LOG)
        super().spawn()

    def _config(self) -> dict[str, str]:
        return {
            "execution.target": "local",
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "jobmanager.rpc.address": "127.0.0.1",
            "taskmanager.numberOfTaskSlots": str(self._slots),
            "parallelism.default": str(self._slots),
            "sql-gateway.endpoint.rest.address": "127.0.0.1",
            "sql-gateway.endpoint.rest.bind-address": "127.0.0.1",
            "sql-gateway.endpoint.rest.port": str(self._port),
            "sql-gateway.endpoint.rest.bind-port": str(self._port),
            "sql-gateway.session.idle-timeout": "0",
            "io.tmp.dirs": str(self.folder / "tmp"),
            "web.upload.dir": str(self.folder / "tmp"),
            "security.delegation.tokens.enabled": "false",  # Kerberos's
            "table.local-time-zone": "UTC",
            **self._options,
        }

    def _environment_variables(self) -> Mapping[str, str]:
        return {
            **os.environ,
            **self._variables,
            "FLINK_CONF_DIR": str(self.folder / "conf"),
            "FLINK_PLUGINS_DIR": str(self._environment.plugins),
        }

    def _arguments(self) -> list[str]:
        opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
        log = (self.folder / "conf" / "log4j.properties").as_uri()
        return [
            _HEAP,
            *opened,
            "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
            f"-Dlog4j.configurationFile={log}",
            f"-Djava.io.tmpdir={self.folder / 'tmp'}",
            "-cp",
            self._environment.classpath,
            "org.apache.flink.table.gateway.SqlGateway",
        ]

    def _is_ready(self, timeout_s: float) -> bool:
        del timeout_s  # it refuses the connection until it is
        try:
            call("GET", f"{self.url}/v3/info")
        except WorldError:
            return False
        return True


def _yaml(value: str) -> str:
    return msgspec.json.encode(value).decode()
