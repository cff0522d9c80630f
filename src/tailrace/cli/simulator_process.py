"""What the commands that run the simulator share: how it starts and ends, and what clients of it need."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tailrace.cli.simulator_errors import simulator_errors
from tailrace.extras import brought_by
from tailrace.listening import refused

if TYPE_CHECKING:
    from tailrace_simulator import SimulatedDynamoDB


def until_signal() -> threading.Event:
    """Return what SIGTERM and Ctrl-C set from now on."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped


@contextmanager
def started(*, port: int, host: str, seed: int, faults: Path | None) -> Iterator[SimulatedDynamoDB]:
    """Run the simulator in this block. Raises `FileError` for the file of faults, `WorldError` for the rest."""
    with brought_by("simulator"):
        from tailrace_simulator import SimulatedDynamoDB
        from tailrace_simulator.script_file import load_script

    with simulator_errors():
        script = load_script(faults) if faults else None
    try:
        simulated = SimulatedDynamoDB(seed=seed, port=port, host=host, script=script)
    except OSError as error:
        raise refused(error, f"{host}:{port}", port, hint="choose another port") from error
    with simulated:
        yield simulated


def environment_of(endpoint_url: str) -> dict[str, str]:
    """Return the variables with which AWS's tools use a simulator."""
    return {
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint_url,
    }
