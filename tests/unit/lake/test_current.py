"""The present state of a table in each format: what remains of random changes, whoever merges them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from support.lake_tables import TOPIC_ID, CurrentKind, Hooked, record, sink_of
from tailrace.errors import UnreachableError
from tailrace.kafka.watched_consumer import Place
from tailrace.sinks.contract import FencedError
from tailrace.sinks.progress import Position

PLACES = [Place("shop.orders", 0), Place("shop.orders", 1)]
KEYS = ["Order-Id", "line"]
TYPES = {
    "line": pa.decimal128(38, 0),
    "name": pa.string(),
    "size": pa.struct([("parts", pa.list_(pa.struct([("x", pa.string())])))]),
}
SIZES: list[Any] = [None, {"parts": None}, {"parts": []}, {"parts": [{"x": "1"}]}]


class Changes:
    """Changes of few items, each of which is in one partition, and what they leave."""

    def __init__(self, random: Random) -> None:
        self.items: dict[tuple[str, int], dict[str, Any]] = {}
        self._random = random
        self._next = dict.fromkeys(PLACES, 0)

    def some(self, place: Place) -> list[Any]:
        """Return the next records of a partition; an item may change several times among them."""
        return [self._one(place) for _ in range(self._random.randrange(5))]

    def _one(self, place: Place) -> Any:
        random, offset = self._random, self._next[place]
        self._next[place] += 1
        key = (f"o{place.partition}-{random.randrange(3)}", random.randrange(2))
        op = random.choice("cud" if key in self.items else "crd")
        image = {} if op == "d" else {"name": random.choice(["a", "b", None]), "size": random.choice(SIZES)}
        if op == "d":
            self.items.pop(key, None)
        else:
            self.items[key] = image
        return record(place, offset, __op=op, **{"Order-Id": key[0], "line": key[1]}, **image)


def _found(current_kind: CurrentKind, folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    rows = current_kind.current_rows(folder)
    found = {(row["Order-Id"], int(row["line"])): {"name": row["name"], "size": row["size"]} for row in rows}
    assert len(found) == len(rows)
    return found


def test_items_are_as_the_last_change_left_them(current_kind: CurrentKind, tmp_path: Path) -> None:
    """Writers take turns, answers are lost, and whoever was replaced comes back too late."""
    random = Random(1)
    changes, positions = Changes(random), dict.fromkeys(PLACES, 0)

    def answer_lost(carry_out: Callable[[], None]) -> None:
        if random.random() < 0.3:
            raise UnreachableError("not carried out")
        carry_out()
        if random.random() < 0.3:
            raise UnreachableError("carried out")

    for _ in range(10):
        place = random.choice(PLACES)
        sink, zombie = (
            sink_of(Hooked(current_kind.current(tmp_path), answer_lost), TYPES, keys=KEYS) for _ in range(2)
        )
        records = changes.some(place)
        begin, end = positions[place], positions[place] + len(records)
        if end == begin:
            continue
        for each in (sink, zombie):
            assert each.claim(place, TOPIC_ID) == (Position(begin, TOPIC_ID) if begin else None)
            each.write(place, records)
        sink.commit_one(place, end)
        with pytest.raises(FencedError):
            zombie.commit_one(place, end)
        positions[place] = end
        assert _found(current_kind, tmp_path) == changes.items


def test_a_batch_without_effect_moves_the_position(current_kind: CurrentKind, tmp_path: Path) -> None:
    sink = sink_of(current_kind.current(tmp_path), keys=["id"])
    sink.claim(PLACES[0], TOPIC_ID)
    for offset, op in enumerate("cdd"):
        sink.write(PLACES[0], [record(PLACES[0], offset, __op=op, id="1")])
        sink.commit_one(PLACES[0], offset + 1)
        assert len(current_kind.current_rows(tmp_path)) == (op == "c")
    assert sink_of(current_kind.current(tmp_path), keys=["id"]).claim(PLACES[0], TOPIC_ID) == Position(3, TOPIC_ID)


def test_columns_come_later(current_kind: CurrentKind, tmp_path: Path) -> None:
    sink = sink_of(current_kind.current(tmp_path), keys=["id"])
    sink.claim(PLACES[0], TOPIC_ID)
    images: list[dict[str, Any]] = [{"id": "1", "a": "x"}, {"id": "2", "b": {"c": "y"}}, {"id": "1", "b": {"d": "z"}}]
    for offset, image in enumerate(images):
        sink.write(PLACES[0], [record(PLACES[0], offset, **image)])
        sink.commit_one(PLACES[0], offset + 1)
    rows = sorted(current_kind.current_rows(tmp_path), key=lambda row: str(row["id"]))
    assert [(row["a"], row["b"]) for row in rows] == [(None, {"c": None, "d": "z"}), (None, {"c": "y", "d": None})]


def test_attributes_may_have_any_name(current_kind: CurrentKind, tmp_path: Path) -> None:
    names = ["`", "a`b", '"', "a'b", "a.b", "a\\b", "a b", "Ä", "{x}", "-"]
    key = 'k`"'
    sink = sink_of(current_kind.current(tmp_path), keys=[key])
    sink.claim(PLACES[0], TOPIC_ID)
    for offset, text in enumerate("xyz"):
        image = {key: str(offset % 2), **dict.fromkeys(names, text)}
        sink.write(PLACES[0], [record(PLACES[0], offset, **image)])
        sink.commit_one(PLACES[0], offset + 1)
    found = {(row[key], *(row[name] for name in names)) for row in current_kind.current_rows(tmp_path)}
    assert found == {("0", *"z" * len(names)), ("1", *"y" * len(names))}
