"""What people see of snapshots: lines, a live bar, the words of amounts and times."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from support.checkpoints import BORN_MS, view_of
from support.snapshot_records import control, facts, segment, segments, snapshot
from tailrace.cli import snapshot_view
from tailrace.cli.snapshot_view import Pace, draft_lines, duration, follow, lines, size
from tailrace.core.checkpoint import Write
from tailrace.operations.snapshot import SnapshotDraft
from tailrace.operations.snapshot_estimate import estimate_scan
from tailrace.operations.snapshot_status import SnapshotsStatus, snapshots_of

LANES = 4


def status(*writes: Write, workers: tuple[str, ...] = ("host:1",), at_ms: int = BORN_MS) -> SnapshotsStatus:
    return SnapshotsStatus("shop", at_ms, workers, snapshots_of(view_of(LANES, *writes).snapshots))


def text(found: SnapshotsStatus) -> str:
    return "\n".join(line for line, _ in lines(found, "shop.yaml"))


RUNNING = [
    snapshot(item_count=1_000_000, size_bytes=4096 * 1_000),
    *segments(LANES, rows=50_000, stale=5, size_bytes=1_000_000, read_units=100.0, at_ms=BORN_MS + 100_000),
]


def test_a_running_snapshot_shows_its_share_as_an_estimate() -> None:
    shown = text(status(*RUNNING))
    assert "table orders  snapshot s1  running  all items, manual, started 20" in shown
    assert "about 40% of 1,000,000 items: 200,000 rows published, 20 left out for newer changes, 4.0 MB read" in shown
    assert "segments: 0 of 4 done; 2,000 rows/s, 40.0 kB/s, 4 read capacity units/s; 400 read capacity" in shown
    assert shown.endswith("about 2 min 30 s left")


def test_a_failed_segment_is_shown_with_its_reason_and_what_to_do() -> None:
    shown = text(status(*RUNNING, segment(2, LANES, state="failed", detail="the key is refused")))
    assert "! segment 2 failed: the key is refused" in shown
    assert "tailrace snapshot resume shop.yaml --table orders" in shown


def test_without_a_worker_a_hint_says_what_to_start() -> None:
    assert "tailrace run FILE --snapshot-only" in text(status(*RUNNING, workers=()))
    assert "--snapshot-only" not in text(status(*RUNNING, control("pause"), workers=()))
    assert "--snapshot-only" not in text(status(*RUNNING))


def test_a_pipeline_without_snapshots_says_so() -> None:
    assert text(status()) == "pipeline shop has had no snapshot"


def test_a_live_view_shows_the_rates_of_late() -> None:
    pace = Pace()
    seen = []
    for at_s, rows in ((0, 0), (30, 300), (60, 300), (120, 900)):
        (found,) = status(
            snapshot(item_count=4_000), *segments(LANES, rows=rows // 4, at_ms=BORN_MS + 100_000), at_ms=0
        ).snapshots
        seen.append(pace.of_late(at_s * 1000, found))
    assert [each.rows_per_s for each in seen[1:]] == [10, 5, 10]
    assert seen[-1].time_left_s == pytest.approx((1 - 900 / 4_000) * 60 / (600 / 4_000))


def test_a_live_view_draws_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    shown = Console(file=screen, force_terminal=True, width=150, color_system=None)
    monkeypatch.setattr(snapshot_view, "console", lambda **_: shown)
    looks = follow(lambda: status(*RUNNING, workers=()), "shop.yaml")
    assert next(looks).snapshots[0].rows == 200_000
    looks.close()  # type: ignore[attr-defined]  # a generator
    drawn = screen.getvalue()
    assert "━" in drawn
    assert not [line for line in drawn.splitlines() if "━" in line and "rows" in line], "the bar has its own line"
    assert "200,000 rows published" in drawn
    assert "no worker is there" in drawn


def test_a_draft_says_what_is_read_and_what_it_costs() -> None:
    estimate = estimate_scan(facts(item_count=1_234_567, size_bytes=4096 * 8_000_000), 6_000)
    draft = SnapshotDraft("orders", "scan", "item.a", 128, (), estimate)
    assert list(draft_lines(draft)) == [
        "table orders: all items where item.a, in 128 segments",
        "  reads about 1,234,567 items, 32.8 GB: 8,000,000 read capacity units, 6,000 a second, 22 min 13 s or more",
        "  costs about USD 1.00 at us-east-1's on-demand price of November 2024; with provisioned capacity, "
        "a share of that capacity",
    ]
    assert msgspec.json.encode(draft)


def test_a_draft_of_a_small_table_costs_less_than_a_cent() -> None:
    estimate = estimate_scan(facts(item_count=2, size_bytes=51), 500)
    _, reads, costs = draft_lines(SnapshotDraft("orders", "scan", None, 1, (), estimate))
    assert "1 read capacity unit, 500 a second, 1 s or more" in reads
    assert costs.startswith("  costs less than USD 0.01 at ")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3_599, "59 min 59 s"), (3_660, "1 h 1 min"), (200_000, "2 d 7 h")],
)
def test_the_words_of_a_time(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (2.5e9, "2.5 GB"), (3e12, "3.0 TB"), (4e15, "4,000.0 TB")],
)
def test_the_words_of_bytes(number: float, words: str) -> None:
    assert size(number) == words
