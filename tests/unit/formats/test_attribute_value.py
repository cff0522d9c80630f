"""Every DynamoDB value becomes exactly one JSON text, or a sentence that says which attribute is wrong."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.dynamodb_items import as_aws_sends, items, parsed, reference
from tailrace.errors import RecordError
from tailrace.formats.attribute_value import sorted_image, to_json, to_json_both


def transcode(image: Any, numbers: str = "exact") -> str:
    text = image if isinstance(image, bytes) else json.dumps(image, ensure_ascii=False).encode()
    return to_json(text, "string" if numbers == "string" else "exact").decode()


def value_of(typed: Any) -> str:
    """Transcode one value and give its JSON text alone."""
    text = transcode({"a": typed})
    assert text.startswith('{"a":')
    assert text.endswith("}")
    return text[5:-1]


def nested(tag: str, levels: int) -> dict[str, Any]:
    """Return a value whose innermost string is on the given level, the attribute itself being level 1."""
    value: dict[str, Any] = {"S": "leaf"}
    for _ in range(levels - 1):
        value = {"M": {"n": value}} if tag == "M" else {"L": [value]}
    return value


@settings(max_examples=150, deadline=None)
@given(items)
@example({"min": Decimal("1E-130"), "max": Decimal("9.9999999999999999999999999999999999999E+125")})
@example({"__proto__": {"__proto__": "polluted"}, '"quoted"\\': "\x00\x1f\x7f\u2028", "😀": "👩‍👩‍👧‍👦"})
def test_it_holds_the_values_that_boto3_reads(item: dict[str, Any]) -> None:
    image = as_aws_sends(item)
    assert parsed(transcode(image).encode()) == reference(image)


@settings(max_examples=50, deadline=None)
@given(items, st.randoms(use_true_random=False))
def test_the_order_in_which_attributes_are_sent_does_not_matter(item: dict[str, Any], random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            members = [(name, shuffled(member)) for name, member in value.items()]
            random.shuffle(members)
            return dict(members)
        return [shuffled(member) for member in value] if isinstance(value, list) else value

    image = as_aws_sends(item)
    assert transcode(shuffled(image)) == transcode(image)
    as_sent, other = (json.dumps(one).encode() for one in (image, shuffled(image)))
    assert sorted_image(as_sent) == sorted_image(other)
    assert json.loads(sorted_image(as_sent)) == image


def test_names_are_sorted_by_code_point_on_every_level() -> None:
    names = ["\U0001f600", "\uffff", "é", "z", "a", "Z", ""]
    members = {name: {"NULL": True} for name in names}
    ordered = dict.fromkeys(sorted(names))
    text = transcode({"map": {"M": {"inner": {"M": members}}}, "list": {"L": [{"M": members}]}})
    inner = json.dumps(ordered, ensure_ascii=False, separators=(",", ":"))
    assert text == '{"list":[' + inner + '],"map":{"inner":' + inner + "}}"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ({"S": ""}, '""'),
        ({"S": 'quote " backslash \\ tab \t nul \0'}, r'"quote \" backslash \\ tab \t nul \u0000"'),
        ({"S": "slash / emoji 😀 delete \x7f line \u2028"}, '"slash / emoji 😀 delete \x7f line \u2028"'),
        ({"S": "1"}, '"1"'),
        ({"BOOL": True}, "true"),
        ({"BOOL": False}, "false"),
        ({"NULL": True}, "null"),
        ({"B": ""}, '""'),
        ({"B": "AP/+"}, '"AP/+"'),
        ({"M": {}}, "{}"),
        ({"L": []}, "[]"),
        ({"SS": []}, "[]"),
        ({"NS": []}, "[]"),
        ({"BS": []}, "[]"),
        ({"SS": ["b", "", "a", "\U0001f600", "\uffff", "B"]}, '["","B","a","b","\uffff","\U0001f600"]'),
        ({"NS": ["10", "9", "-1", "1E-130", "2.5", "-1E125"]}, "[-1E125,-1,1E-130,2.5,9,10]"),
        ({"BS": ["//8=", "AAA=", "", "AA=="]}, '["","AA==","AAA=","//8="]'),
        ({"L": [{"N": "1"}, {"L": [{"M": {"x": {"SS": ["s"]}}}]}]}, '[1,[{"x":["s"]}]]'),
    ],
)  # fmt: skip
def test_each_type_has_its_json(typed: dict[str, Any], expected: str) -> None:
    assert value_of(typed) == expected


DIGITS_38 = "12345678901234567890123456789012345678"


@pytest.mark.parametrize(
    "number",
    [
        "0",
        "-0",
        "1",
        "-1",
        "1.50",
        "0.1",
        "1E125",
        "1e-130",
        "9.9E+125",
        DIGITS_38,
        "-" + DIGITS_38,
        "0." + DIGITS_38,
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "9" * 40,
    ],
)
def test_a_number_keeps_the_text_that_aws_sent(number: str) -> None:
    assert value_of({"N": number}) == number
    assert value_of({"NS": [number]}) == f"[{number}]"
    assert transcode({"a": {"N": number}}, "string") == f'{{"a":"{number}"}}'
    assert transcode({"a": {"NS": [number]}}, "string") == f'{{"a":["{number}"]}}'


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+1", "1"),
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("1.", "1"),
        ("007", "7"),
        ("-007.50", "-7.50"),
        ("+1E+2", "1E+2"),
        ("0" * 30 + DIGITS_38, DIGITS_38),
        ("+." + DIGITS_38, "0." + DIGITS_38),
    ],
)
def test_a_number_that_json_cannot_write_so_keeps_its_value(number: str, expected: str) -> None:
    assert value_of({"N": number}) == expected
    assert transcode({"a": {"N": number}}, "string") == f'{{"a":"{expected}"}}'
    assert Decimal(expected) == Decimal(number)


@pytest.mark.parametrize(
    "number",
    [
        "NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
        "",
        " ",
        "1 ",
        "1_000",
        "0x10",
        "1,5",
        "one",
        "--1",
        ".",
        "1e",
        "١٢",
        "²",
        "1\n",
        "+1E99999999999999999999",
        "1}",
    ],
)
def test_what_is_no_number_is_refused(number: str) -> None:
    for typed in ({"N": number}, {"NS": ["1", number]}):
        for numbers in ("exact", "string"):
            with pytest.raises(RecordError, match=r"^attribute a: its number is not a finite decimal number; "):
                transcode({"a": typed}, numbers)


@pytest.mark.parametrize("tag", ["M", "L"])
def test_32_levels_pass_and_33_do_not(tag: str) -> None:
    assert value_of(nested(tag, 32)).count("leaf") == 1
    with pytest.raises(RecordError, match="nested deeper than 32 levels"):
        value_of(nested(tag, 33))


@pytest.mark.parametrize("levels", [400, 5_000, 200_000])
def test_a_bottomless_item_is_refused_and_not_a_crash(levels: int) -> None:
    for opening, closing in (('{"L":[', "]}"), ('{"M":{"n":', "}}"), ("[", "]")):
        image = ('{"a":' + opening * levels + '{"S":"x"}' + closing * levels + "}").encode()
        with pytest.raises(RecordError):
            to_json(image, "exact")
        if levels > 1_000:
            with pytest.raises(RecordError):
                sorted_image(image)


def test_an_item_of_400_kb_passes_whole() -> None:
    long = "é" * 200_000
    assert value_of({"S": long}) == f'"{long}"'
    many = {f"attribute-{number:05}": {"N": str(number)} for number in range(12_000)}
    assert json.loads(transcode(many)) == {name: int(typed["N"]) for name, typed in many.items()}


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ({"X": "1"}, "its type is none of"),
        ({"s": "1"}, "its type is none of"),
        ({"S": "1", "N": "1"}, "more than one type"),
        ({}, "not an object with one type"),
        (None, "not an object with one type"),
        ("text", "not an object with one type"),
        ([{"S": "x"}], "not an object with one type"),
        (1.5, "not an object with one type"),
        ({"S": 1}, "type S is not a string"),
        ({"S": None}, "type S is not a string"),
        ({"N": 1}, "type N is not a string"),
        ({"N": 1.5}, "type N is not a string"),
        ({"B": 1}, "not base64"),
        ({"B": "a"}, "not base64"),
        ({"B": "YQ"}, "not base64"),
        ({"B": "YQ==YQ=="}, "not base64"),
        ({"B": "Y Q=="}, "not base64"),
        ({"B": "-_-_"}, "not base64"),
        ({"B": "é==="}, "not base64"),
        ({"BOOL": "true"}, "type BOOL is not true or false"),
        ({"BOOL": 1}, "type BOOL is not true or false"),
        ({"NULL": False}, "type NULL is not true"),
        ({"NULL": 1}, "type NULL is not true"),
        ({"M": []}, "type M is not an object"),
        ({"M": None}, "type M is not an object"),
        ({"L": {}}, "type L is not an array"),
        ({"L": "text"}, "type L is not an array"),
        ({"SS": "text"}, "type SS is not an array of strings"),
        ({"SS": ["a", 1]}, "type SS is not an array of strings"),
        ({"NS": [1]}, "type NS is not an array of strings"),
        ({"BS": [None]}, "type BS is not an array of strings"),
        ({"BS": ["YQ==", "*"]}, "not base64"),
    ],
)
def test_a_broken_value_is_told_with_its_path_and_the_fix(typed: Any, reason: str) -> None:
    for image, path in (
        ({"id": {"S": "x"}, "bad": typed}, r"bad"),
        ({"m": {"M": {"n": {"M": {"bad": typed}}}}}, r"m\.n\.bad"),
        ({"l": {"L": [{"S": "x"}, typed]}}, r"l\[1\]"),
        ({"l": {"L": [{"L": [{"M": {"k": {"L": [typed]}}}]}]}}, r"l\[0\]\[0\]\.k\[0\]"),
    ):
        with pytest.raises(RecordError, match=rf"^attribute {path}: .*{reason}.*; ") as caught:
            transcode(image)
        assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "image",
    [b"", b"{", b"[]", b"null", b'"text"', b"1", b'{"a":{"S":"x"}', b'{"a":{"S":"x"}}x', b"\xff", b'{"a":{"S":"\xff"}}',
     b'{"a":{"S":"\\ud800"}}', b'{"\\udc00":{"S":"x"}}', b'{"a":{"S":"\xed\xa0\x80"}}', b'{"a":{"S":"\x01"}}',
     b'{"a":{"N":NaN}}', b'{"a":{"N":1e999}}', b"{'a':1}"],
)  # fmt: skip
def test_broken_json_is_refused(image: bytes) -> None:
    with pytest.raises(RecordError):
        to_json(image, "exact")


def test_of_two_attributes_of_one_name_the_last_counts() -> None:
    assert transcode(b'{"a":{"S":"1"},"a":{"S":"2"}}') == '{"a":"2"}'


def test_the_value_itself_is_never_in_the_error() -> None:
    with pytest.raises(RecordError) as caught:
        transcode({"card": {"N": "4111-secret"}})
    assert "secret" not in str(caught.value)


_TAGS = ["S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS", "x"]
_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_TAGS), inner, max_size=2),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40) | st.dictionaries(st.text(max_size=3), _anything, max_size=3))
def test_whatever_comes_is_json_or_a_record_error(image: Any) -> None:
    try:
        text = transcode(image)
    except RecordError as error:
        assert error.hint  # noqa: PT017 -- most inputs are refused: both ways out are checked
    else:
        json.loads(text)


def test_numbers_outside_a_number_type_keep_their_digits_in_dynamodb_json() -> None:
    assert sorted_image(b'{"b":1.10000000000000000000001,"a":12345678901234567890123}') == (
        b'{"a":12345678901234567890123,"b":1.10000000000000000000001}'
    )


def _image(item: dict[str, Any]) -> bytes:
    return json.dumps(item, ensure_ascii=False).encode(errors="surrogatepass")


def _each_alone(before: bytes, after: bytes) -> object:
    try:
        return to_json(before, "exact"), to_json(after, "exact")
    except RecordError:
        return RecordError


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.text(max_size=2), _anything, max_size=4) | items.map(as_aws_sends),
    items.map(as_aws_sends),
    st.sets(st.integers(0, 5)),
)
@example({"a": {"BOOL": 1}}, {"a": {"BOOL": True}}, set())
@example({"a": {"N": "1"}, "b": {"S": "x"}}, {"a": {"N": "1.0"}}, set())
def test_two_images_converted_together_are_as_each_alone(
    before: dict[str, Any], more: dict[str, Any], kept: set[int]
) -> None:
    after = {name: value for number, (name, value) in enumerate(before.items()) if number in kept} | more
    expected = _each_alone(_image(before), _image(after))
    if expected is RecordError:
        with pytest.raises(RecordError):
            to_json_both(_image(before), _image(after), "exact")
    else:
        assert to_json_both(_image(before), _image(after), "exact") == expected
