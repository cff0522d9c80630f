"""The last of many names is found with few listings."""

from __future__ import annotations

from bisect import bisect_right
from random import Random

import pytest

from support.lake_store import Store, StoreLocation
from tailrace.lake.location import last_name

LISTINGS_MAX = 120


class Counting(StoreLocation):
    """A folder of many names."""

    def __init__(self, numbers: list[int]) -> None:
        super().__init__(Store())
        self.asked = 0
        self._names = [name_of(each) for each in sorted(numbers)]

    def names(self, folder: str, after: str, most: int) -> list[str]:
        self.asked += 1
        begin = bisect_right(self._names, after)
        return self._names[begin : begin + most]


def name_of(number: int) -> str:
    return f"{number:020}.json"


def number_of(name: str) -> int:
    return int(name.partition(".")[0])


@pytest.mark.parametrize("seed", range(20))
def test_the_last_name_of_many(seed: int) -> None:
    random = Random(seed)
    numbers = [0]
    for _ in range(random.choice([0, 1, 999, 1_000, 1_001, 200_000])):
        numbers.append(numbers[-1] + random.randrange(1, random.choice([2, 100, 1_000_000])))
    folder = Counting(numbers)
    assert last_name(folder, "log", number_of, name_of) == name_of(numbers[-1])
    assert folder.asked < LISTINGS_MAX
    assert last_name(folder, "log", number_of, name_of, name_of(numbers[len(numbers) // 2])) == name_of(numbers[-1])


def test_there_is_no_last_name() -> None:
    assert last_name(Counting([]), "log", number_of, name_of) == ""
