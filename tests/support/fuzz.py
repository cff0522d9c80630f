"""Bad input: what may become of a good JSON document on its way, or in the hands of a program with other ideas."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tailrace.errors import TailraceError

Json = Any
Draw = Callable[[st.SearchStrategy[Any]], Any]

TIMES = int(os.environ.get("TAILRACE_FUZZ", "1"))
"""How many times as many examples; more than one draws new ones each time instead of always the same."""


def examples(count: int) -> settings:
    """Settings of a test with so many examples, the same in every run unless TAILRACE_FUZZ asks for more."""
    return settings(
        max_examples=count * TIMES,
        derandomize=TIMES == 1,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def refusal_of(call: Callable[[], object], *kinds: type[TailraceError]) -> TailraceError | None:
    """Call; give the error of one of these kinds that it raised, a sentence on one line that is not too long."""
    try:
        call()
    except kinds as error:
        refusal = error
    else:
        return None
    assert str(refusal).isprintable()
    assert 0 < len(str(refusal)) < 1500
    return refusal


_LITERALS = [
    "NaN", "Infinity", "-Infinity", "1e400", "-1e999", "1" * 400, "1" * 6000, "-0", "0.1", "1e308", "9" * 19, "true",
     "null", '""', "[]", "{}", '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"a\\nb\\u001b[31m"', '"\\u2028"',
    f'"{"x" * 2000}"', "[" * 200 + "]" * 200, '{"a":' * 200 + "1" + "}" * 200,
]  # fmt: skip
"""JSON, or what people take for it, in the place of a value."""

_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
values: st.SearchStrategy[Json] = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_MARK = "here stands another value"


def _places(document: Json) -> Iterator[tuple[Any, Any]]:
    """Every place of a document: the dict or list that holds it, and its key or index there."""
    inside = document.items() if isinstance(document, dict) else enumerate(document)
    for name, value in list(inside):
        yield document, name
        if isinstance(value, dict | list):
            yield from _places(value)


@st.composite
def mutated(draw: Draw, document: Json) -> bytes:
    """A document of which one to three values, names or fields are others, missing, or there twice."""
    copy = json.loads(json.dumps(document))
    literal = '""'
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(copy))
        if not places:
            break
        holder, name = draw(st.sampled_from(places))
        kind = draw(
            st.sampled_from(["value", "literal", "number as text", "missing", "renamed", "unknown", "repeated"])
        )
        if kind == "value":
            holder[name] = draw(values)
        elif kind == "literal":
            literal, holder[name] = draw(st.sampled_from(_LITERALS)), _MARK
        elif kind == "number as text":
            holder[name] = draw(st.integers(-(10**45), 10**45).map(str))
        elif kind == "missing":
            del holder[name]
        elif kind == "repeated" and isinstance(holder, list):
            holder.insert(draw(st.integers(0, len(holder))), holder[name])
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=5) if kind == "unknown" else st.just(str(name).swapcase()))] = holder[name]
            if kind == "renamed":
                del holder[name]
    return (
        json.dumps(copy, ensure_ascii=draw(st.booleans())).replace(f'"{_MARK}"', literal).encode(errors="surrogatepass")
    )


@st.composite
def mangled(draw: Draw, body: bytes) -> bytes:
    """Bytes cut short, flipped, said twice, packed, in another charset, or with something before or behind."""
    at = draw(st.integers(0, max(0, len(body) - 1)))
    way: Callable[[bytes], bytes] = draw(
        st.sampled_from(
            [
                lambda body: body[:at],
                lambda body: body[at:],
                lambda body: body[:at] + bytes([draw(st.integers(0, 255))]) + body[at + 1 :],
                lambda body: body[:at] + draw(st.binary(min_size=1, max_size=4)) + body[at:],
                lambda body: body + body,
                lambda body: b"\xef\xbb\xbf" + body,
                lambda body: body + b"\0",
                lambda body: gzip.compress(body, mtime=0),
                lambda body: body.decode(errors="replace").encode("utf-16"),
                lambda body: body.decode(errors="replace").encode("cp037", errors="replace"),
                lambda body: b"<html><h1>502 Bad Gateway</h1></html>",
                lambda body: b")]}',\n" + body,
            ]
        )
    )
    return way(body)


def broken(document: Json) -> st.SearchStrategy[bytes]:
    """A document mutated as JSON, or mangled as bytes, or both; or any bytes at all."""
    good = json.dumps(document).encode()
    return st.one_of(
        mutated(document), mutated(document), mangled(good), mutated(document).flatmap(mangled), st.binary(max_size=60)
    )


@st.composite
def with_unknown_fields(draw: Draw, document: Json) -> Json:
    """The document with some fields that nobody has heard of, in any of its objects."""
    copy = json.loads(json.dumps(document))
    objects = [copy, *(holder[name] for holder, name in _places(copy) if isinstance(holder[name], dict))]
    for _ in range(draw(st.integers(1, 3))):
        holder = draw(st.sampled_from(objects))
        holder[f"~{draw(st.text(max_size=4))}"] = draw(values)
    return copy
