"""Rows of exports become chunks; a file that no attempt makes right fails its segment, with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.exports import Item, write_full_export
from support.snapshot_records import ID, DescribedTables
from tailrace.convert.converter import Converter
from tailrace.core.checkpoint import SegmentRecord, SegmentRef, SnapshotRecord
from tailrace.core.ports import LoadedExport, TableFacts
from tailrace.formats.item import ItemFormat
from tailrace.snapshot.exports import Exports
from tailrace.snapshot.rows import RowReader
from tailrace.sources.dynamodb.export import Export

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/orders"
FACTS = TableFacts("orders", ARN, {"id": "S"}, item_count=0, size_bytes=0, read_capacity=None)
EXPORTED_MS = 1_700_000_000_000
NOW_MS = EXPORTED_MS + 3_600_000
RECORD = SegmentRecord(table="orders", state="running", at_ms=EXPORTED_MS)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[RowReader]:
    items: list[Item] = [{"id": {"S": str(number)}, "paid": {"BOOL": number % 2 == 0}} for number in range(10)]
    write_full_export(tmp_path, ARN, [items], exported_ms=EXPORTED_MS)
    exports = (LoadedExport(str(tmp_path), EXPORTED_MS),)
    snapshot = SnapshotRecord(
        id=ID, source="export", reason="manual", segments=1, at_ms=NOW_MS, filter="item.paid", exports=exports
    )
    converter = Converter(
        ItemFormat(pipeline="shop", numbers="exact").encode,
        pipeline="shop",
        topic_of=lambda table, *_: f"shop.{table}",
        dead_letters_topic="shop.dead-letters",
        tombstones=True,
        errors_fail=False,
    )
    made = RowReader(
        snapshot,
        FACTS,
        DescribedTables(FACTS),
        converter,
        Exports(snapshot, Export),
        now_ms=lambda: NOW_MS,
        time_ns=lambda: NOW_MS * 1_000_000,
    )
    yield made
    made.close()


def segment(tmp_path: Path) -> SegmentRef:
    (file,) = tmp_path.rglob("*.json.gz")
    return SegmentRef.for_export("orders", ID, 0, file.name)


def test_rows_are_as_old_as_their_export(reader: RowReader, tmp_path: Path) -> None:
    chunk = reader.read(segment(tmp_path), RECORD, 1)

    assert [json.loads(record.value or b"")["id"] for record in chunk.page.records] == ["0", "2", "4", "6", "8"]
    assert {record.timestamp_ms for record in chunk.page.records} == {EXPORTED_MS}
    assert chunk.read_ms == EXPORTED_MS, "the barrier waits for changes up to then"
    assert (chunk.next.state, chunk.next.cursor, chunk.next.at_ms) == ("done", None, NOW_MS)


def test_a_spoiled_file_fails_its_segment_and_publishes_nothing(reader: RowReader, tmp_path: Path) -> None:
    (file,) = tmp_path.rglob("*.json.gz")
    file.write_bytes(b"spoiled")

    chunk = reader.read(segment(tmp_path), RECORD, 1)

    assert chunk.page.records == []
    assert chunk.next.state == "failed"
    assert f"{file} does not match its checksum" in (chunk.next.detail or "")


def test_manifests_that_are_gone_fail_the_segment(reader: RowReader, tmp_path: Path) -> None:
    name = segment(tmp_path)
    (summary,) = tmp_path.rglob("manifest-summary.json")
    summary.unlink()

    chunk = reader.read(name, RECORD, 1)

    assert chunk.next.state == "failed"
    assert "holds no finished export" in (chunk.next.detail or "")
