"""Pages are cut at changes, and never hold what is published already."""

from __future__ import annotations

import msgspec
import pytest

from support.lanes import outgoing, page
from tailrace.core.page import Page, SetAside
from tailrace.core.refusals import Learned, RefusedRecords
from tailrace.core.shard import ShardRef

SHARD = ShardRef("arn", "shardId-1")


def sequences(of: Page) -> list[int]:
    return [int(record.origin.sequence) for record in of.records]


def with_tombstone(*numbers: int) -> Page:
    """Return a page in which the last change is a delete: its record, then its tombstone."""
    whole = page(SHARD, *numbers)
    return msgspec.structs.replace(whole, records=[*whole.records, outgoing(whole.changes[-1], value=None)])


@pytest.mark.parametrize("position", [None, "8", "9"])
def test_a_page_after_the_position_stays_as_it_is(position: str | None) -> None:
    whole = page(SHARD, 10, 11)
    assert whole.without_repeats(position) is whole


def test_repeats_are_dropped_by_number_not_by_text() -> None:
    kept = page(SHARD, 98, 99, 100).without_repeats("99")
    assert sequences(kept) == [100]
    assert (len(kept.changes), kept.first_sequence, kept.last_sequence) == (1, "100", "100")


def test_a_page_of_repeats_alone_keeps_the_position() -> None:
    kept = page(SHARD, 97, 98).without_repeats("100")
    assert (kept.records, len(kept.changes), kept.first_sequence, kept.last_sequence) == ([], 0, None, "100")


def test_a_repeated_delete_takes_its_tombstone_with_it() -> None:
    assert sequences(with_tombstone(1, 2).without_repeats("2")) == []


def test_an_empty_page_has_no_repeats() -> None:
    empty = page(SHARD)
    assert empty.without_repeats("5") is empty


@pytest.mark.parametrize("index", [2, 3])
def test_a_cut_takes_a_change_whole(index: int) -> None:
    cut = with_tombstone(1, 2, 3).cut_before(index, "too large")
    assert sequences(cut) == [1, 2]
    assert (cut.last_sequence, len(cut.changes), cut.stop) == ("2", 2, "too large")


def test_a_cut_at_the_first_record_leaves_nothing() -> None:
    cut = page(SHARD, 1, 2).cut_before(0, "too large")
    assert (cut.records, len(cut.changes), cut.first_sequence, cut.last_sequence) == ([], 0, None, None)


def deletes(*numbers: int) -> Page:
    """Return a page of deletes, each with its tombstone."""
    whole = page(SHARD, *numbers)
    records = [outgoing(change, value=value) for change in whole.changes for value in (b"{}", None)]
    return msgspec.structs.replace(whole, records=records)


@pytest.mark.parametrize("index", [6, 7])
def test_a_cut_counts_changes_not_records(index: int) -> None:
    cut = deletes(*range(1, 11)).cut_before(index, "too large")
    assert (len(cut.changes), len(cut.records), cut.last_sequence) == (3, 6, "3")


def test_what_is_left_behind_repeats_is_counted_by_changes() -> None:
    left = deletes(*range(1, 11)).without_repeats("7")
    assert (len(left.changes), len(left.records), left.first_sequence) == (3, 6, "8")


def test_a_change_that_was_dropped_lies_before_or_behind_a_cut() -> None:
    whole = page(SHARD, 1, 2, 3, 4)
    of = {change.sequence: change for change in whole.changes}
    whole = msgspec.structs.replace(whole, records=[whole.records[1], whole.records[3]], dropped=[of["1"], of["3"]])
    cut = whole.cut_before(1, "too large")
    assert (sequences(cut), cut.dropped, cut.last_sequence) == ([2], [of["1"], of["3"]], "3")
    left = whole.without_repeats("2")
    assert (sequences(left), left.dropped, left.first_sequence) == ([4], [of["3"]], "3")


def test_a_change_that_shares_its_sequence_number_is_cut_with_it() -> None:
    whole = page(SHARD, 1, 2, 2, 3)  # the second 2 is a record whose own number cannot be read
    cut = whole.cut_before(2, "too large")
    assert (sequences(cut), len(cut.changes), cut.last_sequence) == ([1], 1, "1")


