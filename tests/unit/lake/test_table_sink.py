"""Change logs in Iceberg and Delta: each change once, whoever writes, and whatever becomes of the answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pytest

from support.lake_items import debezium
from support.lake_rows import NothingSetAside
from support.lake_tables import DAY_MS, TOPIC_ID, Hooked, Kind, record, sink_of
from tailrace.errors import UnreachableError, WorldError
from tailrace.formats.debezium import DebeziumFormat
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.columns import TableColumns
from tailrace.lake.table_sink import ChangeTable, ConflictError, TableSink
from tailrace.sinks.contract import FencedError
from tailrace.sinks.progress import Position

_opened: list[TableSink] = []
PLACE, OTHER = Place("shop.orders", 0), Place("shop.orders", 1)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def _append(sink: TableSink, place: Place, *offsets: int, **image: Any) -> None:
    sink.write(place, [record(place, each, **image) for each in offsets])


def _offsets(kind: Kind, folder: Path) -> list[tuple[int, int]]:
    return [(row["__partition"], row["__offset"]) for row in kind.rows(folder)]


def test_rows_and_position_arrive_together(kind: Kind, tmp_path: Path) -> None:
    sink = sink_of(kind.table(tmp_path))
    assert sink.claim(PLACE, TOPIC_ID) is None
    _append(sink, PLACE, 3, 4, name="a", price=5)
    assert kind.rows(tmp_path) == []
    sink.commit_one(PLACE, 7)
    assert [(row["__offset"], row["name"], row["price"]) for row in kind.rows(tmp_path)] == [(3, "a", 5), (4, "a", 5)]
    assert sink_of(kind.table(tmp_path)).claim(PLACE, "another") == Position(7, TOPIC_ID)


def test_a_position_moves_without_rows(kind: Kind, tmp_path: Path) -> None:
    sink = sink_of(kind.table(tmp_path))
    sink.claim(PLACE, TOPIC_ID)
    sink.commit_one(PLACE, 9)
    assert sink_of(kind.table(tmp_path)).position(PLACE) == Position(9, TOPIC_ID)
    assert kind.rows(tmp_path) == []


def test_offsets_that_are_lost_are_skipped_and_counted_for_good(kind: Kind, tmp_path: Path) -> None:
    sink = sink_of(kind.table(tmp_path))
    sink.claim(PLACE, TOPIC_ID)
    sink.commit_one(PLACE, 4)
    sink.skip(PLACE, 9)
    sink.commit_one(PLACE, 10)
    table = kind.table(tmp_path)
    table.look()
    mark = table.mark(PLACE)
    assert mark is not None
    assert (mark.next_offset, mark.lost) == (10, 5)


def test_writers_of_several_partitions_share_a_table(kind: Kind, tmp_path: Path) -> None:
    """Each believes that it knows the table, and others commit all the time."""

    def work(partition: int) -> None:
        place, sink = Place("shop.orders", partition), sink_of(kind.table(tmp_path))
        sink.claim(place, TOPIC_ID)
        for offset in range(4):
            _append(sink, place, offset, **{f"only_{partition}": "x"})
            sink.commit_one(place, offset + 1)

    sink_of(kind.table(tmp_path)).claim(PLACE, TOPIC_ID)
    threads = [Thread(target=work, args=(each,)) for each in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert _offsets(kind, tmp_path) == list(itertools.product(range(4), range(4)))


def test_partitions_share_a_commit_but_for_those_that_another_has(kind: Kind, tmp_path: Path) -> None:
    commits: list[bool] = []

    def counted(carry_out: Callable[[], None]) -> None:
        commits.append(True)
        carry_out()

    sink, other = sink_of(Hooked(kind.table(tmp_path), counted)), sink_of(kind.table(tmp_path))
    places = [PLACE, OTHER, Place("shop.orders", 2)]
    for place in places:
        sink.claim(place, TOPIC_ID)
        _append(sink, place, 0)
    other.claim(OTHER, TOPIC_ID)
    _append(other, OTHER, 0)
    other.commit_one(OTHER, 1)
    assert sink.commit(dict.fromkeys(places, 1)) == {OTHER}
    assert len(commits) == 1
    assert _offsets(kind, tmp_path) == [(0, 0), (1, 0), (2, 0)]


def test_of_two_writers_one_continues(kind: Kind, tmp_path: Path) -> None:
    zombie, sink = sink_of(kind.table(tmp_path)), sink_of(kind.table(tmp_path))
    for each in (zombie, sink):
        each.claim(PLACE, TOPIC_ID)
    _append(sink, PLACE, 0, 1)
    sink.commit_one(PLACE, 2)
    _append(zombie, PLACE, 0, 1)  # the very same offsets
    with pytest.raises(FencedError):
        zombie.commit_one(PLACE, 2)
    with pytest.raises(FencedError):
        zombie.commit_one(PLACE, 5)
    _append(sink, PLACE, 2)
    sink.commit_one(PLACE, 3)
    assert _offsets(kind, tmp_path) == [(0, 0), (0, 1), (0, 2)]


def test_a_writer_that_stands_before_its_commit_is_overtaken(kind: Kind, tmp_path: Path) -> None:
    """It has looked at the table, and found its position; then another commits, and then it goes on."""
    sink = sink_of(kind.table(tmp_path))
    sink.claim(PLACE, TOPIC_ID)

    def overtaken(carry_out: Callable[[], None]) -> None:
        if not _offsets(kind, tmp_path):
            _append(sink, PLACE, 0, 1)
            sink.commit_one(PLACE, 2)
        carry_out()

    zombie = sink_of(Hooked(kind.table(tmp_path), overtaken))
    zombie.claim(PLACE, TOPIC_ID)
    _append(zombie, PLACE, 0)
    with pytest.raises(FencedError):
        zombie.commit_one(PLACE, 1)
    assert _offsets(kind, tmp_path) == [(0, 0), (0, 1)]


def test_a_lost_answer_repeats_nothing(kind: Kind, tmp_path: Path) -> None:
    """The commit was carried out; another partition is committed before anyone looks."""
    other = sink_of(kind.table(tmp_path))
    lost: list[bool] = []
    other.claim(OTHER, TOPIC_ID)

    def answer_lost(carry_out: Callable[[], None]) -> None:
        carry_out()
        if not lost:
            lost.append(True)
            _append(other, OTHER, 0)
            other.commit_one(OTHER, 1)
            raise UnreachableError("no answer")

    sink = sink_of(Hooked(kind.table(tmp_path), answer_lost))
    sink.claim(PLACE, TOPIC_ID)
    for offset in range(2):
        _append(sink, PLACE, offset)
        sink.commit_one(PLACE, offset + 1)
    assert _offsets(kind, tmp_path) == [(0, 0), (0, 1), (1, 0)]


def test_a_late_request_is_carried_out_once(kind: Kind, tmp_path: Path) -> None:
    """The first attempt is still under way when the second succeeds, and arrives after it, or before the second."""
    late: list[Callable[[], None]] = []

    def delayed(carry_out: Callable[[], None]) -> None:
        if not late:
            late.append(carry_out)
            raise UnreachableError("no answer")
        carry_out()

    table = kind.table(tmp_path)
    sink = sink_of(Hooked(table, delayed))
    sink.claim(PLACE, TOPIC_ID)
    _append(sink, PLACE, 0)
    sink.commit_one(PLACE, 1)
    with pytest.raises(ConflictError):
        late[0]()
    assert _offsets(kind, tmp_path) == [(0, 0)]


def test_a_table_that_never_answers_is_given_up(kind: Kind, tmp_path: Path) -> None:
    def refuse(_: Callable[[], None]) -> None:
        raise UnreachableError("no answer")

    pauses: list[float] = []
    sink = sink_of(Hooked(kind.table(tmp_path), refuse), sleep=pauses.append)
    sink.claim(PLACE, TOPIC_ID)
    _append(sink, PLACE, 0)
    with pytest.raises(UnreachableError):
        sink.commit_one(PLACE, 1)
    assert len(pauses) > 5
    again = sink_of(kind.table(tmp_path))
    assert again.claim(PLACE, TOPIC_ID) is None
    _append(again, PLACE, 0)
    again.commit_one(PLACE, 1)
    assert _offsets(kind, tmp_path) == [(0, 0)]


def test_a_killed_writer_leaves_whole_batches(kind: Kind, tmp_path: Path) -> None:
    """It dies between any two steps: before the upload, before and after the commit."""

    class KilledError(Exception):
        pass

    def dies_before(_: Callable[[], None]) -> None:
        raise KilledError

    def dies_after(carry_out: Callable[[], None]) -> None:
        carry_out()
        raise KilledError

    first = sink_of(kind.table(tmp_path))
    first.claim(PLACE, TOPIC_ID)
    _append(first, PLACE, 0)
    for hook in (dies_before, dies_after, dies_before):
        sink = sink_of(Hooked(kind.table(tmp_path), hook))
        position = sink.claim(PLACE, TOPIC_ID)
        begin = position.next_offset if position else 0
        _append(sink, PLACE, begin, begin + 1)
        with pytest.raises(KilledError):
            sink.commit_one(PLACE, begin + 2)
    last = sink_of(kind.table(tmp_path))
    assert last.claim(PLACE, TOPIC_ID) == Position(2, TOPIC_ID)
    _append(last, PLACE, 2)
    last.commit_one(PLACE, 3)
    assert _offsets(kind, tmp_path) == [(0, 0), (0, 1), (0, 2)]


def test_columns_come_and_structs_grow(kind: Kind, tmp_path: Path) -> None:
    sink = sink_of(kind.table(tmp_path))
    sink.claim(PLACE, TOPIC_ID)
    images: list[dict[str, Any]] = [
        {"name": "a", "size": {"x": "1"}},
        {"size": {"x": "2", "y": {"z": [{"q": "1"}]}}},
        {"size": {"y": {"z": None, "w": "5"}}, "tags": []},
        {"name": None, "size": None, "tags": ["t"]},
        {},
    ]
    types = {"tags": pa.list_(pa.string())}
    sink = sink_of(kind.table(tmp_path), types)
    sink.claim(PLACE, TOPIC_ID)
    for offset, image in enumerate(images):
        _append(sink, PLACE, offset, **image)
        sink.commit_one(PLACE, offset + 1)
    rows = kind.rows(tmp_path)
    assert [row["name"] for row in rows] == ["a", None, None, None, None]
    assert [row["tags"] for row in rows] == [None, None, [], ["t"], None]
    assert [row["size"] for row in rows] == [
        {"x": "1", "y": None},
        {"x": "2", "y": {"z": [{"q": "1"}], "w": None}},
        {"x": None, "y": {"z": None, "w": "5"}},  # a null list stays one
        None,
        None,
    ]


def test_columns_that_change_within_a_batch(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was moved to a file before has fewer columns, and is committed with what came after."""
    monkeypatch.setattr("tailrace.lake.table_sink.CHUNK_BYTES", 100)
    sink = sink_of(kind.table(tmp_path))
    sink.claim(PLACE, TOPIC_ID)
    for offset, name in enumerate(["a", "a", "b", "a"]):
        _append(sink, PLACE, offset, **{name: "x"})
    sink.commit_one(PLACE, 4)
    assert [(row["a"], row["b"]) for row in kind.rows(tmp_path)] == [("x", None), ("x", None), (None, "x"), ("x", None)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.decimal128(38, 0), pa.decimal128(38, 2)),
        (pa.string(), pa.decimal128(38, 0)),
        (pa.binary(), pa.string()),
        (pa.string(), pa.list_(pa.string())),
    ],
)
def test_a_type_that_cannot_change_is_told(kind: Kind, tmp_path: Path, first: pa.DataType, second: pa.DataType) -> None:
    values = {pa.decimal128(38, 0): 5, pa.decimal128(38, 2): 5.25, pa.list_(pa.string()): ["x"]}
    table = kind.table(tmp_path)
    for offset, kind_of in enumerate([first, second]):
        sink = sink_of(table, {"price": kind_of})
        sink.claim(PLACE, TOPIC_ID)
        value = values.get(kind_of, "x")
        if offset == 0:
            _append(sink, PLACE, 0, price=value)
            sink.commit_one(PLACE, 1)
        else:
            _append(sink, PLACE, 1, price=value)
            with pytest.raises(WorldError, match=r"price of .* cannot hold values"):
                sink.commit_one(PLACE, 2)
    assert _offsets(kind, tmp_path) == [(0, 0)]


