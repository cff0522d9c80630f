"""What the status says of a lake before it asks the lake."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import pytest

from support.pipeline_file import write_file
from tailrace.config import load
from tailrace.kafka.watched_consumer import Place
from tailrace.operations import lake_status as module
from tailrace.operations.lake_status import lake_statuses
from tailrace.operations.lake_targets import targets_of

TOPICS = ["shop.eu.orders", "shop.eu_orders", "shop.items"]


class _Topics:
    def __init__(self, _user: Mapping[str, str]) -> None:
        pass

    def find(self, wanted: Callable[[str], bool]) -> set[Place]:
        return {Place(topic, 0) for topic in TOPICS if wanted(topic)}

    def ends(self, places: Collection[Place]) -> dict[Place, int]:
        return dict.fromkeys(places, 0)


@pytest.mark.parametrize(("topics", "tables"), [(TOPICS[:2], ()), (TOPICS[:1], ("eu_orders",))])
def test_tables_that_would_share_one_in_the_catalog_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, topics: list[str], tables: tuple[str, ...]
) -> None:
    """They have topics, or are known from AWS alone."""
    monkeypatch.setattr(module, "Topics", _Topics)
    monkeypatch.setattr(f"{__name__}.TOPICS", topics)
    catalog = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db"}
    lake = {"location": f"file://{tmp_path}/lake", "format": "iceberg", "catalog": catalog}
    file = write_file(tmp_path, {"bootstrap.servers": "x:1"}, "shop", tables=["*"], lake=lake)
    (status,) = lake_statuses(targets_of(load(file)), 0, tables)
    told = "eu.orders and eu_orders would both be eu_orders in the Iceberg catalog; let a pipeline of its own carry one"
    assert str(status.fault).endswith(f": lake: {told} of them")
