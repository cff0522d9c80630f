"""Shows snapshots: what one will read, how far they are, as lines and as a live bar."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from tailrace.cli.render import STYLES, console
from tailrace.moments import utc
from tailrace.remedy_sentences import sentence

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tailrace.operations.severity import Severity
    from tailrace.operations.snapshot import DraftedExport, SnapshotDraft
    from tailrace.operations.snapshot_estimate import Estimate
    from tailrace.operations.snapshot_status import SnapshotsStatus, SnapshotStatus

REFRESH_S: Final = 2.0
_CENT: Final = 0.01
_PACE_S: Final = 60.0
"""A live view shows the rates of so long."""
_SOURCES: Final = {"scan": "all items", "keys": "items by their keys", "export": "exports to S3"}


def draft_lines(draft: SnapshotDraft) -> Iterator[str]:
    """Write what a snapshot will read, and what that costs."""
    where = f" where {draft.filter}" if draft.filter else ""
    yield f"table {draft.table}: {_SOURCES[draft.source]}{where}, in {count(draft.segments, 'segment')}"
    if draft.exports:
        yield from map(_export_line, draft.exports)
        return
    for line in estimate_lines(draft.estimate):
        yield f"  {line}"


def _export_line(drafted: DraftedExport) -> str:
    export = drafted.export
    kind = "items" if export.from_ms is None else f"changes since {utc(export.from_ms)}"
    return (
        f"  {export.location}: {kind} as of {utc(export.exported_ms)}, {count(drafted.items, 'item')} in "
        f"{count(len(drafted.files), 'file')}; no read capacity is used"
    )


def estimate_lines(estimate: Estimate) -> Iterator[str]:
    """Write an estimate."""
    from tailrace.operations.snapshot_estimate import PRICED

    yield (
        f"reads about {count(estimate.items, 'item')}, {size(estimate.size_bytes)}: "
        f"{count(round(estimate.read_units), 'read capacity unit')}, {estimate.read_units_per_s:,.0f} a second, "
        f"{duration(max(1, estimate.seconds))} or more"
    )
    about = f"about USD {estimate.usd:,.2f}" if estimate.usd >= _CENT else f"less than USD {_CENT}"
    yield f"costs {about} at {PRICED}; with provisioned capacity, a share of that capacity"


def lines(status: SnapshotsStatus, argument: str) -> Iterator[tuple[str, Severity]]:
    """Write the snapshots of a pipeline, each with how bad it stands. `argument` names the pipeline in commands."""
    if not status.snapshots:
        yield f"pipeline {status.pipeline} has had no snapshot", "ok"
    for snapshot in status.snapshots:
        yield from snapshot_lines(snapshot, argument)
    if warning := _without_worker(status):
        yield warning, "warning"


def _without_worker(status: SnapshotsStatus) -> str | None:
    is_awaited = any(each.phase in {"running", "cancelling"} for each in status.snapshots)
    if status.workers or not is_awaited:
        return None
    return (
        "! no worker is there to go on: start `tailrace run FILE`, or beside Lambda `tailrace run FILE --snapshot-only`"
    )


def snapshot_lines(snapshot: SnapshotStatus, argument: str) -> Iterator[tuple[str, Severity]]:
    """Write one snapshot: its table, and below how far it is."""
    yield f"table {snapshot.table}  {_title(snapshot)}", snapshot.severity
    for line, severity in _details(snapshot, argument):
        yield f"  {line}", severity


def lines_below(snapshot: SnapshotStatus, argument: str) -> Iterator[tuple[str, Severity]]:
    """Write one snapshot below its table; one that has ended on one line."""
    if snapshot.ended_ms is not None:
        yield f"  {_title(snapshot)}: {_amounts(snapshot)}", snapshot.severity
        return
    yield f"  {_title(snapshot)}", snapshot.severity
    for line, severity in _details(snapshot, argument):
        yield f"    {line}", severity


def _title(snapshot: SnapshotStatus) -> str:
    started = datetime.fromtimestamp(snapshot.started_ms / 1000).astimezone()
    where = f" where {snapshot.filter}" if snapshot.filter else ""
    return (
        f"snapshot {snapshot.id}  {snapshot.phase}  {_SOURCES[snapshot.source]}{where}, {snapshot.reason}, "
        f"started {started:%Y-%m-%d %H:%M:%S}"
    )


def _details(snapshot: SnapshotStatus, argument: str) -> Iterator[tuple[str, Severity]]:
    yield _amounts(snapshot), "ok"
    yield _pace(snapshot), "ok"
    if snapshot.partitions:
        partitions = f"{snapshot.partitions_done:,} of {count(snapshot.partitions, 'partition')}"
        yield f"looked for deletes in {partitions}, found {snapshot.deletes:,}", "ok"
    elif snapshot.finds_deletes and snapshot.ended_ms is None:
        yield "once all items are read, deletes are looked for", "ok"
    for failed in snapshot.failed:
        yield f"! segment {failed.segment} failed: {failed.detail}", "error"
    if snapshot.segments_failed > len(snapshot.failed):
        yield f"! {snapshot.segments_failed - len(snapshot.failed):,} more segments failed", "error"
    if snapshot.remedy is not None:
        yield f"! {sentence(snapshot.remedy, argument)}", snapshot.severity


def _amounts(snapshot: SnapshotStatus) -> str:
    stale = f", {snapshot.stale:,} left out for newer changes" if snapshot.stale else ""
    published = f"{count(snapshot.rows, 'row')} published{stale}, {size(snapshot.size_bytes)} read"
    if snapshot.phase in {"done", "cancelled"}:
        return published
    if snapshot.share is None:
        return f"share unknown: {published}"
    of = f" of {count(snapshot.items_expected, 'item')}" if snapshot.items_expected else ""
    return f"about {snapshot.share:.0%}{of}: {published}"


def _pace(snapshot: SnapshotStatus) -> str:
    segments = f"segments: {snapshot.segments_done:,} of {snapshot.segments:,} done"
    if snapshot.segments_failed:
        segments += f", {snapshot.segments_failed:,} failed"
    used = f"{count(round(snapshot.read_units), 'read capacity unit')} used"
    if snapshot.rows_per_s is None or snapshot.bytes_per_s is None or snapshot.read_units_per_s is None:
        return f"{segments}; {used}"
    rates = (
        f"{snapshot.rows_per_s:,.0f} rows/s, {size(snapshot.bytes_per_s)}/s, "
        f"{snapshot.read_units_per_s:,.0f} read capacity units/s"
    )
    left = "" if snapshot.time_left_s is None else f"; about {duration(snapshot.time_left_s)} left"
    return f"{segments}; {rates}; {used}{left}"


class Pace:
    """The rates of the last minute, from one look to the next; they replace those since the start."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[int, SnapshotStatus]]] = {}

    def of_late(self, at_ms: int, snapshot: SnapshotStatus) -> SnapshotStatus:
        """Return the snapshot with its rates and the time that is left as they have been of late."""
        seen = self._seen.setdefault(snapshot.id, deque())
        seen.append((at_ms, snapshot))
        while seen[-1][0] - seen[0][0] > _PACE_S * 1000:
            seen.popleft()
        begin_ms, first = seen[0]
        elapsed_s = (at_ms - begin_ms) / 1000
        if elapsed_s <= 0 or snapshot.phase != "running":
            return snapshot
        rows = snapshot.rows + snapshot.stale - first.rows - first.stale
        progress = (snapshot.share or 0) - (first.share or 0)
        return msgspec.structs.replace(
            snapshot,
            rows_per_s=rows / elapsed_s,
            bytes_per_s=(snapshot.size_bytes - first.size_bytes) / elapsed_s,
            read_units_per_s=(snapshot.read_units - first.read_units) / elapsed_s,
            time_left_s=(1 - (snapshot.share or 0)) * elapsed_s / progress if progress > 0 else None,
        )


