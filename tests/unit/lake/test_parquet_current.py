"""Present states in Parquet files: what is kept of old copies, and what is written anew."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from support.lake_rows import NothingSetAside
from support.lake_store import Store, StoreLocation
from support.lake_tables import BASE, KEEP_MS, TOPIC_ID, JsonRows, record
from tailrace.errors import UnreachableError, WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.agreed_types import AgreedTypes
from tailrace.lake.fitting import grown
from tailrace.lake.ledger import Ledger, Step
from tailrace.lake.old_copies import old_copies
from tailrace.lake.parquet_current import ParquetCurrent
from tailrace.lake.table_sink import TableSink
from tailrace.sinks.contract import FencedError

PLACE = Place("shop.orders", 0)
BEGIN_MS = 1_700_000_000_000


class Lake:
    """A lake with a clock, of which each writer is a process of its own."""

    def __init__(self, file_bytes: int = 1 << 20) -> None:
        self.now_ms = BEGIN_MS
        self.store = Store(lambda: self.now_ms)
        self._file_bytes = file_bytes

    def writer(
        self, *, cleans: bool = True, keys: tuple[str, ...] = ("id",), location: StoreLocation | None = None
    ) -> TableSink:
        location = location or StoreLocation(self.store)
        table = ParquetCurrent(
            location,
            Ledger(location, "current"),
            AgreedTypes(location, "types-current", grown),
            "orders",
            BASE,
            file_bytes=self._file_bytes,
            keep_ms=KEEP_MS if cleans else 1 << 60,
            now_ms=lambda: self.now_ms,
        )
        sink = TableSink(
            lambda _: table,
            identity="lake",
            make_rows=lambda _topic, _known: JsonRows(keys=keys),
            set_aside=NothingSetAside(),
            file_bytes=1 << 20,
            now_ms=lambda: self.now_ms,
            sleep=lambda _: None,
        )
        _opened.append(sink)
        sink.claim(PLACE, TOPIC_ID)
        return sink

    def files(self) -> set[str]:
        return {name for name in self.store.files if name.startswith("orders/_current/shop.orders/0/")}

    def steps(self) -> list[int]:
        folder = "_tailrace/current/shop.orders/0/"
        return sorted(int(name.removeprefix(folder)[:20]) for name in self.store.files if name.startswith(folder))

    def last(self) -> Step:
        last = Ledger(StoreLocation(self.store), "current").last(PLACE)
        assert last is not None
        return last

    def state(self) -> set[str]:
        """Return the files that the last step names."""
        return {each.name for each in self.last().files}

    def old(self) -> list[str]:
        location = StoreLocation(self.store)
        return old_copies(location, Ledger(location, "current"), "orders", PLACE, keep_ms=KEEP_MS, now_ms=self.now_ms)


_opened: list[TableSink] = []


@pytest.fixture(autouse=True)
def _closed() -> object:
    yield
    while _opened:
        _opened.pop().close()


def change(sink: TableSink, offset: int, *items: str) -> None:
    sink.write(PLACE, [record(PLACE, offset, id=item) for item in items])
    sink.commit_one(PLACE, offset + 1)


def test_copies_remain_for_readers_and_go_then() -> None:
    lake = Lake()
    sink = lake.writer()
    change(sink, 0, "a")
    first = lake.files()
    change(sink, 1, "b")
    lake.now_ms += KEEP_MS - 1
    change(sink, 2, "c")
    assert first < lake.files()
    assert lake.steps() == [0, 1, 2]
    lake.now_ms += KEEP_MS // 2
    change(sink, 3, "d")
    assert lake.steps() == [1, 2, 3]  # the second was the state until just now
    assert len(lake.files()) == 3
    assert not first & lake.files()
    lake.now_ms += 2 * KEEP_MS
    change(sink, 4, "e")
    assert lake.steps() == [3, 4]
    assert lake.old() == []


def test_what_killed_writers_left_goes_once_no_step_can_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake()
    sink = lake.writer(cleans=False)
    change(sink, 0, "a")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "add", killed)
        with pytest.raises(KeyboardInterrupt):
            change(lake.writer(cleans=False), 1, "b")
    (orphan,) = lake.files() - lake.state()
    lake.now_ms += 2 * KEEP_MS
    assert lake.old() == []  # its writer may be slow
    change(sink, 1, "b")
    assert lake.old() == [orphan]


def test_a_writer_so_late_that_the_step_of_its_position_is_gone_changes_nothing() -> None:
    lake = Lake()
    zombie, sink = lake.writer(cleans=False), lake.writer()
    for offset in range(3):
        change(sink, offset, "a")
        lake.now_ms += 2 * KEEP_MS
    assert 0 not in lake.steps()
    state = lake.state()
    with pytest.raises(FencedError):
        change(zombie, 0, "b")
    assert lake.state() == state
    assert zombie.position(PLACE) == sink.position(PLACE)


def test_a_writer_whose_state_was_removed_is_fenced_and_a_state_that_is_gone_is_told() -> None:
    lake = Lake()
    sink = lake.writer()
    change(sink, 0, "a")
    zombie = lake.writer(cleans=False)
    for offset in (1, 2):
        lake.now_ms += 2 * KEEP_MS
        change(sink, offset, "b")
    with pytest.raises(FencedError):
        change(zombie, 1, "c")
    for name in lake.files():
        lake.store.remove(name)
    with pytest.raises(WorldError, match=r"orders/_current/shop.orders/0/.*\.pq is gone, which the present state"):
        change(sink, 3, "b")


class _AnswersLate(StoreLocation):
    """A way to a store on which the first pointer is carried out just before it is asked for again."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._late: tuple[str, bytes] | None = None

    def create(self, name: str, content: bytes) -> bool:
        if "/current/" in name and self._late is None:
            self._late = name, content
            raise UnreachableError("no answer")
        if "/current/" in name and self._late is not None:
            super().create(*self._late)
        return super().create(name, content)


