"""Java's properties: separators, escapes, comments and continued lines."""

import pytest

from tailrace.kafka.java_file import JavaProperty, parse


def test_names_values_and_lines() -> None:
    text = "# a comment\n! another\n\nbootstrap.servers = one:9092, \\\n    two:9092\nacks:all\nempty\n"
    assert parse(text) == [
        JavaProperty("bootstrap.servers", "one:9092, two:9092", 4),
        JavaProperty("acks", "all", 6),
        JavaProperty("empty", "", 7),
    ]


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("a=b=c", "a", "b=c"),
        ("a b", "a", "b"),
        ("  a  =  b ", "a", "b "),
        (r"a\ b=c", "a b", "c"),
        (r"a\:b=c\\d", "a:b", r"c\d"),
        (r"a=\u00e9\t\q", "a", "é\tq"),
        ("a=#b", "a", "#b"),
        ("a=b\\\\", "a", "b\\"),
    ],
)
def test_escapes_and_separators(line: str, name: str, value: str) -> None:
    assert parse(line) == [JavaProperty(name, value, 1)]


def test_a_continued_line_may_begin_with_a_comment_sign() -> None:
    assert parse("a=b\\\n#c") == [JavaProperty("a", "b#c", 1)]
