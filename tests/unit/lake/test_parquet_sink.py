"""What the Parquet sink keeps in memory and in files, and where its steps end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from confluent_kafka import Message

from support.lake_rows import SCHEMA, NothingSetAside, PlainRows
from tailrace.config.lake import PartitionBy
from tailrace.errors import WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.lake import parquet_sink
from tailrace.lake.ledger import Ledger
from tailrace.lake.location import Folder
from tailrace.lake.parquet_sink import ParquetSink
from tailrace.sinks.contract import FencedError
from tailrace.sinks.progress import Position

PLACE = Place("t", 0)
DAY_MS = 86_400_000
MakeSink = Callable[..., ParquetSink]


@pytest.fixture
def make_sink(tmp_path: Path) -> Iterator[MakeSink]:
    made: list[ParquetSink] = []

    def make(*partition_by: PartitionBy, regions: int = 1, widens_every: int = 1 << 62) -> ParquetSink:
        location = Folder(tmp_path / "lake")
        sink = ParquetSink(
            location,
            Ledger(location),
            identity="lake",
            table_of=lambda topic: topic,
            make_rows=lambda _topic, known: PlainRows(known, regions=regions, widens_every=widens_every),
            set_aside=NothingSetAside(),
            partition_by=partition_by,
            file_bytes=1 << 20,
        )
        made.append(sink)
        return sink

    yield make
    for each in made:
        each.close()


def records(begin: int, end: int, place: Place = PLACE) -> list[Message]:
    return [
        Message(topic=place.topic, partition=place.partition, offset=each, value=b"x", timestamp=(1, each * DAY_MS))
        for each in range(begin, end)
    ]


def data_files(folder: Path) -> dict[str, list[int]]:
    """The offsets of each file, by its name below the table."""
    found = sorted((folder / "lake/t/changes").rglob("*.parquet"))
    return {
        str(each.relative_to(folder / "lake/t/changes")): pq.ParquetFile(each).read()["__offset"].to_pylist()
        for each in found
    }


def test_rows_in_memory_are_bounded_over_all_partitions(make_sink: MakeSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_sink, "MEMORY_BYTES", 20_000)
    sink = make_sink()
    places = [Place("t", partition) for partition in range(64)]
    for place in places:
        sink.claim(place, "id")
    for begin in range(0, 100, 10):
        for place in places:
            sink.write(place, records(begin, begin + 10, place))
            assert sum(each.rows.size_bytes for each in sink._claimed.values()) <= 20_000
    for place in places:
        sink.commit_one(place, 100)
    assert (sink.written.files, sink.written.rows) == (64, 6_400)


def test_rows_go_into_the_directories_of_their_values(make_sink: MakeSink, tmp_path: Path) -> None:
    sink = make_sink(PartitionBy("__ts", "day"), PartitionBy("region", None), regions=2)
    sink.claim(PLACE, "id")
    sink.write(PLACE, records(0, 3))
    sink.commit_one(PLACE, 5)
    name = "t-0-00000000000000000000-00000000000000000005.parquet"
    assert data_files(tmp_path) == {
        f"tailrace_ts_day=1970-01-01/tailrace_by_region=r0/{name}": [0],
        f"tailrace_ts_day=1970-01-02/tailrace_by_region=r1/{name}": [1],
        f"tailrace_ts_day=1970-01-03/tailrace_by_region=r0/{name}": [2],
    }


def test_a_new_column_ends_the_step_before_it(
    make_sink: MakeSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_sink, "CHUNK_BYTES", 1)
    sink = make_sink(widens_every=10)
    sink.claim(PLACE, "id")
    for begin in (0, 5, 12):
        sink.write(PLACE, records(begin, begin + 5))
    sink.commit_one(PLACE, 20)
    assert list(data_files(tmp_path).values()) == [[*range(10)], [*range(12, 17)]]
    assert sink.position(PLACE) == Position(20, "id")


def test_an_interrupted_step_is_completed_by_the_next_writer_at_its_bound(
    make_sink: MakeSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_region = PartitionBy("region", None)
    dying = make_sink(by_region, regions=2)
    dying.claim(PLACE, "id")
    dying.write(PLACE, records(3, 9))
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "complete", lambda *_: None)
        dying.commit_one(PLACE, 10)
    heir = make_sink(by_region, regions=2)
    assert heir.claim(PLACE, "id") == Position(3, "id", bound=10)
    heir.write(PLACE, records(3, 9))
    heir.commit_one(PLACE, 10)
    assert sorted(data_files(tmp_path).values()) == [[3, 5, 7], [4, 6, 8]]
    heir.commit_one(PLACE, 12)
    dying.write(PLACE, records(10, 11))
    with pytest.raises(FencedError):
        dying.commit_one(PLACE, 11)


def test_an_interrupted_step_is_not_completed_with_another_file(
    make_sink: MakeSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = make_sink(PartitionBy("region", None), regions=2)
    dying.claim(PLACE, "id")
    dying.write(PLACE, records(0, 5))
    monkeypatch.setattr(Ledger, "complete", lambda *_: None)
    dying.commit_one(PLACE, 5)
    heir = make_sink(PartitionBy("region", None), regions=3)
    heir.claim(PLACE, "id")
    heir.write(PLACE, records(0, 5))
    with pytest.raises(
        WorldError, match=r"t \[0\] was written in part up to offset 5, and its records now go into other"
    ):
        heir.commit_one(PLACE, 5)


def test_an_interrupted_step_is_completed_with_its_types_while_others_widen_theirs(
    make_sink: MakeSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_sink, "CHUNK_BYTES", 1)
    heir = _heir_of_a_step(make_sink, monkeypatch)
    heir.write(PLACE, records(0, 3))
    other, place = make_sink(widens_every=10), Place("t", 1)
    other.claim(place, "id")
    other.write(place, records(10, 12, place))
    heir.write(PLACE, records(3, 5))
    heir.commit_one(PLACE, 5)
    heir.write(PLACE, records(5, 7))
    heir.commit_one(PLACE, 7)
    files = sorted((tmp_path / "lake/t/changes").rglob("*.parquet"))
    assert [
        (table["__offset"].to_pylist(), table.column_names[len(SCHEMA) :]) for table in map(pq.read_table, files)
    ] == [
        ([0, 1, 2, 3, 4], []),
        ([5, 6], ["column0"]),
    ]


def test_an_interrupted_step_is_not_completed_with_columns_that_change_on_the_way(
    make_sink: MakeSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_sink, "CHUNK_BYTES", 1)
    heir = _heir_of_a_step(make_sink, monkeypatch, widens_every=4)
    heir.write(PLACE, records(0, 3))
    with pytest.raises(
        WorldError,
        match=r"t \[0\] was written in part up to offset 5, and its columns now have other types; the pipeline",
    ):
        heir.write(PLACE, records(3, 5))


def _heir_of_a_step(make_sink: MakeSink, monkeypatch: pytest.MonkeyPatch, **how: int) -> ParquetSink:
    """Return a sink that has claimed a partition with an interrupted step of offsets 0 to 4."""
    dying = make_sink()
    dying.claim(PLACE, "id")
    dying.write(PLACE, records(0, 5))
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "complete", lambda *_: None)
        dying.commit_one(PLACE, 5)
    heir = make_sink(**how)
    assert heir.claim(PLACE, "id") == Position(0, "id", bound=5)
    return heir


def test_offsets_that_are_lost_are_skipped_with_a_step_without_files(make_sink: MakeSink, tmp_path: Path) -> None:
    sink = make_sink()
    sink.claim(PLACE, "id")
    sink.write(PLACE, records(0, 3))
    sink.commit_one(PLACE, 3)
    sink.skip(PLACE, 7)
    sink.write(PLACE, records(7, 8))
    sink.commit_one(PLACE, 8)
    step = Ledger(Folder(tmp_path / "lake")).last(PLACE)
    assert step is not None
    assert (step.sums.lost, step.sums.rows, sink.position(PLACE)) == (4, 4, Position(8, "id"))
    late = make_sink()
    late.claim(PLACE, "id")
    sink.commit_one(PLACE, 9)
    with pytest.raises(FencedError):
        late.skip(PLACE, 20)


def test_an_interrupted_step_whose_records_are_lost_is_completed_with_empty_files(
    make_sink: MakeSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = make_sink()
    sink.claim(PLACE, "id")
    sink.write(PLACE, records(0, 3))
    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "complete", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sink.commit_one(PLACE, 3)
    heir = make_sink()
    assert heir.claim(PLACE, "id") == Position(0, "id", 3)
    heir.skip(PLACE, 5)
    assert list(data_files(tmp_path).values()) == [[]]
    assert heir.position(PLACE) == Position(5, "id")