def test_of_two_attempts_the_state_is_that_of_the_one_that_was_carried_out() -> None:
    lake = Lake()
    sink = lake.writer(location=_AnswersLate(lake.store))
    change(sink, 0, "a")
    assert lake.files() == lake.state()  # what the other wrote is not needed
    change(sink, 1, "b")
    assert lake.last().sums.rows == 2


def test_a_large_state_is_cut_and_only_what_changed_is_written_anew() -> None:
    lake = Lake(file_bytes=6_000)
    sink = lake.writer(cleans=False)
    change(sink, 0, *(f"item-{number * 7919}" for number in range(3_000)))
    before = lake.state()
    assert len(before) >= 4
    change(sink, 1, "item-0")
    assert len(before - lake.state()) == 1


def test_a_key_that_was_renamed_is_told() -> None:
    lake = Lake()
    change(lake.writer(), 0, "a")
    sink = lake.writer(keys=("name",))
    sink.write(PLACE, [record(PLACE, 1, name="b")])
    with pytest.raises(WorldError, match="holds items without name, which is their key now"):
        sink.commit_one(PLACE, 2)


def test_a_merge_goes_through_large_files_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace.lake.parquet_current._GROUP_BYTES", 10_000)
    monkeypatch.setattr("tailrace.lake.parquet_current._ROWS", 100)
    lake = Lake()
    sink = lake.writer(cleans=False)
    change(sink, 0, *(f"item-{number}" for number in range(2_000)))
    largest = _largest_of(monkeypatch)
    change(sink, 1, *(f"item-{number}" for number in range(1_000, 1_100)))
    assert largest() < 500
    assert lake.last().sums.rows == 2_000


def _largest_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return what returns how many rows were looked at together."""
    seen = [0]
    original = pa.concat_tables

    def concat(tables: list[pa.Table]) -> pa.Table:
        found = original(tables)
        seen.append(found.num_rows)
        return found

    monkeypatch.setattr("tailrace.lake.parquet_current.pa.concat_tables", concat)
    return lambda: max(seen)
