"""What is wrong with an expression, found before it runs: unknown names and functions, conditions that never vary."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Final

from jmespath.exceptions import JMESPathError

from tailrace.transform.jmespath_exact import FUNCTIONS, Node, evaluate, is_true

ROOT: Final = ("op", "table", "keys", "before", "after", "item", "created_ms", "expired")
"""The members of the document that an expression sees."""
_VALUES: Final[dict[str, tuple[object, ...]]] = {"op": ("c", "u", "d", "r"), "expired": (True, False)}
"""Members of the document that have few values."""
_VALUE_WORDS: Final = {
    "op": "op is 'c' (create), 'u' (update), 'd' (delete) or 'r' (read by a snapshot)",
    "expired": "expired is `true` or `false`",
}
_LITERALS: Final = {"null", "true", "false"}
_AROUND_NOT: Final = {
    "not_expression",
    "and_expression",
    "or_expression",
    "comparator",
    "pipe",
    "function_expression",
    "multi_select_list",
    "key_val_pair",
}
"""Where JMESPath's `!` may stand at the left."""
_PATHS: Final = {
    "subexpression",
    "index_expression",
    "pipe",
    "projection",
    "value_projection",
    "filter_projection",
    "flatten",
}
"""Nodes whose first child looks at the document, and the others at what that one gives."""
_TESTS: Final = {"contains", "starts_with", "ends_with"}
"""The functions that are true or false."""


def root_names(node: Node) -> Iterator[str]:
    """Yield the names that are looked up in the document itself."""
    children = node.get("children", [])
    kind = node["type"]
    if kind == "field":
        yield node["value"]
    elif kind in {"current", "identity"}:
        yield from ROOT
    elif kind in _PATHS:
        yield from root_names(children[0])
    elif kind not in {"literal", "slice", "index"}:
        for child in children:
            if child["type"] != "expref":
                yield from root_names(child)


def check(tree: Node, *, is_condition: bool) -> None:
    """Raise ValueError for what the library would find out, or silently get wrong, only when it runs."""
    _check_calls(tree)
    names = frozenset(root_names(tree))
    for name in sorted(names - set(ROOT)):
        raise ValueError(_unknown(name))
    if not names:
        raise ValueError(_never_varies(names))
    _check_conditions(tree, is_condition=is_condition, at_root=True)


def _check_calls(node: Node) -> None:
    children = _children(node)
    if node["type"] not in _AROUND_NOT and any(child["type"] == "not_expression" for child in children[:1]):
        raise ValueError("`!a.b` would be read as `(!a).b`: write `!(a.b)`")
    if node["type"] == "function_expression":
        name = node["value"]
        if name not in FUNCTIONS:
            raise ValueError(f"there is no function {name}(){_nearest(name, FUNCTIONS)}")
        signature = FUNCTIONS[name]["signature"]
        is_variadic = bool(signature and signature[-1].get("variadic"))
        if len(children) < len(signature) or (len(children) > len(signature) and not is_variadic):
            raise ValueError(f"{name}() takes {len(signature)} values, not {len(children)}")
    for child in children:
        _check_calls(child)


def _check_conditions(node: Node, *, is_condition: bool, at_root: bool) -> None:
    """Look at every condition and comparison: one with the same result for every change is a mistake.

    `is_condition`: only whether it is true counts. `at_root`: it sees the change, not a part of it.
    """
    kind, children = node["type"], _children(node)
    is_test = kind == "comparator" or (kind == "function_expression" and node["value"] in _TESTS)
    if is_condition or is_test:
        _check_varies(node, at_root=at_root)
    if is_test and at_root:
        _check_members(children)
    for index, child in enumerate(children):
        is_inner = index > 0 and kind in _PATHS
        _check_conditions(
            child,
            is_condition=kind == "not_expression"
            or (kind == "and_expression" and index == 0)
            or (kind in {"and_expression", "or_expression"} and is_condition)
            or (kind == "filter_projection" and index == len(children) - 1),
            at_root=at_root and not is_inner and kind != "expref",
        )


def _check_varies(node: Node, *, at_root: bool) -> None:
    """Try a condition that looks at nothing, or only at members with few values, with each of these."""
    names = frozenset(root_names(node))
    if not names <= (_VALUES.keys() if at_root else set()):
        return
    documents = (dict(zip(_VALUES, values, strict=True)) for values in product(*_VALUES.values()))
    try:
        results = {is_true(evaluate(node, document)) for document in documents}
    except (JMESPathError, ValueError, TypeError, ArithmeticError):
        results = set()  # it fails for every change
    if len(results) < 2:
        raise ValueError(_never_varies(names))


def _check_members(sides: list[Node]) -> None:
    """Refuse a list that a member with few values is looked for in, and that holds another value."""
    for member, others in ((sides[1], sides[0]), (sides[0], sides[1])):
        if member["type"] != "field" or member["value"] not in _VALUES or any(root_names(others)):
            continue
        listed = evaluate(others, dict.fromkeys(ROOT))
        for value in listed if isinstance(listed, list) else ():
            if value not in _VALUES[member["value"]]:
                raise ValueError(f"{member['value']} is never {value!r}: {_VALUE_WORDS[member['value']]}")


def _never_varies(names: frozenset[str]) -> str:
    if not names:
        return (
            "it, or a condition in it, looks at nothing of the change, so its result is always the same: 'x' in "
            "single quotes is a text, an attribute is written item.x"
        )
    words = " and ".join(_VALUE_WORDS[name] for name in sorted(names))
    return f"a condition on {' and '.join(sorted(names))} has the same result for every change: {words}"


def _children(node: Node) -> list[Node]:
    return [child for child in node.get("children", []) if isinstance(child, dict)]


def _unknown(name: str) -> str:
    if name in _LITERALS:
        return f"a literal is written in backquotes: `{name}`"
    remedy = _nearest(name, ROOT) or f": write item.{name} for the attribute, {name!r} for a text"
    return f"a change has no {name}{remedy}"


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f": did you mean {close[0]}?" if close else ""
