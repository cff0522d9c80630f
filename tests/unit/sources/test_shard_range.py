"""A range of a shard read again: whole, cut by what is trimmed, over pages, failures and iterators that expire."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tailrace.core.change import Origin
from tailrace.core.ports import ReadError, ReadFailure, SourcePage, SourceRecord
from tailrace.core.shard import Position, ShardRef, Tail
from tailrace.errors import WorldError
from tailrace.sources.dynamodb.policy import POLICY
from tailrace.sources.shard_range import ShardRange, read_range

SHARD = ShardRef("arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/1", "shard-1")


def page(*sequences: int, more: bool = True) -> SourcePage:
    records = [SourceRecord(Origin("orders", str(sequence), 0, b"{}"), None) for sequence in sequences]
    return SourcePage(records, "iterator" if more else None, size_bytes=0, full=False)


class Scripted:
    """Answers as told; keeps what it was asked."""

    def __init__(self, *answers: SourcePage | ReadFailure) -> None:
        self.policy = POLICY
        self._answers = list(answers)
        self.asked: list[tuple[str, str | None, str | None]] = []

    def read(self, shard: ShardRef, position: Position, iterator: str | None) -> SourcePage:
        assert shard == SHARD
        self.asked.append((position.kind, position.sequence, iterator))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, ReadFailure):
            raise ReadError("refused", answer)
        return answer


def found(reader: Scripted) -> tuple[Sequence[int], bool]:
    got: ShardRange = read_range(reader, SHARD, "10", "14", sleep=lambda _seconds: None)
    return [int(record.origin.sequence) for record in got.records], got.whole


def test_a_range_is_read_over_pages_and_no_further() -> None:
    reader = Scripted(page(10, 11), page(), page(13, 14, 15), page(99))
    assert found(reader) == ([10, 11, 13, 14], True)
    assert reader.asked[0] == ("AT_SEQUENCE_NUMBER", "10", None)
    assert len(reader.asked) == 3


def test_the_end_of_the_shard_ends_it() -> None:
    assert found(Scripted(page(10, 11, more=False))) == ([10, 11], True)


def test_what_is_left_of_a_trimmed_range_is_read() -> None:
    reader = Scripted(ReadFailure.TRIMMED, page(12, 14))
    assert found(reader) == ([12, 14], False)
    assert reader.asked[1] == ("TRIM_HORIZON", None, None)
    assert found(Scripted(ReadFailure.TRIMMED, page(15))) == ([], False)
    assert found(Scripted(ReadFailure.TRIMMED, page())) == ([], False), "an open shard that is quiet since"


@pytest.mark.parametrize("first", [(), (ReadFailure.TRIMMED,)])
def test_a_shard_that_is_gone_has_nothing_left(first: tuple[ReadFailure, ...]) -> None:
    assert found(Scripted(*first, ReadFailure.GONE)) == ([], False)


def test_failures_that_pass_and_expired_iterators_neither_lose_nor_repeat() -> None:
    reader = Scripted(
        ReadFailure.THROTTLED, page(10, 11), ReadFailure.EXPIRED, ReadFailure.UNAVAILABLE, page(12, 13, 14)
    )
    assert found(reader) == ([10, 11, 12, 13, 14], True)
    assert reader.asked[-1] == ("AFTER_SEQUENCE_NUMBER", "11", None)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([ReadFailure.DENIED], id="denied"),
        pytest.param([ReadFailure.UNAVAILABLE], id="never answered"),
        pytest.param([page()], id="nothing but empty pages"),
        pytest.param([page(10), page()], id="empty pages before the end"),
        pytest.param([ReadFailure.TRIMMED, ReadFailure.DENIED], id="denied behind what is trimmed"),
    ],
)
def test_what_could_not_be_read_is_never_taken_for_lost(answers: list[SourcePage | ReadFailure]) -> None:
    with pytest.raises(WorldError):
        found(Scripted(*answers))


def test_behind_tails_a_range_is_whole_if_it_begins_with_its_first_record() -> None:
    tail = Tail(SHARD, None, 1_000)
    for answers, whole in (([page(10, 14)], True), ([page(11, 14)], False), ([page()], False)):
        reader = Scripted(*answers)
        range_ = read_range(reader, SHARD, "10", "14", tails=(tail,), sleep=lambda _seconds: None)
        assert (range_.whole, reader.asked[0]) == (whole, ("AFTER_SEQUENCE_NUMBER", "9", None))
