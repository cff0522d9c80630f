"""The repository stays tidy: it speaks of the product alone, and a module is found and read in one go."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LINES_MAX = 600
DOCSTRING_MAX = 120

FORBIDDEN = {
    "the host of a package registry": re.compile(
        r"pypi\.org|pythonhosted\.org|maven\.org|maven\.apache\.org|mvnrepository|registry\.npmjs|npmjs\.(?:com|org)"
        r"|crates\.io(?!-index)|proxy\.golang|anaconda\.org",
        re.IGNORECASE,
    ),
    # `me` is nobody: examples may be at home there.
    "a path of one machine": re.compile(
        r"(?<![\w.}/-])/(?:(?:work|root|tmp|var/folders)/[\w.$-]|(?:home|Users)/(?!me\b)[\w.$-])"
    ),
    "something left to do": re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b"),
}


def kept_files() -> list[Path]:
    """The files that git keeps or would keep, binary ones left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in shown.split("\0") if name]
    return [file for file in files if file.is_file() and b"\0" not in file.read_bytes()]


FILES = [file for file in kept_files() if file != Path(__file__)]
MODULES = [file for file in FILES if file.suffix == ".py"]


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    found = [
        f"{name_of(file)}:{number}: {line.strip()}"
        for file in FILES
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if FORBIDDEN[what].search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("the host of a package registry", "index-url = https://PyPI.org/simple"),
        ("the host of a package registry", "https://repo1.maven.org/maven2"),
        ("a path of one machine", 'cd "/home/ann/tailrace"'),
        ("a path of one machine", "see /tmp/x.log"),
        ("something left to do", "# TODO: more"),
    ],
)
def test_what_must_not_be_there_would_be_found(what: str, line: str) -> None:
    assert FORBIDDEN[what].search(line)


@pytest.mark.parametrize(
    "line", ["https://example.com/home/x", "/home/me/x", "./tmp/x", "{folder}/tmp/x", "a/root/b", "/etc/kafka"]
)
def test_other_paths_are_no_fault(line: str) -> None:
    assert not FORBIDDEN["a path of one machine"].search(line)


def test_the_name_that_every_cargo_lock_gives_the_index_is_no_fault() -> None:
    source = 'source = "registry+https://github.com/rust-lang/crates.io-index"'
    assert not FORBIDDEN["the host of a package registry"].search(source)


def test_every_module_says_in_its_first_line_what_it_is_for() -> None:
    said = {
        name_of(module): (ast.get_docstring(ast.parse(module.read_text())) or "").split("\n")[0]
        for module in MODULES
        if module.read_bytes()
    }
    assert [name for name, line in said.items() if not 0 < len(line) <= DOCSTRING_MAX] == []


def test_every_module_is_short() -> None:
    lengths = {name_of(module): len(module.read_text().splitlines()) for module in MODULES}
    assert {name: length for name, length in lengths.items() if length > LINES_MAX} == {}
