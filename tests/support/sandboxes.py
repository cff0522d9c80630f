"""Sandboxes of the Lambda function in this process, and Lambda's stand-in that brings them the batches of a stream."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from tailrace.errors import TailraceError
from tailrace.function.function import Function
from tailrace_simulator.event_source import Answered, Errored, EventSourceMapping, Hostility, Mapper, Outcome
from tailrace_simulator.event_source_runner import Runner
from tailrace_simulator.streams_client import client_of


class Sandboxes:
    """What Lambda's stand-in invokes: each batch goes to any of the sandboxes that is free."""

    def __init__(self, functions: Sequence[Function]) -> None:
        self._free = queue.SimpleQueue[Function]()
        for function in functions:
            self._free.put(function)

    def invoke(self, event: bytes) -> Outcome:
        function = self._free.get()
        try:
            return Answered(json.dumps(function.handle(json.loads(event), lambda: 20.0)).encode())
        except TailraceError as error:
            return Errored(type(error).__name__, request_id="r")
        finally:
            self._free.put(function)


@contextmanager
def delivering(
    stream_arn: str,
    sandboxes: Sandboxes,
    endpoint_url: str,
    *,
    batch_size: int = 100,
    hostility: Hostility | None = None,
) -> Iterator[Mapper]:
    """Bring a stream's batches in tumbling windows until the end of the block."""
    mapping = EventSourceMapping(
        batch_size=batch_size,
        tumbling_window_s=30,
        report_batch_item_failures=True,
        bisect_batch_on_function_error=True,
    )
    with closing(client_of(stream_arn, endpoint_url=endpoint_url)) as client:
        mapper = Mapper(
            mapping,
            stream_arn=stream_arn,
            function_arn="arn",
            seed=1,
            hostility=hostility or Hostility(),
            lost_after_ms=500,
        )
        stopped = threading.Event()
        runner = Runner(mapper, client, sandboxes, stream_arn, concurrency=2)
        running = threading.Thread(target=runner.run, args=(stopped,))
        running.start()
        try:
            yield mapper
        finally:
            stopped.set()
            running.join()
