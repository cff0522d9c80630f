"""Levels of loggers, in the words of Connect's API (log4j's)."""

from __future__ import annotations

import logging
from typing import Final

from tailrace.serve.errors import ApiError

_LEVELS: Final = {
    "OFF": logging.CRITICAL + 1,
    "FATAL": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARN": logging.WARNING,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
    "TRACE": logging.DEBUG,
}
_NAMES: Final = {number: name for name, number in reversed(_LEVELS.items())}
ROOT: Final = "root"
"""Connect's name for what all loggers inherit from; ours is the package's."""
_PACKAGE: Final = "tailrace"


def levels() -> dict[str, dict[str, str | None]]:
    """Return our loggers and all that have a level of their own, with their levels."""
    own = [name for name in list(logging.root.manager.loggerDict) if logging.getLogger(name).level != logging.NOTSET]
    return {ROOT: _entry(_PACKAGE)} | {name: _entry(name) for name in sorted({*_under(_PACKAGE), *own})}


def require(level: str) -> str:
    """Return a level as it is spelled. Raises `ApiError` for one that is unknown."""
    found = level.upper()
    if found not in _LEVELS:
        raise ApiError(404, f"invalid log level '{level}'.")
    return found


def set_level(name: str, level: str) -> list[str]:
    """Set the level of a logger and of those below it; return their names. One that does not exist is made."""
    is_root = name.lower() == ROOT
    found = _under(_PACKAGE if is_root else name)
    for each in found:
        logging.getLogger(each).setLevel(_LEVELS[level])
    return [ROOT, *found] if is_root else found


def _under(name: str) -> list[str]:
    below = [each for each in list(logging.root.manager.loggerDict) if each.startswith(f"{name}.")]
    return sorted({name, *below})


def _entry(name: str) -> dict[str, str | None]:
    return {"level": _NAMES.get(logging.getLogger(name).getEffectiveLevel(), "INFO"), "last_modified": None}
