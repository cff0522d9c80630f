"""The steps of a transformation: each takes a draft and gives the drafts that it becomes, none when it drops it."""

from __future__ import annotations

import hashlib
import hmac
import traceback
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, localcontext
from functools import partial
from pathlib import PurePath
from typing import Any, Final, NamedTuple, get_args

from tailrace.core.change import Op, ViewType
from tailrace.errors import RecordError
from tailrace.formats.number import canonical_text
from tailrace.transform import paths
from tailrace.transform.change import Change, Function, Item, origin
from tailrace.transform.expression import STAGE, Expression, text_of
from tailrace.transform.paths import REMOVED, Path

BEYOND_THE_ITEM: Final = frozenset({"op", "before", "created_ms", "expired"})
"""The members of a change that say more than what the item is now."""
_OPS: Final = get_args(Op)
_EXACT: Final = Context(prec=38, traps=[DivisionByZero, Inexact, InvalidOperation])
"""What a function calculates in: DynamoDB's 38 digits, and nothing is rounded silently."""


class Draft(NamedTuple):
    """A change on its way through the steps; `topic` None stands for its table's own."""

    change: Change
    topic: str | None = None


class Step(ABC):
    """One step. Pure, but for a user's function; safe for many threads."""

    @property
    def looks_at(self) -> frozenset[str] | None:
        """Which members of a change it looks at, when it only looks; None when it may make another change."""
        return None

    @abstractmethod
    def apply(self, draft: Draft) -> list[Draft]:
        """Return what becomes of a draft. Raises `RecordError`."""

    def keys_after(self, names: frozenset[str]) -> frozenset[str] | None:
        """Return the names of the key attributes after this step, None when only the data tells.

        Raises ValueError saying why it cannot work where they are `names`.
        """
        return names

    def keeps_keys(self, names: frozenset[str]) -> bool:
        """Return whether the key attributes `names` certainly keep their names and values."""
        del names
        return True

    def lack(self, view_type: ViewType) -> str:
        """Return, as a sentence, which image it needs but a stream of this view type lacks; empty when none."""
        del view_type
        return ""


@dataclass(frozen=True)
class Filter(Step):
    """Keeps the changes for which an expression is true."""

    expression: Expression

    @property
    def looks_at(self) -> frozenset[str]:
        """Return those of the expression."""
        return self.expression.names

    def apply(self, draft: Draft) -> list[Draft]:
        """Return the draft, or nothing."""
        return [draft] if self.expression.is_true(draft.change) else []

    def lack(self, view_type: ViewType) -> str:
        """Return, as a sentence, which image the expression lacks; empty when none."""
        return self.expression.lack(view_type)


@dataclass(frozen=True)
class Route(Step):
    """Sends a change to the topic that stands for the value of an expression.

    Any other value goes to `otherwise`; None makes it a dead letter.
    """

    by: Expression
    topics: Mapping[str, str]
    otherwise: str | None

    @property
    def looks_at(self) -> frozenset[str]:
        """Return those of the expression."""
        return self.by.names

    def apply(self, draft: Draft) -> list[Draft]:
        """Choose the topic."""
        text = text_of(self.by.value(draft.change))
        topic = self.otherwise if text is None else self.topics.get(text, self.otherwise)
        if topic is None:
            raise RecordError(
                f"no topic stands for the value of {self.by.text}",
                stage=STAGE,
                hint="add it to `topics` of the route, or give `otherwise`",
            )
        return [draft._replace(topic=topic)]

    def lack(self, view_type: ViewType) -> str:
        """Return, as a sentence, which image the expression lacks; empty when none."""
        return self.by.lack(view_type)


