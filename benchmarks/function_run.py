"""The Lambda function as it is deployed: its package, unpacked as Lambda does it, with AWS's runtime client."""

from __future__ import annotations

import compileall
import json
import os
import platform
import sys
import time
import zipfile
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks import pages
from benchmarks.lab import MEASURED_CORE, Lab
from benchmarks.measure import cpu_s_of, memory_mb_of, on_core
from benchmarks.page_server import STREAM_ARN, Stream
from benchmarks.transcoders import How, environment, installed
from benchmarks.worker_run import Pipeline
from tailrace import __version__
from tailrace.deploy.archive import write_zip
from tailrace.deploy.package import HANDLER, build
from tailrace.deploy.target import Target
from tailrace_simulator.event_source import Answered
from tailrace_simulator.function import Sandbox, load_code

TARGET: Final = Target(
    "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64",
    f"{sys.version_info.major}.{sys.version_info.minor}",  # type: ignore[arg-type]  # 3.11, which Lambda's users cannot ask for
)
_TIMEOUT_S: Final = 60.0


class DeployedFunction:
    """A function's package, built for this machine and Python: the code in one folder, its layer in another."""

    def __init__(self, lab: Lab) -> None:
        self._folder = lab.folder / "package"
        native = _installed_wheel(lab.folder / "wheels") if "native" in installed() else None
        self.package = build(TARGET, self._folder, native=native)
        for part, place in ((self.package.function, "task"), (self.package.layer, "opt")):
            with zipfile.ZipFile(part.file) as archive:
                archive.extractall(self._folder / place)
        self.code = load_code(HANDLER, self._folder / "task", self._folder)
        parts = (self.code.task_root, self._folder / "opt" / "python", self.code.runtime_dir)
        self.import_path = os.pathsep.join(map(str, parts))

    def compile(self) -> None:
        """Add byte code, as the image has it; a zip has none, and Lambda cannot keep what Python compiles."""
        for place in ("task", "opt"):
            compileall.compile_dir(self._folder / place, quiet=1)


class SandboxRun:
    """One sandbox on a core of its own; a context manager that ends it."""

    def __init__(self, function: DeployedFunction, pipeline: Pipeline, how: How) -> None:
        """Start it, and wait until it asks for its first event."""
        self._log = pipeline.file.with_suffix(".log")
        begun_s = time.perf_counter()
        with self._log.open("wb") as log, on_core(MEASURED_CORE):
            self._sandbox = Sandbox(
                function.code,
                name="bench",
                function_arn="arn:aws:lambda:us-east-1:123456789012:function:bench",
                region="us-east-1",
                memory_mb=1024,
                environment={
                    "TAILRACE_PIPELINE": str(pipeline.file),
                    "PYTHONPATH": function.import_path,
                    "PYTHONDONTWRITEBYTECODE": "1",
                    **environment(how),
                },
                log=log,
            )
        if not self._sandbox.start(_TIMEOUT_S):
            raise TimeoutError(f"the sandbox did not start: {self._log.read_text()}")
        self.start_s = time.perf_counter() - begun_s

    def invoke(self, event: bytes) -> float:
        """Have it publish a batch; return the seconds that it took."""
        begun_s = time.perf_counter()
        outcome = self._sandbox.invoke(event, _TIMEOUT_S)
        took_s = time.perf_counter() - begun_s
        if not isinstance(outcome, Answered) or json.loads(outcome.payload)["batchItemFailures"]:
            raise AssertionError(f"the batch was not published: {outcome}, {self._log.read_text()}")
        return took_s

    def cpu_s(self) -> float:
        """Return the CPU seconds used so far."""
        return cpu_s_of(self._sandbox.pid)

    def memory_mb(self) -> float:
        """Return its highest resident memory."""
        return memory_mb_of(self._sandbox.pid)

    def transcoder(self) -> str:
        """Return which transcoder it logged that it uses."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return next(str(line["transcoder"]) for line in lines if line["event"] == "transcoder")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sandbox.kill()


def batch(first: int, count: int) -> bytes:
    """Return the event with a shard's records from index `first` on, in a tumbling window."""
    records: list[dict[str, Any]] = json.loads(
        b"[%b]" % pages.records(pages.USUAL_SIZE, first, count, int(time.time()))
    )
    event = {
        "Records": [record | {"eventSourceARN": STREAM_ARN} for record in records],
        "shardId": Stream().shard_ids()[0],
        "eventSourceARN": STREAM_ARN,
        "window": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:01:00Z"},
        "state": {},
        "isFinalInvokeForWindow": False,
        "isWindowTerminatedEarly": False,
    }
    return json.dumps(event, separators=(",", ":")).encode()


def _installed_wheel(folder: Path) -> Path:
    """Make a wheel of the native transcoder that is installed here; return its folder."""
    distribution = metadata.distribution("tailrace-native")
    kept = [file for file in distribution.files or () if "__pycache__" not in file.parts]
    folder.mkdir()
    name = f"tailrace_native-{__version__}-cp311-abi3-{TARGET.platforms[0]}.whl"
    write_zip(folder / name, {str(file): file.read_binary() for file in kept if Path(str(file.locate())).exists()})
    return folder