def test_numbers_of_fewer_digits_behind_the_point_fit(kind: Kind, tmp_path: Path) -> None:
    for offset, digits in enumerate([2, 0]):
        sink = sink_of(kind.table(tmp_path), {"price": pa.decimal128(38, digits)})
        sink.claim(PLACE, TOPIC_ID)
        _append(sink, PLACE, offset, price=10**35 + 7)
        sink.commit_one(PLACE, offset + 1)
    assert [row["price"] for row in kind.rows(tmp_path)] == [Decimal(10**35 + 7)] * 2


def test_numbers_of_more_digits_widen_the_column(kind: Kind, tmp_path: Path) -> None:
    wide, narrow = 10**37 + 7, 10**11 + 7
    for offset, (digits, number) in enumerate([(12, narrow), (38, wide), (12, narrow)]):
        of = pa.decimal128(digits, 0)
        types = {"price": of, "size": pa.struct([("weights", pa.list_(of))])}
        sink = sink_of(kind.table(tmp_path), types)
        sink.claim(PLACE, TOPIC_ID)
        _append(sink, PLACE, offset, price=number, size={"weights": [number]})
        sink.commit_one(PLACE, offset + 1)
    found = [(row["price"], row["size"]) for row in kind.rows(tmp_path)]
    assert found == [(Decimal(each), {"weights": [Decimal(each)]}) for each in (narrow, wide, narrow)]


