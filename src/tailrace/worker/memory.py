"""Keeps the memory of a process with many threads near what it holds."""

from __future__ import annotations

import contextlib
import ctypes

_M_ARENA_MAX = -8
_M_MMAP_THRESHOLD = -3
"""mallopt(3), malloc.h of glibc."""
_ARENAS = 2
_MAPPED_BYTES = 256 << 10


def tune_malloc() -> None:
    """Make all threads allocate from two arenas, and large blocks from none; call it before there are threads.

    glibc gives nearly each thread an arena of its own, and what a page leaves free in one is of no use to the others: a
    worker under full load took a fifth more memory. And once a large block was freed, glibc takes blocks of that size
    from arenas, too, where small ones behind it keep the room. Other C libraries have no such arenas, and no such call.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, _ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
