"""A pipeline's Lambda function as AWS would run it: a mapper for each table, sandboxes with AWS's runtime client."""

from __future__ import annotations

import os
import random
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import tailrace
from support.bench import Bench
from tailrace_simulator.event_source import EventSourceMapping, Hostility, Mapper
from tailrace_simulator.event_source_runner import Runner, find_stream
from tailrace_simulator.function import Function, load_code
from tailrace_simulator.streams_client import StreamsClient

HOSTILE = Hostility(duplicate=0.05, lost=0.05, throttle=0.05, short=0.2, rewind=0.05, final_with_records=0.5)


class LambdaPipeline:
    """A context manager: within it, the function is invoked."""

    def __init__(
        self, pipeline: Bench, folder: Path, endpoint_url: str, *, hostility: Hostility, seed: int = 1
    ) -> None:
        log = self._log = (folder / "function.log").open("wb")
        self._streams = StreamsClient(endpoint_url=endpoint_url)
        self.function = Function(
            load_code("tailrace.lambda_handler:handler", None, folder),
            environment={
                **{name: value for name, value in os.environ.items() if name.startswith("AWS_")},
                "TAILRACE_PIPELINE": str(pipeline.file),
                "PYTHONPATH": str(Path(tailrace.__file__).parents[1]),
            },
            timeout_s=20,
            concurrency=4,
            log=log,
        )
        mapping = EventSourceMapping(
            batch_size=100,
            tumbling_window_s=30,
            report_batch_item_failures=True,
            bisect_batch_on_function_error=True,
        )
        self._stopped = threading.Event()
        self._threads = []
        for table in pipeline.tables:
            arn = find_stream(self._streams, table)
            mapper = Mapper(
                mapping,
                stream_arn=arn,
                function_arn=self.function.arn,
                seed=seed,
                hostility=hostility,
                lost_after_ms=1_000,
            )
            runner = Runner(mapper, self._streams, self.function, arn)
            self._threads.append(threading.Thread(target=runner.run, args=(self._stopped,)))
        self._rng = random.Random(seed)

    def kill_one(self) -> None:
        """Kill a sandbox, whatever it does."""
        if sandboxes := self.function.sandboxes:
            self._rng.choice(sandboxes).kill()

    def freeze_one(self, seconds: float) -> None:
        """Freeze a sandbox, maybe in the midst of an invocation, and thaw it later."""
        if sandboxes := self.function.sandboxes:
            sandbox = self._rng.choice(sandboxes)
            sandbox.freeze()
            threading.Timer(seconds, sandbox.thaw).start()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self._stopped.set()
        with ExitStack() as closing:
            closing.callback(self._log.close)
            closing.callback(self._streams.close)
            for thread in self._threads:
                closing.callback(thread.join)
            closing.callback(self.function.close)
