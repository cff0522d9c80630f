"""Equal keys are equal bytes, different keys are different bytes."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Literal

import pytest
from hypothesis import given, settings

from support.dynamodb_items import numbers
from tailrace.errors import RecordError
from tailrace.formats.keys import message_key


def key_of(keys: Any, numbers: Literal["exact", "string"] = "exact") -> str:
    return message_key(json.dumps(keys).encode(), numbers).decode()


def test_names_are_sorted_and_the_text_is_compact() -> None:
    assert key_of({"sort": {"N": "1.50"}, "id": {"S": 'a "b" é'}}) == '{"id":"a \\"b\\" é","sort":1.5}'


def test_a_binary_key_is_base64() -> None:
    assert key_of({"id": {"B": "AP/+"}}) == '{"id":"AP/+"}'


@pytest.mark.parametrize(
    ("canonical", "texts"),
    [
        ("1", ["1", "1.0", "1.00", "1E0", "+1", "001", "0.1E1", "10e-1"]),
        ("0", ["0", "-0", "0.0", "0E5", "-0.00", "000", "0E-130"]),
        ("100", ["100", "1E2", "1E+2", "100.00"]),
        ("-1.5", ["-1.5", "-1.50", "-15E-1"]),
        ("12345678901234567890123456789012345678", ["12345678901234567890123456789012345678"]),
        ("9007199254740993", ["9007199254740993", "9007199254740993.0"]),
        ("1" + "0" * 39, ["1E39"]),
        ("1E+125", ["1E125", "1" + "0" * 125]),
        ("1E-130", ["1E-130", "0." + "0" * 129 + "1", "10E-131"]),
        ("-1.25E+100", ["-125E98", "-1.250E100"]),
    ],
)
def test_a_number_has_one_text_whatever_was_sent(canonical: str, texts: list[str]) -> None:
    for text in texts:
        assert key_of({"id": {"N": text}}) == f'{{"id":{canonical}}}'
        assert key_of({"id": {"N": text}}, "string") == f'{{"id":"{canonical}"}}'


@settings(max_examples=150, deadline=None)
@given(numbers, numbers)
def test_number_keys_are_equal_exactly_when_the_numbers_are(one: Decimal, other: Decimal) -> None:
    texts = [key_of({"id": {"N": str(number)}}, "string") for number in (one, other)]
    assert (texts[0] == texts[1]) == (one == other)
    assert [Decimal(json.loads(text)["id"]) for text in texts] == [one, other]


@pytest.mark.parametrize("exponent", ["999999999", "-999999999"])
def test_an_absurd_exponent_is_not_written_out(exponent: str) -> None:
    assert len(key_of({"id": {"N": f"1E{exponent}"}})) < 30


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({}, "the change has no key attributes; "),
        ({"id": {"BOOL": True}}, "key attribute id: its value is not a string"),
        ({"id": {"L": []}}, "key attribute id: its value is not a string"),
        ({"id": {"SS": "a"}}, "key attribute id: its type is not one of S, N and B; "),
        ({"id": {"S": "a", "N": "1"}}, "key attribute id: its type is not one of S, N and B; "),
        ({"id": {}}, "key attribute id: its type is not one of S, N and B; "),
        ({"id": "a"}, "key attribute id: its type is not one of S, N and B; "),
        ({"id": {"S": "a"}, "sort": {"N": "NaN"}}, "key attribute sort: its number is not a finite decimal number; "),
        ({"id": {"B": "*"}}, "key attribute id: its binary value is not base64; "),
        ([], "the key attributes cannot be read: "),
    ],
)
def test_what_cannot_be_a_key_is_refused(keys: Any, sentence: str) -> None:
    with pytest.raises(RecordError) as caught:
        key_of(keys)
    assert str(caught.value).startswith(sentence)
    assert caught.value.stage == "KEY_CONVERTER"


@pytest.mark.parametrize("keys", [b"", b"{", b'{"id":{"S":"\\ud800"}}', b'{"id":{"S":"\xff"}}', b"[" * 100_000])
def test_broken_json_is_refused(keys: bytes) -> None:
    with pytest.raises(RecordError):
        message_key(keys, "exact")
