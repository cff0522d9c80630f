"""Rows on disk: the last of each id counts, whatever was compacted, and memory does not grow with their number."""

from __future__ import annotations

import tracemalloc
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.operations import spill
from tailrace.operations.spill import BUCKETS, Row, RowId, Spill

ROWS = st.lists(
    st.builds(
        Row,
        st.builds(RowId, st.sampled_from([b"", b"a", b"b", b"key" * 300]), st.integers(0, 255)),
        st.binary(max_size=40),
    )
)


def all_rows(side: Spill) -> dict[RowId, bytes]:
    found: dict[RowId, bytes] = {}
    for bucket in range(BUCKETS):
        found.update(side.rows(bucket))
    return found


@given(batches=st.lists(ROWS), buffer_bytes=st.integers(1, 60), compacted_bytes=st.integers(1, 200))
@settings(max_examples=40, deadline=None)
def test_the_last_row_of_each_id_counts(batches: list[list[Row]], buffer_bytes: int, compacted_bytes: int) -> None:
    with (
        TemporaryDirectory() as folder,
        patch.object(spill, "_BUFFER_BYTES", buffer_bytes),
        patch.object(spill, "_COMPACTED_BYTES", compacted_bytes),
    ):
        side = Spill(Path(folder) / "side")
        for batch in batches:
            side.add(batch)
        assert all_rows(side) == {row.id: row.payload for batch in batches for row in batch}


def test_rows_of_a_key_are_in_the_same_bucket_of_every_side(tmp_path: Path) -> None:
    one, other = Spill(tmp_path / "one"), Spill(tmp_path / "other")
    keys = [b"key-%d" % number for number in range(1000)]
    one.add(Row(RowId(key, 0), b"") for key in keys)
    other.add(Row(RowId(key, 7), b"") for key in reversed(keys))
    for bucket in range(BUCKETS):
        assert {row.key for row in one.rows(bucket)} == {row.key for row in other.rows(bucket)}


def test_a_key_that_is_written_again_and_again_takes_no_more_space(tmp_path: Path) -> None:
    side = Spill(tmp_path / "side")
    with patch.object(spill, "_COMPACTED_BYTES", 100_000):
        side = Spill(tmp_path / "small")
        for number in range(400):
            side.add([Row(RowId(b"hot", 0), b"%4d" % number * 2_000)])
        size_bytes = sum(each.stat().st_size for each in (tmp_path / "small").iterdir())
    assert all_rows(side) == {RowId(b"hot", 0): b" 399" * 2_000}
    assert size_bytes < 300_000


def test_memory_does_not_grow_with_the_number_of_keys(tmp_path: Path) -> None:
    """90,000 keys take what 30,000 do: the buffers, and then one bucket."""
    random, buffer_bytes = Random(1), 1 << 10
    rows = (Row(RowId(b'{"id":"%032x"}' % random.getrandbits(128), 0), b"s" * 24) for _ in range(90_000))
    with patch.object(spill, "_BUFFER_BYTES", buffer_bytes):
        side = Spill(tmp_path / "side")
        tracemalloc.start()
        try:
            peaks = []
            for _ in range(3):
                tracemalloc.reset_peak()
                side.add(islice(rows, 30_000))
                peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.reset_peak()
            assert sum(len(side.rows(bucket)) for bucket in range(BUCKETS)) == 90_000
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert max(peaks) < 2 * BUCKETS * buffer_bytes, peaks
