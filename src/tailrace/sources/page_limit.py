"""Asks for fewer records of a shard at a time where a page of them is too large."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping

from tailrace.aws.errors import TooLargeError
from tailrace.core.shard import ShardRef

logger = logging.getLogger("tailrace.sources")


def ask_for_page(
    shard: ShardRef, limits: MutableMapping[ShardRef, int], most: int, ask: Callable[[int], bytes]
) -> tuple[bytes, int]:
    """Return the answer of `ask(limit)`, and the limit that it took: half of it each time that the page is too large.

    `limits` keeps what was found of shards; `most` is asked for where there is nothing. Raises `ReadError`.
    """
    limit = limits.get(shard, most)
    while True:
        try:
            return ask(limit), limit
        except TooLargeError as error:
            if limit == 1:
                raise
            limit = limits[shard] = limit // 2
            logger.warning("%s: asking for %d records at most", error.message, limit)
