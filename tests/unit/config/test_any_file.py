"""A right pipeline file into which anything was put: it loads, or each fault is one sentence with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from support.fuzz import examples, mangled
from tailrace.config import FileErrors, load

RIGHT = """\
name: shop
kafka:
  bootstrap.servers: "b1:9092,b2:9092"
  sasl.password: ${env:HOME}
source:
  type: dynamodb-streams
  region: eu-west-1
  endpoint_url: http://localhost:8000
  role_arn: arn:aws:iam::123456789012:role/team/tailrace
  tables: [orders, "users-*"]
  exclude: ["users-test-*"]
  start: latest
  poll: {min: 50ms, max: 2s}
  discovery: {interval: 1m, describe_stream_per_second: 2}
topic: "cdc.{pipeline}.{table}.v1"
topics:
  properties: {retention.ms: 604800000}
lanes: 4
batch: {changes: 100, bytes: 1MB, linger: 0ms}
"""
PIECES = re.findall(r"\s+|[\w.-]+|.", RIGHT)
ODD = [
    "*a", "&a ", "&a [*a]", "!!python/object/apply:os.system [x]", "!!binary x", "!!omap ", "<<: *a", "---\n", "...\n",
    "|\n", ">-\n", "? ", "- ", ": ", "{", "}", "[", "]", "'", '"', "#", "%YAML 3\n", "\t", "\r", "\0", "\x1b[31m",
    "\x85", "\u2028", "\ufeff", "\ud800", "NaN", ".inf", "1e999", "9" * 30, "0x" + "f" * 20, "-1", "null", "~", "${",
    "${env:}",
    "${env:NO_SUCH}", "${file:/dev/zero}", "${file:../x}", "$${", "{table}{", "a" * 300, "2001-01-01", "é", "[" * 60,
    "{a: " * 60, '"${env:\\e[31m}"', '"${file:a\\nb}"',
]  # fmt: skip


@st.composite
def files(draw: Any) -> bytes:
    """The right file with one to four pieces replaced, taken out, or something put before them."""
    pieces = list(PIECES)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(pieces) - 1))
        odd = draw(st.sampled_from([*ODD, *PIECES]) | st.text(max_size=4))
        pieces[at : at + 1] = draw(st.sampled_from([[odd], [], [odd, pieces[at]], [pieces[at]] * 2]))
    return "".join(pieces).encode(errors="surrogatepass")


@examples(300)
@given(content=files() | mangled(RIGHT.encode()))
@example(content=b"a: &a [x, x]\nb: &b [*a, *a]\n" + b"c: &c [*b, *b]\n" * 20)
@example(content=b"<<: !!merge {name: shop}")
@example(content=b'name: "${env:\\e[31m}"')
@example(content=b'name: "${file:a\\nb}"')
def test_any_file_loads_or_has_a_sentence_with_a_line_for_each_fault(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    try:
        load(path)
    except FileErrors as found:
        errors = found.errors
    else:
        return
    for error in errors:
        sentence = str(error)
        assert sentence.isprintable(), sentence
        assert len(sentence) < 1000
        assert error.line is not None or content.strip() == b"", sentence
        assert 1 <= (error.line or 1) <= content.count(b"\n") + content.count(b"\r") + 2
        assert not re.search(r"pydantic|traceback|input should|object at 0x", sentence.lower())
