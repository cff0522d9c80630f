"""The edge of the command line: where an error becomes a sentence and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from tailrace.cli import entry
from tailrace.cli.render import console
from tailrace.errors import EXIT_FILE, EXIT_WORLD, FileError, TailraceError

if TYPE_CHECKING:
    from tailrace.config import AnyLoaded, LoadedLakeFile, LoadedPipeline

    Loaded = TypeVar("Loaded", LoadedPipeline, LoadedLakeFile, AnyLoaded)

EXIT_BUG = 70
EXIT_INTERRUPTED = entry.EXIT_INTERRUPTED
NOTICE_S = 1.0
REPORT = "please report it, with what `tailrace --debug …` shows for the same command"


@dataclass
class Edge:
    """What the edge must know about the running command: its secrets, and whether the user asked for details."""

    redact: Callable[[str], str] = str
    """Redacts the secrets of the loaded pipeline; set as soon as there are any."""
    debug: bool = False


edge = Edge()


KafkaOption = Annotated[
    Path | None,
    typer.Option(
        "--kafka",
        envvar="TAILRACE_KAFKA",
        metavar="PROPERTIES",
        help="For a connector's configuration: properties of Kafka clients, or of a Connect worker.",
        show_default=False,
    ),
]
"""What every command with a FILE has."""


def load(
    file: Path, *, kafka: Path | None = None, with_functions: bool = False, with_secrets: bool = True
) -> LoadedPipeline:
    """Load a command's pipeline file; from here on the edge knows its secrets. Raises `FileErrors`.

    `kafka` is the file of `--kafka`. `with_functions` imports the functions of its transformation too; `with_secrets`
    asks AWS for its secrets.
    """
    from tailrace import config

    return keep_secrets(config.load(file, kafka=kafka, with_functions=with_functions, with_secrets=with_secrets))


def load_lake(
    file: Path, *, kafka: Path | None = None, with_functions: bool = False, with_secrets: bool = True
) -> AnyLoaded:
    """Load a lake's own file, or a pipeline file as `load` does. Raises `FileErrors`."""
    from tailrace import config

    found = config.load_lake(file, kafka=kafka, with_functions=with_functions, with_secrets=with_secrets)
    return keep_secrets(found)


def require_pipeline_file(file: Path) -> None:
    """Refuse a connector's configuration where only a pipeline file will do. Raises `FileError`."""
    from tailrace.config import is_connector_file

    if is_connector_file(file):
        raise FileError(
            "is a connector's configuration, and AWS Lambda needs a pipeline file",
            file=str(file),
            hint=f"make one of it: tailrace import {file} --kafka client.properties",
        )


def file_argument(what: str) -> Path:
    """Return the path of a pipeline file where a topic could stand too. Raises `FileError` for what looks like one."""
    if not (Path(what).exists() or what.endswith((".yaml", ".yml", ".json", ".properties")) or "/" in what):
        raise FileError(f"there is no file {what}", hint="if it is a topic, add --bootstrap host:port")
    return Path(what)


def load_existing(
    file: Path | None,
    name: str | None,
    bootstrap: str | None,
    *,
    kafka: Path | None = None,
    with_functions: bool = False,
) -> LoadedPipeline:
    """Load a pipeline by its file, or find one that runs without a file by the flags that it was run with.

    The tables of the latter are unknown. Raises `FileErrors`.
    """
    if file is not None:
        if name or bootstrap:
            raise FileError("a file excludes --name and --bootstrap: it says them")
        return load(file, kafka=kafka, with_functions=with_functions)
    if not name or not bootstrap:
        raise FileError("give a pipeline file, or the --name and --bootstrap of a run without one")
    from tailrace.config import from_flags

    return keep_secrets(from_flags(["*"], bootstrap, name=name))


def keep_secrets(loaded: Loaded) -> Loaded:
    """Register the secrets of a loaded file, beside those of others."""
    others = edge.redact
    edge.redact = lambda text: loaded.secrets.redact(others(text))
    return loaded


def argument_of(loaded: LoadedPipeline) -> str:
    """Return how a command names a pipeline: its file, or the flags of one that has none."""
    servers = loaded.pipeline.kafka["bootstrap.servers"]
    if not loaded.file:
        return f"--name {loaded.pipeline.name} --bootstrap {servers}"
    return f"{loaded.file} --kafka {loaded.kafka_file}" if loaded.kafka_file else loaded.file


@contextmanager
def ended_by_signals(exit_code: int) -> Iterator[None]:
    """Make Ctrl-C, and SIGTERM if it is handled, end the process soon, no matter what the block waits for.

    Python delivers a signal to the main thread between two instructions, so not while a call to Kafka waits for a
    response, up to 15 s. If the main thread has not left this block `NOTICE_S` after a signal, the process ends as it
    is: nothing in here may have to be given back.
    """
    heard, told = socket.socketpair()
    told.setblocking(False)
    left = threading.Event()

    def end() -> None:
        while number := heard.recv(1):
            if number[0] in {signal.SIGINT, signal.SIGTERM} and not left.wait(NOTICE_S):
                os._exit(exit_code)

    watch = threading.Thread(target=end, name="signals", daemon=True)
    watch.start()
    before = signal.set_wakeup_fd(told.fileno())
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        told.close()
        watch.join()
        heard.close()


def stop_on_signals() -> list[int]:
    """Return the list to which the first SIGINT or SIGTERM is added; a second one ends the process at once."""
    came: list[int] = []

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        came.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return came


def report(error: Exception) -> int:
    """Print what failed on stderr, without secrets; return the exit code."""
    if isinstance(error, TailraceError):
        sentences, code = str(error), EXIT_FILE if isinstance(error, FileError) else EXIT_WORLD
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        sentences, code = f"cannot write: {error.strerror}; make room", EXIT_WORLD
    else:
        sentences, code = f"unexpected {type(error).__name__}: this is a defect of tailrace; {REPORT}", EXIT_BUG
    from rich.text import Text

    stderr = console(stderr=True)
    for sentence in edge.redact(sentences).splitlines():
        stderr.print(Text.assemble(("error:", "bold red"), " ", sentence), soft_wrap=True)
    if edge.debug:
        sys.stderr.write(edge.redact("".join(traceback.format_exception(error))))
    return code
