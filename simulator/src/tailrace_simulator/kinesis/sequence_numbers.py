"""Sequence numbers of 56 digits, which grow within a shard and from a shard to its children. Pure.

AWS documents neither their layout nor that there is one; this is what is generally read out of them: when the shard was
opened, a counter, when the record came, and the shard's number.
"""

from __future__ import annotations

from typing import Final

_FIRST: Final = 2 << 184
_OPENED_BIT: Final = 148
_INDEX_BIT: Final = 80
_TIME_BIT: Final = 36
_SHARD_BIT: Final = 4
_VERSION: Final = 2
INDEX_LAST: Final = 2**63 - 1
"""The index of a closed shard's ending sequence number: no record has it."""
SEQUENCE_PATTERN: Final = r"0|[1-9][0-9]{0,128}"


def sequence_number(opened_s: int, shard: int, index: int, now_s: int) -> int:
    """Make the number of a shard's record; within a shard they are ordered by `index`."""
    return (
        _FIRST
        | opened_s << _OPENED_BIT
        | index << _INDEX_BIT
        | now_s << _TIME_BIT
        | (shard & 0x7FFFFFFF) << _SHARD_BIT
        | _VERSION
    )
