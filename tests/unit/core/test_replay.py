"""The course of a replay: which shards are read, what of a page is wanted, when it has ended, where to go on."""

from __future__ import annotations

import msgspec
import pytest

from tailrace.core.change import Origin
from tailrace.core.ports import ReadFailure, SourcePage, SourceRecord
from tailrace.core.replay import (
    FAILURES_MAX,
    FOLLOWED_READS,
    PAUSE_MS,
    QUIET_READS,
    TIMES_GO_BACK_MS,
    Course,
    Phase,
    ReplayShard,
    Span,
)
from tailrace.core.shard import ListedShard, Position
from tailrace.sources.dynamodb.policy import POLICY

NOW_MS = 1_769_860_805_000
EVERYTHING = Span(None, None)


def course(*listed: ListedShard, span: Span = EVERYTHING) -> Course:
    made = Course("stream", span, POLICY, lambda: 0.5)
    made.take_listing(listed, NOW_MS)
    return made


def page(*created_ms: int, ends: bool = False, full: bool = False) -> SourcePage:
    """A page with a record of each creation time; its sequence number is the time."""
    records = [SourceRecord(Origin("orders", str(each), each, b""), None) for each in created_ms]
    return SourcePage(records, next_iterator=None if ends else "next", size_bytes=1, full=full)


def names(shards: list[ReplayShard]) -> list[str]:
    return [shard.ref.shard_id for shard in shards]


def times(wanted: SourcePage) -> list[int]:
    return [record.origin.created_ms for record in wanted.records]


# Order


def test_a_shard_is_read_once_all_its_parents_are_published() -> None:
    made = course(ListedShard("c", ("a", "b")), ListedShard("a", (), closed=True), ListedShard("b", (), closed=True))
    assert names(made.next(NOW_MS, 9)) == ["a", "b"]
    made.take_page(made.shards["a"], page(1000, ends=True), NOW_MS)
    assert names(made.next(NOW_MS, 9)) == ["b"]
    made.take_page(made.shards["b"], page(2000), NOW_MS)
    assert names(made.next(NOW_MS, 9)) == ["b"], "its end is still to come"
    made.take_page(made.shards["b"], page(ends=True), NOW_MS)
    assert names(made.next(NOW_MS, 9)) == ["c"]


def test_a_shard_waits_for_a_parent_that_no_listing_shows_until_it_is_surely_gone() -> None:
    made = course(ListedShard("b", ("a",)))
    assert (made.unlisted_parents, made.next(NOW_MS, 9), made.missing) == ({"a"}, [], ["a"])
    made.forget_parents(["a"])
    assert (made.unlisted_parents, names(made.next(NOW_MS, 9)), made.missing) == (set(), ["b"], [])


def test_a_parent_that_shows_later_is_read_first() -> None:
    made = course(ListedShard("b", ("a",)))
    made.take_listing([ListedShard("a")], NOW_MS)
    assert names(made.next(NOW_MS, 9)) == ["a"]
    assert made.shards["a"].closed, "it has a child"


def test_the_least_advanced_shards_come_first() -> None:
    made = course(ListedShard("a"), ListedShard("b"), ListedShard("c"))
    made.take_page(made.shards["a"], page(3000, full=True), NOW_MS)
    made.take_page(made.shards["b"], page(5000, 1000, full=True), NOW_MS)
    assert names(made.next(NOW_MS, 9)) == ["c", "a", "b"]
    assert names(made.next(NOW_MS, 2)) == ["c", "a"]


def test_a_child_is_as_far_as_its_parents() -> None:
    made = course(ListedShard("a", (), closed=True), ListedShard("b"), ListedShard("c", ("a",)))
    made.take_page(made.shards["a"], page(5000, ends=True), NOW_MS)
    made.take_page(made.shards["b"], page(3000, full=True), NOW_MS)
    assert names(made.next(NOW_MS, 9)) == ["b", "c"]


# What is wanted


@pytest.mark.parametrize(
    ("span", "wanted"),
    [
        (EVERYTHING, [0, 58_000, 59_000, 60_000, 119_000, 121_000]),
        (Span(59_000, None), [0, 59_000, 60_000, 119_000, 121_000]),
        (Span(59_999, None), [0, 59_000, 60_000, 119_000, 121_000]),
        pytest.param(Span(119_500, None), [0, 60_000, 119_000, 121_000], id="60,000 may be rounded to the minute"),
        (Span(120_000, None), [0, 121_000]),
        (Span(None, 59_000), [0, 58_000, 59_000]),
        (Span(None, 118_999), [0, 58_000, 59_000, 60_000]),
    ],
)
def test_both_ends_are_included_and_what_is_rounded_may_be_meant(span: Span, wanted: list[int]) -> None:
    read = page(0, 58_000, 59_000, 60_000, 119_000, 121_000)
    assert times(course(span=span).wanted(read)) == wanted


