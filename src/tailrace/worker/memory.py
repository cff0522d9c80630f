"""Keeps the memory of a process with many threads near what it holds."""

from __future__ import annotations

import contextlib
import ctypes

_M_ARENA_MAX = -8
"""mallopt(3), malloc.h of glibc."""
_ARENAS = 2


def share_arenas() -> None:
    """Make all threads allocate from two arenas; call it before there are threads.

    glibc gives nearly each thread one of its own, and what a page leaves free in one is of no use to the others: a
    worker under full load took a fifth more memory. Other C libraries have no such arenas, and no such call.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
