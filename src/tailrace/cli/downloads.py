"""Shows the download of jars: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tailrace.local.artifacts import Progress


@contextmanager
def download_progress(what: str = "Kafka and DynamoDB Local") -> Iterator[Progress]:
    """Yield a progress callback that draws on stderr, so that stdout holds only the command's output."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    if not sys.stderr.isatty():
        with _lines(what) as tell:
            yield tell
        return
    with ExitStack() as drawn:
        bar = Progress(
            TextColumn("downloading"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[file]}"),
            console=Console(stderr=True),
            transient=True,
        )
        task = bar.add_task("", total=None, file="", visible=False)

        def tell(done: int, total: int, file: str) -> None:
            if not bar.tasks[0].visible:
                drawn.enter_context(bar)
            bar.update(task, completed=done, total=total, file=file, visible=True)

        yield tell


@contextmanager
def _lines(what: str) -> Iterator[Progress]:
    began: float | None = None
    seen = 0

    def tell(done: int, total: int, _file: str) -> None:
        nonlocal began, seen
        if began is None:
            began = time.monotonic()
            sys.stderr.write(f"downloading {what} ({total / 1e6:.0f} MB, kept for later)\n")
        seen = done

    yield tell
    if began is not None:
        sys.stderr.write(f"downloaded {seen / 1e6:.0f} MB in {time.monotonic() - began:.0f} s\n")
