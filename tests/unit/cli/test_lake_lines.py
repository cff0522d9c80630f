"""How far a lake is, as `tailrace status` prints it."""

from __future__ import annotations

from tailrace.cli.status import lake_lines
from tailrace.operations.lake_status import LakeStatus, TopicStatus

TOPIC = TopicStatus(
    topic="shop.orders",
    table="orders",
    behind_changes_at_most=7,
    behind_s=30.0,
    files=2,
    rows=100,
    size_bytes=4_096,
    last_commit_ms=40_000,
)


def said(status: LakeStatus) -> list[tuple[str, str]]:
    return list(lake_lines(status, 100_000))


def test_a_lake_that_is_behind() -> None:
    assert said(LakeStatus("main", "s3://b/p", "parquet", begun=True, topics=(TOPIC,))) == [
        ("lake main at s3://b/p: parquet", "ok"),
        (
            "  shop.orders  behind: 7 changes at most, 30.0 s  files: 2  rows: 100  bytes: 4096  "
            "last commit: 60.0 s ago",
            "ok",
        ),
    ]


def test_a_lake_of_which_nothing_is_written_yet() -> None:
    assert said(LakeStatus("main", "s3://b/p", "parquet", begun=False, topics=(TOPIC,))) == [
        ("lake main at s3://b/p: parquet, nothing written yet", "ok")
    ]


def test_a_lake_that_cannot_be_read() -> None:
    assert said(LakeStatus("main", "s3://b/p", "parquet", begun=False, fault="s3:ListBucket failed")) == [
        ("lake main at s3://b/p: parquet", "error"),
        ("  ! s3:ListBucket failed", "error"),
    ]
