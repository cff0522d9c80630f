"""The services that stay after `tailrace local up`: one pair for each cache folder, remembered in a file there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from tailrace.errors import WorldError
from tailrace.listening import require_free
from tailrace.local.artifacts import Progress, cache_dir
from tailrace.local.stack import LocalStack

_STOP_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class RunningServices:
    """Where the services are."""

    bootstrap_servers: str
    endpoint_url: str
    kafka_pid: int
    dynamodb_pid: int
    folder: str


def up(
    *, kafka_port: int | None = None, dynamodb_port: int | None = None, progress: Progress | None = None
) -> tuple[RunningServices, bool]:
    """Start both services, empty, so that they stay; and whether they were started now or ran already.

    Raises:
        WorldError: they cannot be fetched or started, or they run on other ports than those asked for.
    """
    cache_dir().mkdir(parents=True, exist_ok=True)
    with FileLock(cache_dir() / "local.lock"):
        if services := status():
            _refuse_other_ports(services, kafka_port, dynamodb_port)
            return services, False
        _end_what_is_left()
        for port, option in ((kafka_port, "--kafka-port"), (dynamodb_port, "--dynamodb-port")):
            if port is not None:
                require_free(port, hint=f"choose another port with {option}")
        folder = _folder()
        stack = LocalStack(folder, kafka_port=kafka_port, dynamodb_port=dynamodb_port, progress=progress).start()
        services = RunningServices(
            stack.bootstrap_servers, stack.endpoint_url, stack.kafka.pid, stack.dynamodb.pid, str(folder)
        )
        _state_path().write_text(json.dumps(asdict(services)))
        stack.detach()
        return services, True


def status() -> RunningServices | None:
    """Return the services if both run."""
    services = _remembered()
    return services if services and all(_runs(pid) for pid in _pids(services)) else None


def down() -> bool:
    """Stop both and drop their data; whether any ran."""
    if not _folder().exists():
        return False
    with FileLock(cache_dir() / "local.lock"):
        return _end_what_is_left()


def _folder() -> Path:
    return cache_dir().absolute() / "local"


def _state_path() -> Path:
    return _folder() / "state.json"


def _remembered() -> RunningServices | None:
    with suppress(OSError, ValueError, TypeError):
        return RunningServices(**json.loads(_state_path().read_text()))
    return None


def _pids(services: RunningServices) -> tuple[int, int]:
    return services.kafka_pid, services.dynamodb_pid


def _runs(pid: int) -> bool:
    """Whether that process is one of ours: after a restart of the machine another may have the number."""
    return str(_folder()) in _command_line(pid)


def _command_line(pid: int) -> str:
    """Empty for a process that has ended."""
    if Path("/proc/self/cmdline").exists():
        with suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        return ""
    shown = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout


def _refuse_other_ports(services: RunningServices, kafka_port: int | None, dynamodb_port: int | None) -> None:
    for name, address, port in (
        ("Kafka", services.bootstrap_servers, kafka_port),
        ("DynamoDB Local", services.endpoint_url, dynamodb_port),
    ):
        if port and not address.endswith(f":{port}"):
            raise WorldError(f"{name} already runs at {address}", hint="run `tailrace local down` first")


def _end_what_is_left() -> bool:
    services = _remembered()
    ended = [pid for pid in _pids(services) if _end(pid)] if services else []
    shutil.rmtree(_folder(), ignore_errors=True)
    return bool(ended)


def _end(pid: int) -> bool:
    """Stop a process, killed if it takes too long; whether it ran."""
    ran = _runs(pid)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    with suppress(ProcessLookupError):
        if ran:
            os.killpg(pid, signal.SIGTERM)
        while _runs(pid):
            time.sleep(0.05)
            if time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
    return ran
