"""The keys of a snapshot by keys: both forms, each item once, and a sentence with the line for what is none."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.fuzz import examples, mangled
from tailrace.config import FileErrors
from tailrace.core.ports import KeyType
from tailrace.operations import snapshot_keys
from tailrace.operations.snapshot_keys import read_keys

KEY_TYPES: Mapping[str, KeyType] = {"id": "S", "at": "N"}


def keys(*lines: str, key_types: Mapping[str, KeyType] = KEY_TYPES) -> list[dict[str, dict[str, str]]]:
    return [json.loads(key) for key in read_keys([line.encode() for line in lines], key_types, "keys.jsonl")]


def test_both_forms_are_read() -> None:
    assert keys('{"id": "a", "at": 1}', "", '{"at": {"N": "2.50"}, "id": {"S": "b"}}') == [
        {"id": {"S": "a"}, "at": {"N": "1"}},
        {"id": {"S": "b"}, "at": {"N": "2.50"}},
    ]


def test_a_number_keeps_all_of_its_digits() -> None:
    digits = "12345678901234567890.123456789012345678"
    assert keys(f'{{"id": "a", "at": {digits}}}', '{"id": "a", "at": "1E3"}') == [
        {"id": {"S": "a"}, "at": {"N": digits}},
        {"id": {"S": "a"}, "at": {"N": "1E3"}},
    ]


def test_an_item_is_read_once_however_its_key_is_written() -> None:
    assert len(keys('{"id": "a", "at": 1}', '{"id": "a", "at": 1.0}', '{"id": {"S": "a"}, "at": {"N": "1E0"}}')) == 1
    assert keys('{"id": "AAE="}', '{"id": {"B": "AAE="}}', key_types={"id": "B"}) == [{"id": {"B": "AAE="}}]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "is not a JSON object"),
        ('{"id": "a"', "is not a JSON object"),
        ("\\ud800", "is not a JSON object"),
        ('{"id": "a"}', "has id, but the key of the table is id, at"),
        ('{"id": "a", "at": 1, "x": 2}', "has id, at, x, but"),
        ("{}", "has nothing, but"),
        ('{"id": 1, "at": 1}', "id must be a text"),
        ('{"id": "", "at": 1}', "id is empty"),
        ('{"id": {"S": ""}, "at": 1}', "id is empty"),
        ('{"id": {"N": "1"}, "at": 1}', "id must be a text"),
        ('{"id": "a", "at": true}', "at must be a number"),
        ('{"id": "a", "at": null}', "at must be a number"),
        ('{"id": "a", "at": "one"}', "at is not a number"),
        ('{"id": "a", "at": 1e126}', "at is a number out of DynamoDB's range"),
        (f'{{"id": "a", "at": {"1" * 39}}}', "at is not a number of at most 38 digits"),
        (f'{{"id": "{"a" * 2049}", "at": 1}}', "id has more than the 2048 bytes"),
    ],
)
def test_a_line_that_is_no_key_has_a_sentence_with_its_number(line: str, message: str) -> None:
    with pytest.raises(FileErrors) as raised:
        keys('{"id": "a", "at": 1}', line)
    (error,) = raised.value.errors
    assert error.message.startswith(message)
    assert str(error).startswith("keys.jsonl:2: ")
    assert str(error).endswith('write one key a line, as {"id":"a","at":1} or {"id":{"S":"a"},"at":{"N":"1"}}')


def test_binary_keys_are_base64() -> None:
    with pytest.raises(FileErrors, match="id is not base64"):
        keys('{"id": "A"}', key_types={"id": "B"})


def test_every_wrong_line_is_told_up_to_a_bound() -> None:
    with pytest.raises(FileErrors) as raised:
        keys(*["{}"] * 50)
    assert len(raised.value.errors) == 20


def test_nothing_is_no_list_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileErrors, match=r"keys\.jsonl: has no keys"):
        keys("", " ")
    monkeypatch.setattr(snapshot_keys, "KEYS_MAX", 2)
    with pytest.raises(FileErrors, match="has more than 2 keys"):
        keys(*(f'{{"id": "{number}", "at": 1}}' for number in range(5)))


@examples(300)
@given(content=mangled(b'{"id": "a", "at": 1}\n{"id": {"S": "b"}, "at": {"N": "2.5"}}\n') | st.binary(max_size=60))
@example(content=b'{"id":"\xff","at":1}')
@example(content=b'{"id":"a","at":' + b"[" * 5000)
def test_any_lines_are_keys_or_sentences(content: bytes) -> None:
    found: tuple[str, ...] = ()
    sentences = ["keys.jsonl: none"]
    try:
        found = read_keys(content.splitlines(), KEY_TYPES, "keys.jsonl")
    except FileErrors as errors:
        sentences = [str(error) for error in errors.errors]
    assert all(sentence.startswith("keys.jsonl:") for sentence in sentences)
    assert all(json.loads(key).keys() == KEY_TYPES.keys() for key in found)