def follow(read: Callable[[], SnapshotsStatus], argument: str, *, stderr: bool = False) -> Iterator[SnapshotsStatus]:
    """Show the snapshots live, each with a bar, and return what is shown, every 2 s, for as long as it is asked for."""
    from rich.live import Live

    pace = Pace()
    with Live(console=console(stderr=stderr), auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            status = read()
            of_late = tuple(pace.of_late(status.at_ms, each) for each in status.snapshots)
            live.update(_drawn(msgspec.structs.replace(status, snapshots=of_late), argument), refresh=True)
            yield status
            time.sleep(REFRESH_S)


def _drawn(status: SnapshotsStatus, argument: str) -> RenderableType:
    from rich.console import Group
    from rich.padding import Padding
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    def text(line: str, severity: Severity) -> Text:
        return Text(line, style=STYLES[severity], no_wrap=True, overflow="ellipsis")

    parts: list[RenderableType] = []
    for snapshot in status.snapshots:
        title, *rest = snapshot_lines(snapshot, argument)
        bar = ProgressBar(total=1, completed=snapshot.share or 0, width=60)
        parts += [text(*title), Padding(bar)]  # a bar alone does not end its line
        parts += [text(*line) for line in rest]
    if warning := _without_worker(status):
        parts.append(text(warning, "warning"))
    return Group(*parts)


def count(number: int, thing: str) -> str:
    """Write a number of things."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def size(number: float) -> str:
    """Write bytes in the largest unit in which they are at least 1."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"


def duration(seconds: float) -> str:
    """Write a time in its two largest units."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