@dataclass(frozen=True)
class Call(Step):
    """Calls a user's function, which must leave the key attributes as they are unless `changes_keys`."""

    function: Function
    name: str
    changes_keys: bool = False

    def apply(self, draft: Draft) -> list[Draft]:
        """Call it, and check what it gives."""
        before, keys = origin(draft.change), dict(draft.change.keys)
        try:
            with localcontext(_EXACT):
                result: Any = self.function(draft.change)
        except Inexact as error:
            raise self._error(
                f"made a number that {_EXACT.prec} digits do not hold{_place_of(error)}",
                "to round on purpose, calculate inside `with decimal.localcontext(decimal.Context(prec=38)):`",
            ) from None
        except (Exception, SystemExit) as error:
            raise self._error(f"raised {_told(error)}") from None
        made = [] if result is None else list(result) if isinstance(result, list | tuple) else [result]
        for change in made:
            if not isinstance(change, Change):
                given = type(change).__name__
                raise self._error(f"gave a {given}", "it must give a Change, None, or a list of Changes")
            if origin(change) != before:
                raise self._error(
                    "gave a Change of another origin",
                    "change only op, keys, before and after; make more of one with dataclasses.replace(change, …)",
                )
            if not all(isinstance(item, dict) for item in (change.keys, change.before or {}, change.after or {})):
                raise self._error("gave an item that is not a dict", "`keys`, `before` and `after` are dicts")
            if change.op not in _OPS:
                raise self._error(f"gave the op {change.op!r}", f"it must be one of {', '.join(_OPS)}")
            if change.keys != keys and not self.changes_keys:
                raise self._error(
                    "changed the key attributes, which decide the partition and so the order",
                    "leave `keys` as they are, or say `changes_keys: true`",
                )
        return [Draft(change, draft.topic) for change in made]

    def keys_after(self, names: frozenset[str]) -> frozenset[str] | None:
        """Only the data tells, if it may change them."""
        return None if self.changes_keys else names

    def keeps_keys(self, names: frozenset[str]) -> bool:
        """Return whether the file says that the function leaves them alone."""
        del names
        return not self.changes_keys

    def _error(self, what: str, hint: str = "") -> RecordError:
        return RecordError(f"the function {self.name} {what}", stage=STAGE, hint=hint)


class _Edit(Step):
    """Makes one change of one change: the same to every image that there is."""

    def apply(self, draft: Draft) -> list[Draft]:
        change = draft.change
        try:
            self.keys_after(frozenset(change.keys))
        except ValueError as error:
            raise RecordError(str(error), stage=STAGE) from None
        made = replace(
            change,
            keys=self.keys(change.keys),
            before=None if change.before is None else self.image(change.before, change.keys),
            after=None if change.after is None else self.image(change.after, change.keys),
        )
        return [Draft(made, draft.topic)]

    def keys(self, keys: Item) -> Item:
        return keys

    @abstractmethod
    def image(self, item: Item, keys: Item) -> Item: ...


@dataclass(frozen=True)
class Include(_Edit):
    """Keeps these attributes and the key attributes."""

    attributes: tuple[Path, ...]

    def image(self, item: Item, keys: Item) -> Item:
        """Return the image with nothing else."""
        return paths.kept(item, paths.tree([*self.attributes, *((name,) for name in keys)]))


@dataclass(frozen=True)
class Exclude(_Edit):
    """Removes attributes."""

    attributes: tuple[Path, ...]

    def image(self, item: Item, keys: Item) -> Item:
        """Return the image without them."""
        del keys
        for path in self.attributes:
            item = paths.edited(item, path, lambda _: REMOVED)
        return item

    def keys_after(self, names: frozenset[str]) -> frozenset[str]:
        """Refuse a key attribute: it would be in the message key anyway."""
        return _refuse_keys(self.attributes, names, "be left out: it makes the message key; hash it instead")


@dataclass(frozen=True)
class Rename(_Edit):
    """Renames attributes, including key attributes."""

    names: Mapping[Path, str]

    def keys(self, keys: Item) -> Item:
        """Return the key attributes under their new names."""
        return self.image(keys, keys)

    def image(self, item: Item, keys: Item) -> Item:
        """Return the image with the new names. Raises `RecordError` for a name that is taken."""
        del keys
        for path, name in self.names.items():
            item = paths.edited(item, path[:-1], partial(_renamed, path[-1], name))
        return item

    def keys_after(self, names: frozenset[str]) -> frozenset[str]:
        """Return the new names."""
        for path, name in self.names.items():
            if len(path) == 1 and path[0] in names:
                names = names - {path[0]} | {name}
        return names

    def keeps_keys(self, names: frozenset[str]) -> bool:
        """Return whether none of them is renamed."""
        return not any(len(path) == 1 and path[0] in names for path in self.names)


