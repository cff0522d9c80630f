"""JMESPath expressions over a change (https://jmespath.org/specification.html).

Two things are ours: numbers are exact (`jmespath_exact`), and a mistake for which the library would return null for
every change is found when the file is read (`expression_checks`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from jmespath.exceptions import JMESPathError, JMESPathTypeError

from tailrace.core.change import ViewType
from tailrace.errors import RecordError
from tailrace.transform.change import Change
from tailrace.transform.expression_checks import check, root_names
from tailrace.transform.jmespath_exact import UnfitError, evaluate, is_true, parse, plain

STAGE: Final = "TRANSFORMATION"
"""Kafka Connect's name for where a transformation's errors arise."""

_CARRIED: Final[dict[ViewType, frozenset[str]]] = {
    "NEW_AND_OLD_IMAGES": frozenset({"before", "after", "item"}),
    "NEW_IMAGE": frozenset({"after", "item"}),
    "OLD_IMAGE": frozenset({"before", "item"}),
    "KEYS_ONLY": frozenset(),
}
_IMAGES: Final = _CARRIED["NEW_AND_OLD_IMAGES"]
_HINT_TYPE: Final = "look at its type first: `type(item.total) == 'number' && item.total > `5``"
_HINT_ABSENT: Final = "look first whether it is there: `item.tags && contains(item.tags, 'x')`"


class Expression:
    """One expression. Safe for many threads."""

    def __init__(self, text: str, *, is_condition: bool = False) -> None:
        """Raise ValueError, whose text says what is wrong, for what is no expression over a change.

        `is_condition`: only whether it is true counts, as in a filter.
        """
        try:
            self._tree = parse(text)
        except JMESPathError as error:
            raise ValueError(f"it cannot be parsed: {_reason(error)}") from None
        except ArithmeticError:
            raise ValueError("it cannot be parsed: a number in it is out of range") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it cannot be parsed: {error}") from None
        check(self._tree, is_condition=is_condition)
        self.text = text
        self.names = frozenset(root_names(self._tree))
        """The members of the document that it looks at."""
        images = self.names & _IMAGES
        self._lacking = {each for each, carried in _CARRIED.items() if images and not images & carried}

    def value(self, change: Change) -> Any:
        """Evaluate: JSON values, numbers as int or Decimal.

        Raises `RecordError` when a function does not fit, and when the stream does not carry what it looks at: null for
        every item would drop them all silently.
        """
        if change.view_type in self._lacking:
            raise RecordError(self.lack(change.view_type), stage=STAGE)
        hint = ""
        try:
            return evaluate(self._tree, {name: plain(getattr(change, name)) for name in self.names})
        except JMESPathTypeError as error:
            reason = f"{error.function_name}() does not take a value of type {error.actual_type}"
            hint = _HINT_ABSENT if error.actual_type == "null" else ""
        except JMESPathError as error:
            reason = _reason(error)
        except UnfitError as error:
            reason, hint = str(error), _HINT_TYPE
        except RecursionError:
            reason = "a value is nested too deeply"
        except (TypeError, ValueError, ArithmeticError) as error:
            reason = f"a value is one that it cannot work with ({type(error).__name__})"
        raise RecordError(f"the expression {self.text}: {reason}", stage=STAGE, hint=hint)

    def is_true(self, change: Change) -> bool:
        """Return whether the value is true for JMESPath: not false, null, empty text, an empty array or object."""
        return is_true(self.value(change))

    def lack(self, view_type: ViewType) -> str:
        """Return, as a sentence, which image it needs but a stream of this view type lacks; empty when none."""
        if view_type not in self._lacking:
            return ""
        return f"the expression {self.text} needs an image that a stream of view type {view_type} does not carry"


def text_of(value: object) -> str | None:
    """Return a scalar as text: true, 12, 1.5; None for null, an array or an object."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | Decimal) else None


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(":").partition(": ")[2]
