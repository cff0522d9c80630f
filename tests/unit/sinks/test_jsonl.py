"""The folder of JSON Lines: what is in its files, where it goes on, and who may write."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from tailrace.errors import WorldError
from tailrace.kafka.watched_consumer import Place
from tailrace.sinks.contract import FencedError
from tailrace.sinks.jsonl import JsonLinesFolder
from tailrace.sinks.progress import Position

PLACE = Place("shop.orders", 3)
FIRST = "00000000000000000000.jsonl"


def record(offset: int, *, key: bytes | None = b"k", value: bytes | None = b"1", headers: Any = None) -> Message:
    return Message(
        topic=PLACE.topic,
        partition=PLACE.partition,
        offset=offset,
        key=key,
        value=value,
        headers=headers,
        timestamp=(1, 1_700_000_000_123),
    )


def put(sink: JsonLinesFolder, offsets: Sequence[int], next_offset: int | None = None) -> None:
    """Write and commit records."""
    sink.write(PLACE, [record(offset) for offset in offsets])
    sink.commit_one(PLACE, offsets[-1] + 1 if next_offset is None else next_offset)


def files(folder: Path) -> dict[str, list[int]]:
    """The offsets in each finished file."""
    return {
        file.name: [json.loads(line)["offset"] for line in file.read_bytes().splitlines()]
        for file in sorted((folder / PLACE.topic / str(PLACE.partition)).glob("*.jsonl"))
    }


def hidden(folder: Path) -> list[str]:
    """The partial files."""
    return [each.name for each in folder.rglob(".*.partial")]


def test_a_line_holds_the_whole_record(tmp_path: Path) -> None:
    sink = JsonLinesFolder(tmp_path)
    sink.claim(PLACE, "id")
    headers = [("n", b"v"), ("n", "é".encode()), ("none", None), ("raw", b"\xff")]
    sink.write(
        PLACE,
        [
            record(5, key=b'{"id": "a"}', value=b'{\n "n": 1.50, "big": 12345678901234567890.10}', headers=headers),
            record(7, key=b"not json", value=None),
            record(8, key=None, value=b"\xff\x00"),
        ],
    )
    sink.commit_one(PLACE, 9)
    lines = (tmp_path / PLACE.topic / "3" / FIRST).read_bytes().splitlines()
    assert b'"value":{"n":1.50,"big":12345678901234567890.10}' in lines[0]
    assert [json.loads(line) for line in lines[1:]] == [
        {
            "topic": "shop.orders",
            "partition": 3,
            "offset": 7,
            "timestamp": 1_700_000_000_123,
            "key": None,
            "key_base64": "bm90IGpzb24=",
            "value": None,
            "headers": [],
        },
        {
            "topic": "shop.orders",
            "partition": 3,
            "offset": 8,
            "timestamp": 1_700_000_000_123,
            "key": None,
            "value": None,
            "value_base64": "/wA=",
            "headers": [],
        },
    ]
    assert json.loads(lines[0])["headers"] == [
        {"name": "n", "value": "v"},
        {"name": "n", "value": "é"},
        {"name": "none", "value": None},
        {"name": "raw", "value": None, "value_base64": "/w=="},
    ]


def test_files_follow_one_another_by_the_offset_behind_the_last_record(tmp_path: Path) -> None:
    sink = JsonLinesFolder(tmp_path)
    assert sink.position(PLACE) is None
    assert sink.claim(PLACE, "id") is None
    put(sink, [5, 6])
    put(sink, [8], next_offset=12)
    put(sink, [14])
    assert files(tmp_path) == {FIRST: [5, 6], f"{7:020}.jsonl": [8], f"{9:020}.jsonl": [14]}
    assert hidden(tmp_path) == []
    assert JsonLinesFolder(tmp_path).claim(PLACE, "id") == Position(15, "id")


def test_a_position_without_records_is_kept_and_makes_no_file(tmp_path: Path) -> None:
    sink = JsonLinesFolder(tmp_path)
    sink.claim(PLACE, "id")
    sink.commit_one(PLACE, 4)
    assert JsonLinesFolder(tmp_path).claim(PLACE, "id") == Position(4, "id")
    put(sink, [6], next_offset=8)
    assert files(tmp_path) == {FIRST: [6]}
    assert JsonLinesFolder(tmp_path).position(PLACE) == Position(8, "id")


def test_the_position_counts_only_with_the_files_that_it_was_read_behind(tmp_path: Path) -> None:
    sink = JsonLinesFolder(tmp_path)
    sink.claim(PLACE, "id")
    put(sink, [0, 1])
    put(sink, [2], next_offset=9)
    (tmp_path / PLACE.topic / "3" / f"{2:020}.jsonl").unlink()
    assert sink.position(PLACE) == Position(2, "id")
    (tmp_path / PLACE.topic / "3" / FIRST).unlink()
    assert sink.position(PLACE) is None


def test_a_topic_that_is_made_again_shows_by_its_id_unless_nothing_was_exported(tmp_path: Path) -> None:
    sink = JsonLinesFolder(tmp_path)
    assert sink.claim(PLACE, "one") is None
    assert sink.claim(PLACE, "two") is None
    put(sink, [0])
    assert sink.claim(PLACE, "three") == Position(1, "two")


def test_whoever_claims_later_drops_what_is_under_way(tmp_path: Path) -> None:
    zombie, heir = JsonLinesFolder(tmp_path), JsonLinesFolder(tmp_path)
    zombie.claim(PLACE, "id")
    zombie.write(PLACE, [record(0)])
    heir.claim(PLACE, "id")
    with pytest.raises(FencedError):
        zombie.write(PLACE, [record(1)])
    with pytest.raises(FencedError):
        zombie.commit_one(PLACE, 2)
    zombie.release([PLACE])
    put(heir, [0, 1, 2])
    assert files(tmp_path) == {FIRST: [0, 1, 2]}


def test_of_two_that_go_on_from_one_position_the_first_to_commit_does(tmp_path: Path) -> None:
    first, second = JsonLinesFolder(tmp_path), JsonLinesFolder(tmp_path)
    for each in (first, second):
        each.claim(PLACE, "id")
    first.write(PLACE, [record(0), record(1)])
    second.write(PLACE, [record(0)])
    first.commit_one(PLACE, 2)
    with pytest.raises(FencedError):
        second.commit_one(PLACE, 1)
    assert second.claim(PLACE, "id") == Position(2, "id")
    assert files(tmp_path) == {FIRST: [0, 1]}


def test_of_two_from_whom_compaction_hid_different_records_one_goes_on(tmp_path: Path) -> None:
    first, second = JsonLinesFolder(tmp_path), JsonLinesFolder(tmp_path)
    for each in (first, second):
        each.claim(PLACE, "id")
    first.write(PLACE, [record(3), record(4)])
    second.write(PLACE, [record(4), record(5)])
    second.commit_one(PLACE, 6)
    with pytest.raises(FencedError):
        first.commit_one(PLACE, 5)
    assert files(tmp_path) == {FIRST: [4, 5]}


def test_a_writer_that_is_behind_may_not_even_move_the_position(tmp_path: Path) -> None:
    first, second = JsonLinesFolder(tmp_path), JsonLinesFolder(tmp_path)
    for each in (first, second):
        each.claim(PLACE, "id")
    put(first, [0, 1], next_offset=5)
    with pytest.raises(FencedError):
        second.commit_one(PLACE, 1)
    assert second.position(PLACE) == Position(5, "id")


def test_release_drops_what_is_under_way(tmp_path: Path) -> None:
    sink = JsonLinesFolder(tmp_path)
    sink.claim(PLACE, "id")
    sink.write(PLACE, [record(0)])
    assert hidden(tmp_path)
    sink.release([PLACE])
    assert (hidden(tmp_path), sink.position(PLACE)) == ([], None)


def test_all_who_write_to_a_folder_find_one_identity_and_no_other_folder_has_it(tmp_path: Path) -> None:
    one = JsonLinesFolder(tmp_path / "one")
    assert one.identity == JsonLinesFolder(tmp_path / "one").identity
    assert one.identity != JsonLinesFolder(tmp_path / "two").identity


def test_the_last_line_is_found_however_long_it_is(tmp_path: Path) -> None:
    sink = JsonLinesFolder(tmp_path)
    sink.claim(PLACE, "id")
    sink.write(PLACE, [record(0), record(1, value=b'"' + b"x" * 300_000 + b'"')])
    sink.commit_one(PLACE, 2)
    assert sink.claim(PLACE, "id") == Position(2, "id")


@pytest.mark.parametrize(
    ("broken", "content", "said"),
    [
        (FIRST, b'{"offset":1}\n{"offset":2', "does not end with a whole line"),
        (FIRST, b"", "does not end with a whole line"),
        (FIRST, b"nonsense\n", "is not as it was written"),
        (".position.json", b"nonsense", "is not as it was written"),
        (".position.json", None, "has files, but not the .position.json"),
    ],
)
def test_a_folder_that_is_not_as_it_was_written_is_one_sentence(
    tmp_path: Path, broken: str, content: bytes | None, said: str
) -> None:
    sink = JsonLinesFolder(tmp_path)
    sink.claim(PLACE, "id")
    put(sink, [0])
    path = tmp_path / PLACE.topic / "3" / broken
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(WorldError, match=said):
        sink.claim(PLACE, "id")


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorldError, match=r"^writing to .*file failed: .*; check that .*file is writable"):
        JsonLinesFolder(tmp_path / "file")


def test_a_file_system_without_hard_links_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(_from: object, to: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(to))

    sink = JsonLinesFolder(tmp_path)
    sink.claim(PLACE, "id")
    sink.write(PLACE, [record(0)])
    monkeypatch.setattr(os, "link", link)
    with pytest.raises(WorldError, match=r"Operation not permitted; check that .* with hard links"):
        sink.commit_one(PLACE, 1)
