"""A PostgreSQL of one test."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tailrace.local.service import LocalService, free_ports


class Postgres(LocalService):
    """One server on a free port with a database and a user. Skips the test where PostgreSQL is not installed."""

    name = "postgres"

    def __init__(self, database: str, user: str, password: str) -> None:
        self._programs = _programs()
        # PostgreSQL does not run as root.
        self._as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        [self.port] = free_ports(1)
        self._login = {"PGPASSWORD": password, "PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": user}
        self._database = database
        super().__init__(None)
        self._data = self.folder / "data"
        secret = self.folder / "password"
        secret.write_text(password)
        if self._as_user:
            for path in (self.folder, secret):
                shutil.chown(path, "postgres")
        initdb = ["initdb", "-D", str(self._data), "-U", user, "--pwfile", str(secret), "-A", "scram-sha-256"]
        self._run([*initdb, "--no-sync", "-E", "UTF8", "--locale", "C"])

    def query(self, sql: str, database: str | None = None) -> list[list[str]]:
        """Return the rows, a null as an empty text; none where the table is not there yet."""
        command = ["psql", "-X", "-A", "-t", "-d", database or self._database, "-c", sql]
        done = subprocess.run(command, env=os.environ | self._login, capture_output=True, text=True, check=False)
        return [line.split("|") for line in done.stdout.splitlines()]

    def start(self) -> Any:
        """Start it with the database."""
        super().start()
        self.query(f"CREATE DATABASE {self._database}", "postgres")
        return self

    def _command(self) -> list[str]:
        where = ["-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1", "-k", str(self.folder)]
        return [*self._as_user, str(self._programs / "postgres"), *where, "-F"]

    def _is_ready(self, timeout_s: float) -> bool:
        del timeout_s
        return self.query("SELECT 1", "postgres") == [["1"]]

    def _run(self, command: list[str]) -> None:
        program = [*self._as_user, str(self._programs / command[0]), *command[1:]]
        subprocess.run(program, check=True, capture_output=True, cwd=self.folder)


def _programs() -> Path:
    """Return the folder of the server's programs."""
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    if found := shutil.which("postgres"):
        folders.insert(0, Path(found).resolve().parent)
    folder = next((each for each in folders if (each / "initdb").is_file()), None)
    if folder is None or shutil.which("psql") is None:
        pytest.skip("PostgreSQL is not installed")
    return folder
