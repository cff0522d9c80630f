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
_ROOT: Final = "tailrace"


def levels() -> dict[str, dict[str, str | None]]:
    """Return the loggers that exist, with their levels."""
    known = [name for name in logging.root.manager.loggerDict if name == _ROOT or name.startswith(f"{_ROOT}.")]
    return {name: _entry(name) for name in sorted({_ROOT, *known})}


def require(level: str) -> str:
    """Return a level as it is spelled. Raises `ApiError` for one that is unknown."""
    found = level.upper()
    if found not in _LEVELS:
        raise ApiError(404, f"invalid log level '{level}'.")
    return found


def set_level(name: str, level: str) -> list[str]:
    """Set the level of a logger, and return the loggers that it is set for."""
    logging.getLogger(name).setLevel(_LEVELS[level])
    return [name]


def _entry(name: str) -> dict[str, str | None]:
    return {"level": _NAMES.get(logging.getLogger(name).getEffectiveLevel(), "INFO"), "last_modified": None}
