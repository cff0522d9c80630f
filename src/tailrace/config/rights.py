"""What AWS must allow a pipeline, and no more: the actions, and on what. `plan` shows it, and the docs list it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

_PARTITIONS = (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"))


class AwsRight(NamedTuple):
    """Actions that are needed for the same purpose, on the same resources."""

    purpose: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    """ARNs, with `*` for the account, which the file does not say."""


class RightsNeeded(NamedTuple):
    """What the file asks for beside reading changes."""

    snapshots: bool
    """Tables are read."""
    repairs: bool
    """They are read again after a gap, and looked into for single items."""


def partition_of(region: str) -> str:
    """Return the partition of AWS that a region is in."""
    return next((name for start, name in _PARTITIONS if region.startswith(start)), "aws")


def arns(service: str, region: str | None, resources: Iterable[str]) -> tuple[str, ...]:
    """Return the ARNs of resources of a region, of any account."""
    region = region or "*"
    return tuple(f"arn:{partition_of(region)}:{service}:{region}:*:{each}" for each in resources)


def rights_to_read_tables(needed: RightsNeeded, tables: tuple[str, ...]) -> Iterator[AwsRight]:
    """Yield what snapshots of tables need, which are ARNs; all of them are described, too."""
    if needed.snapshots:
        yield AwsRight("snapshots", ("dynamodb:Scan",), tables)
    if needed.repairs:
        yield AwsRight("on_gap: resnapshot", ("dynamodb:BatchGetItem",), tables)
