"""The transforms of a configuration, one after the other, each for the records that its predicate picks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from tailrace.connect.data import ConnectRecord
from tailrace.connect.options import OptionError, Options
from tailrace.connect.predicates import PREDICATES, Predicate
from tailrace.connect.transforms import REFUSED, TRANSFORMS, Router, Transform

_HINT: Final = "remove it, or do it with tailrace's own `transform`"


class _Link(NamedTuple):
    transform: Transform
    predicate: Predicate | None
    negate: bool


class Chain:
    """The transforms of Connect's properties `transforms` and `predicates`. Raises `OptionError`."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        predicates = {name: _predicate(properties, name) for name in _names(properties, "predicates")}
        names = _names(properties, "transforms")
        self._links = [_link(properties, name, predicates) for name in names]
        for family, known in (("transforms", names), ("predicates", list(predicates))):
            for name in properties:
                alias = name.removeprefix(f"{family}.").partition(".")[0]
                if name.startswith(f"{family}.") and alias not in known:
                    raise OptionError(name, f"`{alias}` is not in `{family}`", "add it there, or take this out")

    def topics_of(self, topic: str) -> tuple[str, ...]:
        """Return the topics that records of a topic may go to."""
        found = [topic]
        for transform, predicate, _ in self._links:
            if isinstance(transform, Router):
                routed = [transform.route(each) for each in found]
                found = routed if predicate is None else [*found, *routed]
        return tuple(dict.fromkeys(found))

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        """Return what becomes of a record; None when it is left out. Raises `DataError`."""
        found: ConnectRecord | None = record
        for transform, predicate, negate in self._links:
            if found is None:
                return None
            if predicate is None or predicate(found) is not negate:
                found = transform.apply(found)
        return found


def _names(properties: Mapping[str, str], family: str) -> list[str]:
    names = [each.strip() for each in properties.get(family, "").split(",") if each.strip()]
    if repeated := [name for index, name in enumerate(names) if name in names[:index]]:
        raise OptionError(family, f"names `{repeated[0]}` twice", "keep one of them")
    return names


def _predicate(properties: Mapping[str, str], name: str) -> Predicate:
    options = Options(properties, f"predicates.{name}.")
    kind = options.text("type")
    if kind not in PREDICATES:
        raise options.error("type", f"{kind} is not known", f"known are {', '.join(PREDICATES)}")
    predicate = PREDICATES[kind](options)
    options.refuse_unknown()
    return predicate


def _link(properties: Mapping[str, str], name: str, predicates: Mapping[str, Predicate]) -> _Link:
    options = Options(properties, f"transforms.{name}.")
    kind = options.text("type")
    if kind in REFUSED:
        raise options.error("type", f"{kind} is not done here", REFUSED[kind])
    if kind not in TRANSFORMS:
        if f"{kind}$Value" in TRANSFORMS:
            raise options.error("type", f"{kind} is for a part", f"write {kind}$Key or {kind}$Value")
        raise options.error("type", f"{kind} is not known", _HINT)
    maker, part = TRANSFORMS[kind]
    transform = maker(options, part)
    predicate_name = options.given("predicate")
    negate = options.flag("negate", False)
    options.refuse_unknown()
    if predicate_name is None:
        return _Link(transform, None, negate)
    if predicate_name not in predicates:
        raise options.error("predicate", f"`{predicate_name}` is not in `predicates`", "add it there")
    return _Link(transform, predicates[predicate_name], negate)
