"""A function that writes down what it is invoked with, and does what the event asks for."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

STARTED = time.time()
ticks = 0


def tick() -> None:
    """Count in the background, to see when the process is frozen."""
    global ticks  # noqa: PLW0603 - the function's own state, as functions have it
    while True:
        time.sleep(0.01)
        ticks += 1


threading.Thread(target=tick, daemon=True).start()


def handler(event: dict[str, Any], context: Any) -> Any:
    with Path(os.environ["SEEN"]).open("a") as seen:
        seen.write(json.dumps({"event": event, "pid": os.getpid()}) + "\n")
    match event.get("do"):
        case "raise":
            raise ValueError("as asked")
        case "exit":
            os._exit(3)
        case "sleep":
            time.sleep(event["seconds"])
        case "large":
            return "x" * event["bytes"]
        case "ticks":
            return {"ticks": ticks, "pid": os.getpid()}
        case "tell":
            return {
                "environment": dict(os.environ),
                "cwd": str(Path.cwd()),
                "argv": sys.argv,
                "remaining_ms": context.get_remaining_time_in_millis(),
                "request_id": context.aws_request_id,
                "arn": context.invoked_function_arn,
                "memory": context.memory_limit_in_mb,
                "trace": os.environ.get("_X_AMZN_TRACE_ID"),
            }
    return {"state": event.get("state", {}), "batchItemFailures": []}
