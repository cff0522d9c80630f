"""The AWS Lambda function: its handler is `tailrace.lambda_handler.handler`, `TAILRACE_PIPELINE` names its pipeline.

Code and settings are loaded while the sandbox starts; what is reached for is made by the first invocation, and kept.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Protocol

from tailrace import logs
from tailrace.config.environment import load_pipeline
from tailrace.function.function import Function
from tailrace.kafka.owner import new_owner
from tailrace.remedy import speak_as
from tailrace.remedy_sentences import sentence


class Context(Protocol):
    """What of the runtime's context object is needed.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/python-context.html
    """

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until Lambda ends the invocation."""
        ...


speak_as(sentence)
_loaded = load_pipeline(os.environ)
logs.configure(os.environ.get("TAILRACE_LOG_LEVEL", "info"), _loaded.secrets.redact, as_json=True)


@cache
def _function() -> Function:
    """Return what serves this sandbox: made by its first invocation, or by the next one when that failed.

    Not at its start: with SnapStart many sandboxes are copies of one that has started, and must share neither its name
    nor a client of Kafka with its connections and random numbers. And a start that takes 10 s, less than a Kafka that
    does not answer is waited for, is broken off by Lambda and tells nobody why.
    """
    return Function(_loaded, new_owner())


def handler(event: object, context: Context) -> dict[str, Any]:
    """Publish one batch; see `Function.handle`."""
    return _function().handle(event, lambda: context.get_remaining_time_in_millis() / 1000)
