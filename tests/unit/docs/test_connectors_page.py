"""docs/connectors.md has every key of every connector, with what it does here, and every transform and converter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tailrace.config.connectors import CONNECTORS, framework
from tailrace.config.connectors.connector import Key
from tailrace.connect.converters import CONVERTERS
from tailrace.connect.predicates import PREDICATES
from tailrace.connect.transforms import REFUSED, TRANSFORMS

PAGE = (Path(__file__).parents[3] / "docs" / "connectors.md").read_text()
SECTIONS = dict(re.findall(r"^### (.+)\n((?:(?!^### ).*\n?)*)", PAGE, flags=re.MULTILINE))
KEYS: dict[str, tuple[Key, ...]] = {
    **{each.title: each.keys for each in CONNECTORS},
    "Keys of every connector": framework.KEYS,
    "Keys of Confluent Cloud's connectors": framework.CLOUD_KEYS,
}


@pytest.mark.parametrize("title", KEYS)
def test_a_section_has_exactly_the_keys(title: str) -> None:
    rows = re.findall(r"^\| `.*$", SECTIONS[title], flags=re.MULTILINE)
    assert rows == [row(key) for key in KEYS[title]]


def row(key: Key) -> str:
    default = "" if key.default is None else f"`{key.default}`"
    return f"| `{key.name}` | {default} | {key.means if key.is_honoured else f'nothing: {key.means}'} |"


def test_every_class_is_named() -> None:
    classes = [*TRANSFORMS, *REFUSED, *PREDICATES, *CONVERTERS, *(each for one in CONNECTORS for each in one.classes)]
    for name in classes:
        assert re.search(rf"`[\w.]*\b{re.escape(name.rpartition('.')[2].partition('$')[0])}`", PAGE), name
