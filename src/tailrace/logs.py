"""Structured logs on stderr: for people on a terminal, one JSON object a line elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, MutableMapping
from contextvars import Context, copy_context
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars, merge_contextvars

log = logging.getLogger("tailrace")

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str, redact: Callable[[str], str], *, as_json: bool | None = None) -> None:
    """Send all logs to stderr, with every secret blotted out. `as_json` None: unless stderr is a terminal."""
    terminal = sys.stderr.isatty()
    use_json = not terminal if as_json is None else as_json
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if use_json
        else structlog.dev.ConsoleRenderer(colors=terminal and "NO_COLOR" not in os.environ)
    )

    def redacted(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}

    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redacted,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # the read that met a malformed answer tells of it
    log.setLevel(_LEVELS[level])
    threading.excepthook = _log_uncaught


def naming(pipeline: str) -> Context:
    """Return a context in which every log line names a pipeline, and so in the threads that start there."""
    context = copy_context()
    context.run(bind_contextvars, pipeline=pipeline)
    return context


def _log_uncaught(uncaught: threading.ExceptHookArgs) -> None:
    if uncaught.exc_value is not None:
        trace = (uncaught.exc_type, uncaught.exc_value, uncaught.exc_traceback)
        log.critical("a thread ended; this is a defect of Tailrace", exc_info=trace)
