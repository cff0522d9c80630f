"""DynamoDB's numbers as JSON text: exact, never through a float.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Final, Literal

from tailrace.formats.refusal import Refusal

Numbers = Literal["exact", "string"]
"""How numbers are written: as JSON numbers with every digit, or as JSON strings."""

_is_json_number = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+").fullmatch
_is_number = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?").fullmatch
_SHORT_DIGITS: Final = 19
"""Fewer decimal digits than this always fit in 64 bits."""
_PLAIN_PLACES: Final = 40
"""A canonical number is written without exponent when no digit stands further than this from the point."""


def short_integer(text: str) -> int | None:
    """Return the value of a short unsigned integer, by far the commonest number; None for any other text."""
    return int(text) if len(text) < _SHORT_DIGITS and text.isdecimal() and text.isascii() else None


def json_text(text: str) -> str:
    """Return the number as JSON text: AWS's own if it is valid JSON, else the same value written as JSON."""
    return text if _is_json_number(text) else str(to_decimal(text))


def canonical_text(text: str) -> str:
    """Return the one JSON text of a number's value, so that 1, 1.0 and 1E0 are the same key."""
    sign, digits, exponent = to_decimal(text).as_tuple()
    significant = list(digits)
    while significant and significant[-1] == 0:
        significant.pop()
    if not significant:
        return "0"
    lowest = int(exponent) + len(digits) - len(significant)
    number = Decimal((sign, significant, lowest))
    is_plain = lowest >= -_PLAIN_PLACES and lowest + len(significant) <= _PLAIN_PLACES
    return f"{number:f}" if is_plain else str(number)


def to_decimal(text: str) -> Decimal:
    """Return the exact value; raises `Refusal` for NaN, Infinity and what is no number."""
    if _is_number(text):
        try:
            return Decimal(text)
        except InvalidOperation:
            pass
    raise Refusal(
        "its number is not a finite decimal number", hint="DynamoDB stores only those: store one, or a string"
    )