@dataclass(frozen=True)
class Mask(_Edit):
    """Puts a text in place of values, with the last characters of a longer text or number behind it."""

    attributes: tuple[Path, ...]
    text: str
    keep_last: int = 0

    def image(self, item: Item, keys: Item) -> Item:
        """Return the image with the text."""
        del keys
        for path in self.attributes:
            item = paths.edited(item, path, self._masked)
        return item

    def keys_after(self, names: frozenset[str]) -> frozenset[str]:
        """Refuse a key attribute: different items would get one key."""
        return _refuse_keys(
            self.attributes, names, "be masked: different items would get the same key; hash it instead"
        )

    def _masked(self, value: object) -> str:
        shown = value if isinstance(value, str) else str(value) if _is_number(value) else ""
        return self.text + (shown[-self.keep_last :] if len(shown) > self.keep_last > 0 else "")


@dataclass(frozen=True)
class Hash(_Edit):
    """Puts HMAC-SHA-256 in place of values, in hexadecimal: equal values stay equal, in key attributes too."""

    attributes: tuple[Path, ...]
    secret: bytes

    def keys(self, keys: Item) -> Item:
        """Return the hashed key attributes, the same as in the images."""
        return self.image(keys, keys)

    def image(self, item: Item, keys: Item) -> Item:
        """Return the image with the hashes. Raises `RecordError` for a value that has no text."""
        del keys
        for path in self.attributes:
            item = paths.edited(item, path, self._hashed)
        return item

    def keeps_keys(self, names: frozenset[str]) -> bool:
        """Return whether none of them is hashed."""
        return not any(len(path) == 1 and path[0] in names for path in self.attributes)

    def _hashed(self, value: object) -> object:
        if value is None:
            return None
        if isinstance(value, set | frozenset):
            return {self._hashed(member) for member in value}
        if isinstance(value, str):
            content = value.encode(errors="surrogatepass")
        elif isinstance(value, bytes):
            content = value
        elif _is_number(value):
            content = canonical_text(str(value)).encode()
        else:
            raise RecordError(
                f"a {type(value).__name__} cannot be hashed",
                stage=STAGE,
                hint="text, numbers, binary and sets can; give the path of what is inside",
            )
        return hmac.new(self.secret, content, hashlib.sha256).hexdigest()


def _renamed(old: object, new: str, parent: Any) -> Any:
    if not isinstance(parent, dict) or old not in parent:
        return parent
    if new in parent:
        raise RecordError(
            f"{old} cannot be renamed: the item has an attribute {new} already",
            stage=STAGE,
            hint="exclude that one first, or choose another name",
        )
    return {new if name == old else name: value for name, value in parent.items()}


def _refuse_keys(attributes: tuple[Path, ...], names: frozenset[str], what: str) -> frozenset[str]:
    for path in attributes:
        if len(path) == 1 and path[0] in names:
            raise ValueError(f"the key attribute {path[0]} cannot {what}")
    return names


def _is_number(value: object) -> bool:
    if isinstance(value, Decimal):
        return value.is_finite()
    return isinstance(value, int) and not isinstance(value, bool)


def _told(error: BaseException) -> str:
    """Return an exception in a line, with the last line of the function's own file that it came through."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{f': {text}' if text else ''}{_place_of(error)}"


def _place_of(error: BaseException) -> str:
    """Return the last line of the function's own file that an exception came through, in brackets."""
    frames = list(traceback.walk_tb(error.__traceback__))[1:]
    if not frames:
        return ""
    file = frames[0][0].f_code.co_filename
    line = [number for frame, number in frames if frame.f_code.co_filename == file][-1]
    return f" ({PurePath(file).name}:{line})"
