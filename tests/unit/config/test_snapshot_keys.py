"""The keys `snapshot` and `on_gap`: what each form of them means."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailrace.config import Pipeline, load
from tailrace.config.snapshot import OnGapAction
from tailrace.core.ports import TableFacts

GOOD = """\
name: shop
kafka: {bootstrap.servers: "localhost:9092"}
source: {type: dynamodb-streams, tables: ["*"]}
"""


def loaded(folder: Path, more: str) -> Pipeline:
    (folder / "p.yaml").write_text(GOOD + more)
    return load(folder / "p.yaml").pipeline


def table(*, size_bytes: int = 0, read_capacity: int | None = None, warm: int | None = None) -> TableFacts:
    return TableFacts(
        table="orders",
        arn="arn:aws:dynamodb:us-east-1:000000000000:table/orders",
        key_types={"id": "S"},
        item_count=size_bytes // 100,
        size_bytes=size_bytes,
        read_capacity=read_capacity,
        warm_read_capacity=warm,
    )


@pytest.mark.parametrize("mode", ["never", "initial", "when_needed"])
def test_a_mode_may_stand_alone_or_in_a_mapping(mode: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, f"snapshot: {mode}").snapshot == loaded(tmp_path, f"snapshot: {{mode: {mode}}}").snapshot
    assert loaded(tmp_path, f"snapshot: {mode}").snapshot.mode == mode


@pytest.mark.parametrize(
    ("written", "facts", "units"),
    [
        ("500", table(read_capacity=100), 500),
        ("50%", table(read_capacity=100), 50),
        ("10%", table(read_capacity=100, warm=50_000), 10),
        ("50%", table(), 6_000),
        ("50%", table(warm=40_000), 20_000),
        ("1%", table(read_capacity=5), 1),
        ("100%", table(read_capacity=1), 1),
    ],
)
def test_the_read_capacity_of_a_table(written: str, facts: TableFacts, units: float, tmp_path: Path) -> None:
    snapshot = loaded(tmp_path, f"snapshot: {{read_capacity: {written}}}").snapshot
    assert snapshot.wanted_read_capacity(facts) == units
    assert str(snapshot.read_capacity) == written


def test_the_read_capacity_is_half_of_the_tables_by_default(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").snapshot.wanted_read_capacity(table(read_capacity=300)) == 150


@pytest.mark.parametrize(
    ("size_bytes", "segments"),
    [(0, 4), (1, 1), (256_000_000, 1), (256_000_001, 2), (25_600_000_000, 100), (10**15, 16 * 16)],
)
def test_segments_follow_from_the_size(size_bytes: int, segments: int, tmp_path: Path) -> None:
    assert loaded(tmp_path, "").snapshot.segment_count(table(size_bytes=size_bytes), lanes=16) == segments


def test_the_file_may_say_how_many_segments(tmp_path: Path) -> None:
    assert loaded(tmp_path, "snapshot: {segments: 64}").snapshot.segment_count(table(), lanes=1) == 64


@pytest.mark.parametrize(
    ("more", "actions"),
    [
        ("", {"orders": "fail"}),
        ("on_gap: resnapshot", {"orders": "resnapshot"}),
        ("snapshot: when_needed", {"orders": "resnapshot"}),
        ("snapshot: initial", {"orders": "fail"}),
        ("snapshot: when_needed\non_gap: fail", {"orders": "fail"}),
        (
            "on_gap: {default: fail, tables: {users-1: fail, users-*: resnapshot, '*-1': fail, orders: resnapshot}}",
            {"orders": "resnapshot", "users-1": "fail", "users-2": "resnapshot", "items-1": "fail", "items": "fail"},
        ),
        (
            "snapshot: when_needed\non_gap: {tables: {users-*: fail}}",
            {"orders": "resnapshot", "users-1": "fail"},
        ),
    ],
)
def test_what_a_gap_of_a_table_does(more: str, actions: dict[str, OnGapAction], tmp_path: Path) -> None:
    pipeline = loaded(tmp_path, more)
    assert {name: pipeline.on_gap_of(name) for name in actions} == actions
