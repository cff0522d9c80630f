"""The demo's output: a panel that stays in place on a terminal, plain lines elsewhere; and its verdict."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import Self, TextIO

from confluent_kafka import Message
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tailrace.local.demo import LOADED, DemoResult
from tailrace.local.demo_view import LATEST_MAX, DemoView, Times
from tailrace.local.fleet import WorkerState
from tailrace.operations.record_view import RecordView, view

_LINE_EVERY_S = 3.0
_PLAIN_WIDTH = 110
_PANEL_ROWS = 11
"""Rows of the panel without its workers and the latest changes, and one for the cursor."""
_OP_STYLES = {"c": "green", "u": "yellow", "d": "red", "r": "cyan"}
_STATE_STYLES = {"streaming": "green", "killed": "bold red", "stopped": "dim"}
_BARS = " ▁▂▃▄▅▆▇█"
_SPARKS = 32


class PlainScreen:
    """Lines for a file, a pipe or a log: events, and every few seconds the progress."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._line_at_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def event(self, elapsed_s: float, text: str, *, alarming: bool) -> None:
        """Write a line."""
        self._write(f"{elapsed_s:5.1f} s  {text}")

    def show(self, view: DemoView) -> None:
        """Write the progress, unless that was done some seconds ago."""
        if time.monotonic() < self._line_at_s or not view.written:
            return
        self._line_at_s = time.monotonic() + _LINE_EVERY_S
        self._write(f"{view.elapsed_s:5.1f} s  {_counts(view)}  {_times(view.times)}")
        if view.loaded < 1:
            self._write(f"{'':9}loading {LOADED.name}  {view.loaded:.0%}  {view.rows:,} rows")
        self._write(f"{'':9}{', '.join(map(_worker, view.workers))}")
        if view.latest:
            op, table, key, item = _change(view.latest[-1])
            self._write(f"{'':9}{op} {table} {key} {item}"[:_PLAIN_WIDTH])

    def _write(self, line: str) -> None:
        self._out.write(f"{line}\n")
        self._out.flush()