def test_behind_the_window_a_shard_and_its_descendants_are_not_read() -> None:
    made = course(ListedShard("a", (), closed=True), ListedShard("b", ("a",)), span=Span(None, 1000))
    made.take_page(made.shards["a"], page(1000 + TIMES_GO_BACK_MS, 2000 + TIMES_GO_BACK_MS, full=True), NOW_MS)
    assert names(made.next(NOW_MS, 9)) == ["a"], "times may go back"
    made.take_page(made.shards["a"], page(2000 + TIMES_GO_BACK_MS, full=True), NOW_MS)
    assert made.is_read()
    assert made.missing == []
    assert [shard.phase for shard in made.shards.values()] == [Phase.PAST, Phase.PAST]


# Ends


def test_an_open_shard_is_read_until_nothing_has_come_for_some_reads() -> None:
    made = course(ListedShard("a"))
    shard, now_ms = made.shards["a"], NOW_MS
    made.take_page(shard, page(1000, full=True), now_ms)
    for _ in range(QUIET_READS - 1):
        made.take_page(shard, page(), now_ms)
    made.take_page(shard, page(2000), now_ms)
    assert (made.next(now_ms, 9), made.wake_ms()) == ([], now_ms + PAUSE_MS)
    for _ in range(QUIET_READS):
        assert not made.is_read()
        made.take_page(shard, page(), now_ms)
    assert made.is_read()
    assert (shard.phase, made.busy) == (Phase.QUIET, [])


def test_a_shard_that_is_written_to_all_the_time_is_read_as_far_as_it_is_written() -> None:
    made = course(ListedShard("a"))
    shard = made.shards["a"]
    for number in range(FOLLOWED_READS - 1):
        made.take_page(shard, page(number), NOW_MS)
    made.take_page(shard, page(9, full=True), NOW_MS)
    for number in range(FOLLOWED_READS):
        assert not made.is_read(), "it was behind just now"
        made.take_page(shard, page(number), NOW_MS)
    assert (made.is_read(), made.busy) == (True, ["a"])


def test_a_closed_shard_is_read_to_its_very_end() -> None:
    made = course(ListedShard("a", (), closed=True))
    for _ in range(QUIET_READS + FOLLOWED_READS):
        made.take_page(made.shards["a"], page(), NOW_MS)
    assert names(made.next(NOW_MS, 9)) == ["a"]
    made.take_page(made.shards["a"], page(ends=True), NOW_MS)
    assert made.is_read()
    assert made.missing == ["a"], "its children must show"
    made.take_listing([ListedShard("b", ("a",))], NOW_MS)
    assert (made.missing, names(made.next(NOW_MS, 9))) == ([], ["b"])


@pytest.mark.parametrize("listed", [ListedShard("a", (), closed=True), ListedShard("b", ("a",))])
def test_a_quiet_shard_that_turns_out_to_be_closed_is_read_on(listed: ListedShard) -> None:
    made = course(ListedShard("a"))
    for _ in range(QUIET_READS):
        made.take_page(made.shards["a"], page(), NOW_MS)
    assert made.is_read()
    made.take_listing([listed], NOW_MS + 1)
    assert (names(made.next(NOW_MS + PAUSE_MS, 9)), made.changed_ms) == (["a"], NOW_MS + 1)


# Failures


def test_an_expired_iterator_is_replaced_behind_what_is_committed() -> None:
    made = course(ListedShard("a"))
    shard = made.shards["a"]
    made.take_page(shard, page(1000, full=True), NOW_MS)
    assert made.take_failure(shard, ReadFailure.EXPIRED, NOW_MS)
    assert (shard.iterator, shard.position) == (None, Position("AFTER_SEQUENCE_NUMBER", "1000"))
    assert names(made.next(NOW_MS, 9)) == ["a"]


def test_what_is_trimmed_meanwhile_is_told_and_the_rest_is_read() -> None:
    made = course(ListedShard("a"))
    shard = made.shards["a"]
    made.take_page(shard, page(1000, full=True), NOW_MS)
    assert made.take_failure(shard, ReadFailure.TRIMMED, NOW_MS)
    assert (made.trimmed, shard.iterator, shard.position) == ({"a"}, None, Position("TRIM_HORIZON"))