# Several tables


def test_a_page_of_one_table_is_that_tables_part() -> None:
    whole = page(SHARD, 1, 2)
    assert whole.of_each_table() == {"orders": whole}
    assert page(SHARD).of_each_table() == {}


def test_each_table_has_its_part_of_a_page() -> None:
    whole = page(SHARD, 1, 2, 3, 4, tables=("orders", "users"))
    marked = msgspec.structs.replace(whole, dropped=whole.changes[2:3], set_aside={3: SetAside("large")})
    parts = marked.of_each_table()
    assert {table: sequences(part) for table, part in parts.items()} == {"orders": [1, 3], "users": [2, 4]}
    assert [len(part.dropped) for part in parts.values()] == [1, 0]
    assert [part.set_aside for part in parts.values()] == [{}, {1: SetAside("large")}]


# Refused records


def test_a_refusal_teaches_something_new_until_nothing_is_left_to_try() -> None:
    refused, whole = RefusedRecords(), page(SHARD, 1, 2)
    learned = [refused.note(whole, 0, "large") for _ in range(3)]
    assert learned == [Learned.TOO_LARGE, Learned.LETTER_TOO_LARGE, Learned.NOTHING]
    marked = refused.apply(whole, stop=False)
    assert marked.set_aside == {0: SetAside("large", bare=True)}


def test_a_change_and_its_tombstone_are_told_apart() -> None:
    refused, whole = RefusedRecords(), with_tombstone(1)
    refused.note(whole, 0, "large")
    assert refused.apply(whole, stop=False).set_aside.keys() == {0}


def test_records_of_other_shards_are_left_alone() -> None:
    refused = RefusedRecords()
    refused.note(page(SHARD, 1), 0, "large")
    other = page(ShardRef("arn", "shardId-2"), 1)
    assert refused.apply(other, stop=True) is other


def test_what_is_published_is_forgotten_by_number_not_by_text() -> None:
    refused, whole = RefusedRecords(), page(SHARD, 99, 100)
    refused.note(whole, 0, "large")
    refused.note(whole, 1, "large")
    refused.forget(SHARD, None)
    refused.forget(SHARD, "99")
    assert refused.apply(whole, stop=False).set_aside.keys() == {1}


def test_stopping_cuts_before_the_first_record_that_would_be_set_aside() -> None:
    refused, whole = RefusedRecords(), page(SHARD, 1, 2, 3)
    refused.note(whole, 2, "large")
    refused.note(whole, 1, "larger")
    cut = refused.apply(whole, stop=True)
    assert (sequences(cut), cut.stop) == ([1], "larger")


def test_marks_move_with_their_records_when_repeats_are_left_out() -> None:
    marks = {0: SetAside("passed"), 2: SetAside("large")}
    marked = msgspec.structs.replace(page(SHARD, 1, 2, 3), set_aside=marks)
    assert marked.without_repeats("1").set_aside == {1: SetAside("large")}


def test_a_mark_of_the_page_is_told_once_and_a_refused_letter_makes_it_bare() -> None:
    refused = RefusedRecords()
    marked = msgspec.structs.replace(page(SHARD, 1, 2), set_aside={1: SetAside("large")})
    assert [refused.note_marks(marked) for _ in range(2)] == [["large"], []]
    assert refused.note(marked, 1, "the letter, too") is Learned.LETTER_TOO_LARGE
    refused.note_marks(marked)
    assert refused.apply(marked, stop=False).set_aside == {1: SetAside("large", bare=True)}


def test_a_page_that_is_not_in_the_shards_order_is_cut_where_a_position_can_be() -> None:
    whole = page(SHARD, 1, 3, 2, 5, 6, 4)
    assert sequences(whole.cut_before(1, "too large")) == [1]
    left = whole.cut_before(4, "too large")
    assert (sequences(left), left.last_sequence) == ([1, 3, 2], "3")
    assert sequences(whole.cut_before(5, "too large")) == [1, 3, 2]
