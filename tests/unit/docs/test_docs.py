"""The docs name everything that a user can meet."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import get_args
from unittest.mock import Mock

import pytest
from prometheus_client.core import Metric

from tailrace.core.checkpoint import SegmentState, ShardCondition, TableState
from tailrace.core.lane import LaneState
from tailrace.core.lane_messages import NoticeKind
from tailrace.core.lane_report import LaneReport
from tailrace.core.ports import ReadFailure
from tailrace.core.shard_state import Phase
from tailrace.lake.ledger import Sums
from tailrace.lake.metrics import LakeMetrics
from tailrace.lake.part import LakePart
from tailrace.replica.metrics import ReplicaMetrics
from tailrace.serve.metrics import Metrics as ServeMetrics
from tailrace.sinks.runner import Totals
from tailrace.snapshot.observer import SnapshotNoticeKind
from tailrace.worker.metrics import Metrics
from tailrace.worker.vitals import Vitals

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"


def metrics() -> list[Metric]:
    registered = Metrics("shop", "shop.dead-letters", transcoder="pure")
    registered.watch(lambda: [LaneReport(0, "active", 0, ())], lambda: 0, Vitals(), lambda: 0)
    registered.snapshots.watch(list)
    others = (ServeMetrics(dict), lake_metrics(), replica_metrics())
    return [*registered.registry.collect(), *(metric for each in others for metric in each.collect())]


def lake_metrics() -> LakeMetrics:
    runner = Mock(totals={"shop.orders": Totals()}, last_commit_s={}, fenced=0, committed={})
    part = LakePart("changes", Mock(written=Sums()), runner, Mock(count=0), Mock(), lake="main")
    return LakeMetrics([part])


def replica_metrics() -> ReplicaMetrics:
    return ReplicaMetrics(
        Mock(
            sink=Mock(counts={}, behind_s=dict),
            writer=Mock(throttled=0),
            runner=Mock(fenced=0, committed={}),
            lag=Mock(offsets=0),
        )
    )


@pytest.mark.parametrize("metric", metrics(), ids=lambda metric: metric.name)
def test_every_metric_is_documented_by_the_name_that_prometheus_sees(metric: Metric) -> None:
    name = metric.name + "_total" if metric.type == "counter" else metric.name
    assert f"| `{name}` | {metric.type} |" in (DOCS / "metrics.md").read_text()


def names_of_metrics() -> set[str]:
    return {metric.name + "_total" if metric.type == "counter" else metric.name for metric in metrics()}


def test_no_metric_is_documented_that_is_not_there() -> None:
    documented = set(re.findall(r"^\| `(tailrace_\w+)`", (DOCS / "metrics.md").read_text(), re.MULTILINE))
    assert documented == names_of_metrics()


def test_the_alert_rules_name_only_metrics_that_there_are() -> None:
    assert set(re.findall(r"tailrace_\w+", (DOCS / "alerts.yaml").read_text())) <= names_of_metrics()


@pytest.mark.parametrize(
    ("words", "page"),
    [
        (list(NoticeKind), "operations.md"),
        (list(SnapshotNoticeKind), "operations.md"),
        (get_args(SegmentState), "metrics.md"),
        (get_args(ShardCondition), "operations.md"),
        (get_args(TableState), "operations.md"),
        (list(ReadFailure), "operations.md"),
        (list(ReadFailure), "metrics.md"),
        (list(Phase), "metrics.md"),
        (set(LaneState) - {LaneState.RELEASED}, "metrics.md"),
    ],
)
def test_every_state_notice_and_failure_is_documented(words: list[str | StrEnum], page: str) -> None:
    text = (DOCS / page).read_text()
    assert [word for word in words if f"`{word}`" not in text] == []


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *DOCS.glob("*.md")], ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


LINKS = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text())
PLACES = (
    "https://github.com/tailrace/tailrace/blob/main/",
    "https://raw.githubusercontent.com/tailrace/tailrace/main/",
)


def test_every_link_of_the_readme_is_absolute_as_the_package_page_needs_and_leads_to_a_file() -> None:
    assert len(LINKS) > 20
    for link in LINKS:
        (path,) = (link.removeprefix(place).partition("#")[0] for place in PLACES if link.startswith(place))
        assert (ROOT / path).is_file(), link


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *DOCS.glob("*.md")], ids=lambda page: page.name)
def test_every_anchor_of_a_link_is_a_heading(page: Path) -> None:
    links = re.findall(r"\]\((?:" + "|".join(map(re.escape, PLACES)) + r")?([^)#:]*)#([^)]+)\)", page.read_text())
    for target, anchor in links:
        path = ROOT / target if page.name == "README.md" else page.parent / target if target else page
        assert anchor in anchors(path), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_names_every_page() -> None:
    index = (DOCS / "index.md").read_text()
    assert [page.name for page in DOCS.glob("*.md") if page.name != "index.md" and f"({page.name}" not in index] == []