class LiveScreen:
    """Events scroll by above a panel with the current state."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._waiting: deque[int] = deque([0] * _SPARKS, maxlen=_SPARKS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def event(self, elapsed_s: float, text: str, *, alarming: bool) -> None:
        """Write a line above the panel."""
        line = Text.assemble((f"{elapsed_s:5.1f} s  ", "dim"), (text, "bold red" if alarming else ""))
        self._console.print(line, no_wrap=True, overflow="ellipsis")

    def show(self, view: DemoView) -> None:
        """Draw the panel again."""
        self._waiting.append(view.waiting)
        self._live.start()
        self._live.update(self._panel(view), refresh=True)

    def _panel(self, view: DemoView) -> Group:
        latest = max(0, min(LATEST_MAX, self._console.height - _PANEL_ROWS - len(view.workers)))
        return Group(
            Rule(Text.assemble((" tailrace demo ", "bold"), (f" {view.phase} ", "cyan")), style="dim", align="left"),
            _bar(view),
            Text.assemble((_counts(view), "bold")),
            Text.assemble("write to visible  ", (_times(view.times), "bold")),
            Text.assemble("waiting  ", (_sparks(self._waiting), "cyan"), (f" {view.waiting:,}", "bold")),
            _loading(view),
            Text(),
            _workers(view),
            Text(),
            _latest(view, latest),
            Text(),  # where a terminal writes ^C: at the end of a full line it would shift all by one
        )


def show_verdict(result: DemoResult) -> None:
    """Print the verdict, coloured on a terminal."""
    console = Console(highlight=False)
    verdict = result.verdict
    good = "exactly once and in item order" if result.good else "NOT as promised"
    console.print()
    console.print(f"A worker was killed; {result.take_over_s:.1f} s later all that had waited for it was visible.")
    console.print(Text.assemble("Verdict: ", (good, "bold green" if result.good else "bold red")))
    console.print(_numbers(result))
    console.print()
    console.print(_write_to_visible(result))
    if verdict.examples:
        console.print("\n".join(f"  {fault}" for fault in verdict.examples), style="red", soft_wrap=True)
        console.print(f"  seed {result.seed}")
    console.print()


def _numbers(result: DemoResult) -> Table:
    verdict = result.verdict
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    counts = {
        "changes made": verdict.made,
        "found in Kafka": verdict.found,
        "items to load": verdict.loaded,
        "found as rows": verdict.loaded_by_rows,
    }
    if result.lake is not None:
        counts["rows in the lake"] = result.lake.verdict.rows
    for name, count in counts.items():
        table.add_row(f"  {name}", f"{count:,}")
    faults = {
        "lost": verdict.lost,
        "repeated": verdict.repeated,
        "out of order": verdict.out_of_order,
        "not as in the table": verdict.stale,
        "unexpected": verdict.unexpected,
        "said to be late": verdict.not_late,
        "in two partitions": verdict.misplaced,
        "without tombstone": verdict.without_tombstone,
    }
    if result.lake is not None:
        faults["lost by the lake"] = result.lake.verdict.lost
        faults["repeated in the lake"] = result.lake.verdict.repeated
        faults["unexpected in the lake"] = result.lake.verdict.unexpected
    for place, (name, count) in enumerate(faults.items()):
        if place < 4 or count:
            table.add_row(f"  {name}", Text(f"{count:,}", style="bold red" if count else "bold green"))
    return table


def _write_to_visible(result: DemoResult) -> Table:
    table = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "right", "right"):
        table.add_column(justify=justify)
    table.add_row("  from write to visible", *(Text(name, style="dim") for name in ("p50", "p99", "max")))
    for name, times in (("all changes", result.times), ("while no worker came or went", result.calm_times)):
        if times is not None:
            table.add_row(f"  {name}", _time(times.p50_ms), _time(times.p99_ms), _time(times.max_ms))
    return table


def _counts(view: DemoView) -> str:
    return (
        f"written {view.written:,} ({view.write_rate:.0f}/s)  visible {view.visible:,} ({view.visible_rate:.0f}/s)"
        f"  waiting {view.waiting:,}"
    )


def _worker(worker: WorkerState) -> str:
    rate = f" {worker.rate:.0f}/s" if worker.state == "streaming" else ""
    return f"{worker.name} {worker.state}{rate}"


def _times(times: Times | None) -> str:
    return f"p50 {_time(times.p50_ms)}  p99 {_time(times.p99_ms)}" if times else "-"


def _time(time_ms: float) -> str:
    return f"{time_ms:.0f} ms" if time_ms < 1000 else f"{time_ms / 1000:.1f} s"


def _bar(view: DemoView) -> Table:
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(ratio=1)
    row.add_column(justify="right")
    row.add_row(ProgressBar(total=1, completed=view.done), f"{view.elapsed_s:.0f} s")
    return row


def _loading(view: DemoView) -> Table:
    row = Table.grid(padding=(0, 1))
    row.add_row(
        f"loading {LOADED.name} ", ProgressBar(total=1, completed=view.loaded, width=_SPARKS), f"{view.rows:,} rows"
    )
    return row


def _sparks(waiting: deque[int]) -> str:
    most = max(*waiting, 200)
    return "".join(_BARS[min(len(_BARS) - 1, -(-count * (len(_BARS) - 1) // most))] for count in waiting)


def _workers(view: DemoView) -> Table:
    table = Table.grid(padding=(0, 2), expand=True)
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for worker in view.workers:
        runs = worker.state == "streaming"
        table.add_row(
            worker.name,
            Text(worker.state, style=_STATE_STYLES.get(worker.state, "yellow")),
            f"{worker.lanes} lanes" if runs else "",
            f"{worker.rate:.0f}/s" if runs else "",
            Text(" ".join(worker.tables), style="dim"),
        )
    return table


def _latest(view: DemoView, rows: int) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for message in view.latest[-rows:] if rows else ():
        op, name, key, item = _change(message)
        table.add_row(Text(op, style=_OP_STYLES.get(op, "")), name, Text.assemble(key, " ", (item, "dim")))
    return table


def _change(message: Message) -> tuple[str, str, str, str]:
    """Return op, table, key and item of a record."""
    record: RecordView = view(message.key(), message.value(), {}, null_is_delete=False)
    return record.op, record.table or "", record.key, record.item
