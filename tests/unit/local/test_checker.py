"""The checker finds each kind of fault, and nothing where all is well."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.local.checker import (
    EXAMPLES_MAX,
    Checker,
    FaultKind,
    FoundChange,
    FoundOp,
    Verdict,
    Written,
    WrittenOp,
    check,
)

TOMBSTONE: FoundOp = "tombstone"


def history_of(ops: str, *, key: str = "a") -> list[Written]:
    """The changes of one item: `cud` is made, changed and deleted."""
    codes: dict[str, WrittenOp] = {"c": "c", "u": "u", "d": "d"}
    return [Written("orders", key, codes[op], version, version) for version, op in enumerate(ops, start=1)]


def records_of(history: list[Written]) -> list[FoundChange]:
    """What Kafka holds when all goes well."""
    offsets = count()
    found: list[FoundChange] = []
    for change in history:
        record = FoundChange(change.table, change.key, change.op, change.version, "demo.orders", 0, next(offsets), 0)
        found.append(record)
        if change.op == "d":
            found.append(replace(record, op=TOMBSTONE, version=None, offset=next(offsets)))
    return found


def in_this_order(records: list[FoundChange]) -> list[FoundChange]:
    return [replace(record, offset=offset) for offset, record in enumerate(records)]


def faults(verdict: Verdict) -> set[tuple[FaultKind, int | None]]:
    return {(fault.kind, fault.version) for fault in verdict.examples}


HISTORY = history_of("cuudcu")
RECORDS = records_of(HISTORY)


def test_all_is_well() -> None:
    verdict = check(HISTORY, RECORDS)
    assert verdict.good
    assert (verdict.made, verdict.found) == (6, 6)


def test_nothing_is_well() -> None:
    assert check([], []).good


def test_a_lost_change() -> None:
    verdict = check(HISTORY, RECORDS[:1] + RECORDS[2:])
    assert not verdict.good
    assert (verdict.lost, verdict.found) == (1, 5)
    assert faults(verdict) == {(FaultKind.LOST, 2)}
    assert "lost: orders a u version 2" in str(verdict.examples[0])


def test_a_repeated_change() -> None:
    verdict = check(HISTORY, in_this_order([*RECORDS, RECORDS[-1]]))
    assert (verdict.repeated, verdict.lost, verdict.out_of_order) == (1, 0, 0)
    assert faults(verdict) == {(FaultKind.REPEATED, 6)}
    assert "partition 0 offset 7" in str(verdict.examples[0])


def test_two_changes_swapped() -> None:
    verdict = check(HISTORY, in_this_order([RECORDS[0], RECORDS[2], RECORDS[1], *RECORDS[3:]]))
    assert (verdict.out_of_order, verdict.lost, verdict.repeated) == (1, 0, 0)
    assert faults(verdict) == {(FaultKind.OUT_OF_ORDER, 2)}


def test_a_change_behind_a_newer_one_that_says_so_is_late() -> None:
    late = replace(RECORDS[1], late=True)
    verdict = check(HISTORY, in_this_order([RECORDS[0], RECORDS[2], late, *RECORDS[3:]]))
    assert verdict.good
    assert verdict.late == 1


def test_a_change_in_its_place_that_says_that_it_is_late() -> None:
    verdict = check(HISTORY, [RECORDS[0], replace(RECORDS[1], late=True), *RECORDS[2:]])
    assert (verdict.late, verdict.not_late, verdict.lost) == (0, 1, 0)
    assert faults(verdict) == {(FaultKind.NOT_LATE, 2)}


def test_a_record_in_another_partition() -> None:
    verdict = check(HISTORY, [*RECORDS[:-1], replace(RECORDS[-1], partition=1)])
    assert (verdict.misplaced, verdict.lost) == (1, 0)
    assert not verdict.good


def test_a_missing_tombstone() -> None:
    verdict = check(HISTORY, [record for record in RECORDS if record.op != TOMBSTONE])
    assert verdict.without_tombstone == 1
    assert faults(verdict) == {(FaultKind.NO_TOMBSTONE, 4)}


def test_tombstones_that_were_switched_off() -> None:
    assert check(HISTORY, [record for record in RECORDS if record.op != TOMBSTONE], tombstones=False).good
    assert check(HISTORY, RECORDS, tombstones=False).unexpected == 1


def test_a_tombstone_without_a_delete() -> None:
    tombstone = next(record for record in RECORDS if record.op == TOMBSTONE)
    verdict = check(HISTORY, in_this_order([RECORDS[0], tombstone, *RECORDS[1:]]))
    assert verdict.unexpected == 1


def test_a_change_that_nobody_made() -> None:
    verdict = check(HISTORY[:-1], RECORDS)
    assert faults(verdict) == {(FaultKind.UNEXPECTED, 6)}


def test_a_change_of_another_op() -> None:
    verdict = check(HISTORY, [replace(RECORDS[0], op="u"), *RECORDS[1:]])
    assert (verdict.unexpected, verdict.lost) == (1, 1)


def test_items_do_not_mix() -> None:
    other = history_of("cu", key="b")
    assert check(HISTORY + other, records_of(HISTORY + other)).good
    assert check(HISTORY + other, RECORDS).lost == 2


def test_records_come_in_any_order_but_are_read_by_offset() -> None:
    assert check(HISTORY, reversed(RECORDS)).good


@pytest.mark.parametrize("gone", range(len(RECORDS)))
def test_records_that_tell_no_version_are_counted(gone: int) -> None:
    changes = [replace(record, version=None) for record in RECORDS]
    assert check(HISTORY, changes).good
    assert not check(HISTORY, [*changes[:gone], *changes[gone + 1 :]]).good


def test_only_the_first_faults_are_named_and_all_are_counted() -> None:
    verdict = check(history_of("c" + "u" * 50), [])
    assert verdict.lost == 51
    assert [fault.version for fault in verdict.examples] == list(range(1, EXAMPLES_MAX + 1))


@st.composite
def histories(draw: st.DrawFn) -> list[Written]:
    """A history of a few items, as DynamoDB would let it happen."""
    history: list[Written] = []
    for key in draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)):
        ops, exists = "", False
        for _ in range(draw(st.integers(1, 8))):
            op = draw(st.sampled_from("ud")) if exists else "c"
            exists = op != "d"
            ops += op
        history += history_of(ops, key=key)
    return history


def by_item(records: list[FoundChange]) -> dict[str, list[tuple[str, int | None]]]:
    items: dict[str, list[tuple[str, int | None]]] = {}
    for record in records:
        items.setdefault(record.key, []).append((record.op, record.version))
    return items


@given(histories(), st.data())
def test_whatever_changes_an_items_sequence_is_found(history: list[Written], data: st.DataObject) -> None:
    records = records_of(history)
    shuffled = data.draw(st.permutations(records))
    some = shuffled[: data.draw(st.integers(0, len(shuffled)))]
    twice = data.draw(st.lists(st.sampled_from(records), max_size=2))
    found = in_this_order(some + twice)
    assert check(history, found).good == (by_item(found) == by_item(records))


@given(histories(), st.data())
def test_one_record_dropped_repeated_or_moved_is_found(history: list[Written], data: st.DataObject) -> None:
    records = records_of(history)
    position = data.draw(st.integers(0, len(records) - 1))
    dropped = [*records[:position], *records[position + 1 :]]
    place = data.draw(st.integers(0, len(dropped)))
    moved = [*dropped[:place], records[position], *dropped[place:]]
    repeated = [*records[:place], records[position], *records[place:]]
    assert not check(history, in_this_order(dropped)).good
    assert not check(history, in_this_order(repeated)).good
    assert check(history, in_this_order(moved)).good == (by_item(moved) == by_item(records))


def row(version: int, snapshot: str = "s1") -> FoundChange:
    """A row of a snapshot; `in_this_order` gives it its place."""
    return FoundChange("orders", "a", "r", version, "demo.orders", 0, 0, 0, snapshot=snapshot)


def with_rows(*places: tuple[int, FoundChange]) -> list[FoundChange]:
    """The records with each row behind so many of them."""
    records = list(RECORDS)
    for place, each in sorted(places, key=lambda pair: pair[0], reverse=True):
        records.insert(place, each)
    return in_this_order(records)


def test_rows_that_repeat_the_state_before_them_are_well() -> None:
    assert check(HISTORY, with_rows((2, row(2)), (7, row(6, "s2")))).good


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (with_rows((3, row(2))), (FaultKind.OUT_OF_ORDER, 2)),
        (with_rows((1, row(2))), (FaultKind.OUT_OF_ORDER, 2)),
        (with_rows((5, row(3))), (FaultKind.OUT_OF_ORDER, 3)),
        (with_rows((4, row(4))), (FaultKind.UNEXPECTED, 4)),
        (with_rows((7, row(6)), (7, row(6))), (FaultKind.REPEATED, 6)),
    ],
    ids=["an older row", "a row before its change", "a delete resurrected", "a row of no item", "a row twice"],
)
def test_a_row_out_of_its_place(found: list[FoundChange], fault: tuple[FaultKind, int]) -> None:
    assert fault in faults(check(HISTORY, found))


def test_what_was_there_before_the_stream_is_found_as_a_row() -> None:
    checker = Checker()
    checker.loaded("orders", "a", 1)
    assert faults(checker.verdict()) == {(FaultKind.LOST, 1)}
    checker.saw(row(1))
    assert checker.verdict().good


def test_the_last_record_of_each_key_must_show_what_the_table_holds() -> None:
    versions = {("orders", "a"): len(HISTORY)}
    assert check(HISTORY, RECORDS, held=versions).good
    assert check(history_of("cud"), records_of(history_of("cud")), held={}).good
    assert faults(check(HISTORY, RECORDS, held={("orders", "a"): 5})) == {(FaultKind.STALE, 5)}
    assert faults(check(HISTORY, RECORDS, held={})) == {(FaultKind.STALE, None)}
    verdict = check(HISTORY, RECORDS, held={**versions, ("orders", "b"): 1})
    assert [(fault.kind, fault.key) for fault in verdict.examples] == [(FaultKind.STALE, "b")]


def test_a_loaded_item_is_found_as_a_row_or_by_a_newer_change() -> None:
    loaded = [Written("orders", key, "c", 1, 0) for key in "ab"]
    change = Written("orders", "b", "u", 2, 0)
    found = in_this_order([row(1), *records_of([change])])
    verdict = check([change], found, loaded=loaded, held={("orders", "a"): 1, ("orders", "b"): 2})
    assert verdict.good
    assert (verdict.loaded, verdict.loaded_by_rows) == (2, 1)