@pytest.mark.parametrize("failure", [ReadFailure.GONE, ReadFailure.TRIMMED])
def test_a_shard_is_gone_once_it_was_denied_for_long_enough(failure: ReadFailure) -> None:
    made = course(ListedShard("a", (), closed=True), ListedShard("b", ("a",)))
    shard = made.shards["a"]
    assert made.take_failure(shard, failure, NOW_MS)
    assert made.take_failure(shard, failure, NOW_MS + POLICY.gone_after_ms - 1)
    made.take_page(shard, page(), NOW_MS)
    assert made.take_failure(shard, failure, NOW_MS + POLICY.gone_after_ms), "it was not denied all the time"
    assert names(made.next(NOW_MS + 10**6, 9)) == ["a"]
    assert made.take_failure(shard, failure, NOW_MS + 2 * POLICY.gone_after_ms)
    assert names(made.next(NOW_MS + 10**6, 9)) == ["b"]
    assert made.trimmed == set(), "nothing of it was there when the replay began"


def test_a_failure_that_may_pass_is_tried_again_later_and_not_forever() -> None:
    made = course(ListedShard("a"))
    shard = made.shards["a"]
    assert made.take_failure(shard, ReadFailure.THROTTLED, NOW_MS)
    assert made.next(NOW_MS, 9) == []
    assert shard.ready_ms == made.wake_ms()
    made.take_page(shard, page(1000), NOW_MS)
    tries = [made.take_failure(shard, ReadFailure.UNAVAILABLE, NOW_MS) for _ in range(FAILURES_MAX)]
    assert tries == [True] * (FAILURES_MAX - 1) + [False]
    assert not course(ListedShard("a")).take_failure(msgspec.structs.replace(shard, failures=0), ReadFailure.DENIED, 0)


# Where to go on


def test_before_the_first_listing_a_replay_goes_on_where_it_began() -> None:
    assert Course("stream", Span(5000, None), POLICY, lambda: 0.5).resume_ms(NOW_MS) == 5000


def test_a_replay_goes_on_before_the_least_advanced_shard() -> None:
    made = course(ListedShard("a"), ListedShard("b", (), closed=True), ListedShard("c", ("b",)))
    assert made.resume_ms(NOW_MS) is None
    made.take_page(made.shards["a"], page(900_000), NOW_MS)
    assert made.resume_ms(NOW_MS) is None, "nothing is known of b"
    made.take_page(made.shards["b"], page(400_000), NOW_MS)
    assert made.resume_ms(NOW_MS) == 400_000 - TIMES_GO_BACK_MS
    made.take_page(made.shards["b"], page(700_000, ends=True), NOW_MS)
    assert made.resume_ms(NOW_MS) == 700_000 - TIMES_GO_BACK_MS, "c begins there"
    made.take_page(made.shards["c"], page(950_000), NOW_MS)
    assert made.resume_ms(NOW_MS) == 900_000 - TIMES_GO_BACK_MS


def test_a_replay_goes_on_no_earlier_than_it_began() -> None:
    made = course(ListedShard("a"), span=Span(990_000, None))
    made.take_page(made.shards["a"], page(1_000_000), NOW_MS)
    assert made.resume_ms(NOW_MS) == 990_000


@pytest.mark.parametrize(
    ("span", "resume_ms"), [(EVERYTHING, NOW_MS), (Span(None, 2_000_000), 2_000_000)], ids=["open", "bounded"]
)
def test_once_all_is_read_only_what_came_since_the_beginning_is_left(span: Span, resume_ms: int) -> None:
    made = course(ListedShard("a"), span=span)
    made.take_page(made.shards["a"], page(1_000_000), NOW_MS)
    for _ in range(QUIET_READS):
        made.take_page(made.shards["a"], page(), NOW_MS)
    assert made.resume_ms(NOW_MS) == resume_ms - TIMES_GO_BACK_MS


def test_a_shard_that_may_have_unlisted_parents_or_children_keeps_the_beginning() -> None:
    made = course(ListedShard("a", (), closed=True))
    made.take_page(made.shards["a"], page(800_000, ends=True), NOW_MS)
    assert made.resume_ms(NOW_MS) == 800_000 - TIMES_GO_BACK_MS
    made.take_listing([ListedShard("c", ("b",))], NOW_MS)
    assert made.resume_ms(NOW_MS) is None