def test_records_of_a_format_become_rows(kind: Kind, tmp_path: Path) -> None:
    """The columns that the records' own reader makes go on from those of the table, and fit it."""
    items: list[dict[str, Any]] = [
        {"id": "1", "n": Decimal(5), "m": {"a": [Decimal(1), "x"]}, "s": None},
        {"id": "2", "n": Decimal("7.25"), "m": {"b": [{"q": True}], "a": None}, "t": ["a"]},
        {"id": "3"},
        {"id": "4", "n": Decimal(10**37), "m": "none", "t": ["a", Decimal(1)]},
        {"id": "5", "n": "six", "m": {"a": [False]}, "t": {"b": Decimal(1)}},
        {"id": Decimal(6), "n": True, "m": {"b": [{"q": "no", "r": Decimal("0.1")}]}},
    ]
    table = kind.table(tmp_path)
    for offset, item in enumerate(items):
        sink = _sink_of_records(table)
        sink.claim(Place("shop.orders", 3), TOPIC_ID)
        sink.write(Place("shop.orders", 3), [debezium(item, offset)])  # type: ignore[list-item]  # as good as Kafka's
        sink.commit_one(Place("shop.orders", 3), offset + 1)
    rows = kind.rows(tmp_path)
    assert [row["id"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert [(row["n"], row["n__json"]) for row in rows] == [
        (5, None),
        (Decimal("7.25"), None),
        (None, None),
        (None, "1" + 37 * "0"),
        (None, '"six"'),
        (None, "true"),
    ]
    assert [(row["t"], row["t__json"]) for row in rows] == [
        (None, None),
        (["a"], None),
        (None, None),
        (["a", "1"], None),
        (None, '{"b":1}'),
        (None, None),
    ]
    found = [(row["m"] and (row["m"]["a"], row["m"]["b"]), row["m__json"]) for row in rows]
    assert found == [
        ((["1", "x"], None), None),
        ((None, [{"q": True, "q__json": None, "r": None}]), None),
        (None, None),
        (None, '"none"'),
        ((["false"], None), None),
        ((None, [{"q": None, "q__json": '"no"', "r": Decimal("0.1")}]), None),
    ]


def test_a_thousand_columns(kind: Kind, tmp_path: Path) -> None:
    sink = sink_of(kind.table(tmp_path))
    sink.claim(PLACE, TOPIC_ID)
    _append(sink, PLACE, 0, **{f"c{each}": str(each) for each in range(1_000)})
    sink.commit_one(PLACE, 1)
    row = kind.rows(tmp_path)[0]
    assert [row[f"c{each}"] for each in range(1_000)] == [str(each) for each in range(1_000)]
    assert row["__ts"].timestamp() * 1_000 == 0 * DAY_MS


def test_of_two_types_of_a_new_column_the_first_in_the_table_stays(kind: Kind, tmp_path: Path) -> None:
    """Both writers have begun without the column; the second finds it made, with the other's type."""
    sinks = [_sink_of_records(kind.table(tmp_path)) for _ in range(2)]
    values: list[Any] = [Decimal(5), "six"]
    for sink, place, value in zip(sinks, (PLACE, OTHER), values, strict=True):
        sink.claim(place, TOPIC_ID)
        sink.write(place, [debezium({"id": "1", "n": value, "m": {"a": value}}, place.partition)])  # type: ignore[list-item]
    for sink, place in zip(sinks, (PLACE, OTHER), strict=True):
        sink.commit_one(place, 2)
    rows = sorted(kind.rows(tmp_path), key=lambda row: bool(row["n__json"]))
    assert [(row["n"], row["n__json"]) for row in rows] == [(5, None), (None, '"six"')]
    assert [(row["m"]["a"], row["m"]["a__json"]) for row in rows] == [(5, None), (None, '"six"')]


def test_a_look_that_makes_no_table(kind: Kind, tmp_path: Path) -> None:
    assert not kind.table(tmp_path).find()
    assert not kind.table(tmp_path).find()
    sink = sink_of(kind.table(tmp_path))
    sink.claim(PLACE, TOPIC_ID)
    _append(sink, PLACE, 0, 1, name="x")
    sink.commit_one(PLACE, 2)
    table = kind.table(tmp_path)
    assert table.find()
    sums, mark = table.sums(), table.mark(PLACE)
    assert (sums.files, sums.rows) == (1, 2)
    assert sums == sink.written
    assert mark is not None
    assert (mark.next_offset, mark.last_ms) == (2, DAY_MS)
    assert mark.committed_ms > 1_600_000_000_000


def _sink_of_records(table: ChangeTable) -> TableSink:
    sink = TableSink(
        lambda _: table,
        identity="lake",
        make_rows=lambda _topic, known: TableColumns([DebeziumFormat], known=known, fixed=True),
        set_aside=NothingSetAside(),
        file_bytes=1 << 20,
        sleep=lambda _: None,
    )
    _opened.append(sink)
    return sink
