"""What a snapshot of a table will read, how long that takes, and what it costs. Pure."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from tailrace.core.ports import TableFacts

BYTES_A_READ_UNIT: Final = 4096
"""What a strongly consistent read reads for one read capacity unit.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
"""
USD_A_MILLION_READ_UNITS: Final = 0.125
"""On-demand, Standard table class, us-east-1. Source: https://aws.amazon.com/dynamodb/pricing/on-demand/"""
PRICED: Final = "us-east-1's on-demand price of November 2024"


class Estimate(msgspec.Struct, frozen=True):
    """What will be read. DynamoDB counts a table's items and bytes every six hours or so: the numbers are estimates."""

    items: int
    size_bytes: int
    read_units: float
    """Read capacity units, strongly consistent."""
    read_units_per_s: float
    """How many the pipeline file allows a second, over all workers."""
    seconds: float
    """How long that takes at the least."""
    usd: float
    """What AWS charges for the reads of an on-demand table in us-east-1. Kafka is not in it."""


def estimate_scan(facts: TableFacts, read_units_per_s: float) -> Estimate:
    """Estimate what reading the whole table takes: a page of a scan is charged for all the bytes that it looks at."""
    read_units = math.ceil(facts.size_bytes / BYTES_A_READ_UNIT)
    return _estimate(facts.item_count, facts.size_bytes, read_units, read_units_per_s)


def estimate_keys(facts: TableFacts, count: int, read_units_per_s: float) -> Estimate:
    """Estimate what reading `count` items by their keys takes: each is charged by itself, rounded up."""
    average_bytes = facts.size_bytes / facts.item_count if facts.item_count else 0
    read_units = count * max(1, math.ceil(average_bytes / BYTES_A_READ_UNIT))
    return _estimate(count, int(count * average_bytes), read_units, read_units_per_s)


def estimate_exports(items: int, size_bytes: int) -> Estimate:
    """Return what exports hold, exactly: the table itself is not read."""
    return Estimate(items=items, size_bytes=size_bytes, read_units=0.0, read_units_per_s=0.0, seconds=0.0, usd=0.0)


def _estimate(items: int, size_bytes: int, read_units: int, read_units_per_s: float) -> Estimate:
    return Estimate(
        items=items,
        size_bytes=size_bytes,
        read_units=read_units,
        read_units_per_s=read_units_per_s,
        seconds=read_units / read_units_per_s,
        usd=read_units * USD_A_MILLION_READ_UNITS / 1_000_000,
    )
