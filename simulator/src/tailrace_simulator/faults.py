"""Which calls fail, and how: drawn from a seed, or told. Pure.

Every decision depends on the seed, the operation, its subject (a table, or a shard by its number in the stream) and on
how many such calls came before, and on nothing else: clients on many threads do not disturb it.
"""

from __future__ import annotations

import random
from collections import Counter
from enum import StrEnum
from typing import Final

import msgspec


class Fault(StrEnum):
    """What can go wrong with a call."""

    HANG = "hang"
    """Not carried out; no answer until the client gives up, or all are released."""
    RESET = "reset"
    """Not carried out; the connection is reset."""
    SERVER_ERROR = "server_error"
    """Not carried out; 500 InternalServerError."""
    UNAVAILABLE = "unavailable"
    """Not carried out; 503 with a page of HTML."""
    THROTTLE = "throttle"
    """Not carried out; one of the names that AWS has for it."""
    DENIED = "denied"
    """Not carried out; AccessDeniedException."""
    EXPIRED_TOKEN = "expired_token"
    """Not carried out; ExpiredTokenException."""
    LOST = "lost"
    """Carried out; the connection is reset instead of the answer."""
    CUT_SHORT = "cut_short"
    """Carried out; the connection closes in the middle of the answer."""
    GARBLED = "garbled"
    """Carried out; a byte of the answer is wrong, as its x-amz-crc32 tells."""
    SLOW = "slow"
    """Carried out; the answer comes late (`slow_s`)."""
    EXPIRED = "expired"
    """GetRecords: ExpiredIteratorException."""
    EMPTY = "empty"
    """GetRecords: no records, and an iterator to continue with."""
    SHORT = "short"
    """GetRecords: fewer records than there are."""
    LATE_END = "late_end"
    """GetRecords: a closed shard's last page does not say that it is the last; an empty one does."""
    UNPROCESSED = "unprocessed"
    """BatchGetItem, PutRecords: some of the items or records, or all, are left out, and the answer says which."""
    HOLE = "hole"
    """DescribeStream: one shard is missing, in this answer and some more."""
    SPLIT = "split"
    """A write: before it one of the shards of the table's stream, or of the Kinesis stream, splits at a drawn place."""
    ROLLOVER = "rollover"
    """A write: before it one of the table's shards is followed by one child."""
    MERGE = "merge"
    """A record that is put into a Kinesis stream: before it two shards next to each other merge."""
    NOT_FOUND = "not_found"
    """GetRecords, GetShardIterator: not carried out; ResourceNotFoundException, although the shard exists."""
    REPEAT = "repeat"
    """Replication: the change record is put once more, later (`repeat_s`), half of them with another eventID."""
    DELAY = "delay"
    """Replication: the change record is put late (`delay_s`), so that later ones overtake it."""


WRITES: Final = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"})
STREAM_OPERATIONS: Final = frozenset({"DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"})
TAGGING_OPERATIONS: Final = frozenset({"GetResources"})
"""Those of the Resource Groups Tagging API."""
KINESIS_PREFIX: Final = "kinesis:"
"""What operations of Kinesis are named with, as in IAM's policies: DynamoDB Streams has some of the same names."""
PUTS: Final = frozenset({"kinesis:PutRecord", "kinesis:PutRecords"})
KINESIS_OPERATIONS: Final = PUTS | {
    "kinesis:CreateStream",
    "kinesis:DecreaseStreamRetentionPeriod",
    "kinesis:DeleteStream",
    "kinesis:DeregisterStreamConsumer",
    "kinesis:DescribeStream",
    "kinesis:DescribeStreamConsumer",
    "kinesis:DescribeStreamSummary",
    "kinesis:GetRecords",
    "kinesis:GetShardIterator",
    "kinesis:IncreaseStreamRetentionPeriod",
    "kinesis:ListShards",
    "kinesis:ListStreamConsumers",
    "kinesis:ListStreams",
    "kinesis:MergeShards",
    "kinesis:RegisterStreamConsumer",
    "kinesis:SplitShard",
    "kinesis:SubscribeToShard",
    "kinesis:UpdateShardCount",
    "kinesis:UpdateStreamMode",
}
DESTINATION_OPERATIONS: Final = frozenset(
    {
        "DescribeKinesisStreamingDestination",
        "DisableKinesisStreamingDestination",
        "EnableKinesisStreamingDestination",
        "UpdateKinesisStreamingDestination",
    }
)
OPERATIONS: Final = (
    WRITES
    | STREAM_OPERATIONS
    | TAGGING_OPERATIONS
    | KINESIS_OPERATIONS
    | DESTINATION_OPERATIONS
    | {
        "BatchGetItem",
        "CreateTable",
        "DeleteTable",
        "DescribeTable",
        "DescribeTimeToLive",
        "GetItem",
        "ListTables",
        "ListTagsOfResource",
        "Scan",
        "TagResource",
        "UntagResource",
        "UpdateTable",
        "UpdateTimeToLive",
    }
)
ANY_OPERATION: Final = "*"
REPLICATION: Final = "replication"
"""What DynamoDB does by itself: it puts one change record into one Kinesis stream."""


def target_of(operation: str) -> str:
    """Return an operation as `X-Amz-Target` names it."""
    if operation in KINESIS_OPERATIONS:
        return f"Kinesis_20131202.{operation.removeprefix(KINESIS_PREFIX)}"
    if operation in STREAM_OPERATIONS:
        return f"DynamoDBStreams_20120810.{operation}"
    service = "ResourceGroupsTaggingAPI_20170126" if operation in TAGGING_OPERATIONS else "DynamoDB_20120810"
    return f"{service}.{operation}"


_READS: Final = frozenset({"GetRecords", "kinesis:GetRecords"})
_OF_OPERATIONS: Final = {
    Fault.EXPIRED: _READS,
    Fault.EMPTY: _READS,
    Fault.SHORT: _READS,
    Fault.LATE_END: _READS,
    Fault.UNPROCESSED: frozenset({"BatchGetItem", "kinesis:PutRecords"}),
    Fault.HOLE: frozenset({"DescribeStream"}),
    Fault.SPLIT: WRITES | PUTS | {REPLICATION},
    Fault.ROLLOVER: WRITES,
    Fault.MERGE: PUTS | {REPLICATION},
    Fault.NOT_FOUND: _READS | {"GetShardIterator", "kinesis:GetShardIterator"},
    Fault.REPEAT: frozenset({REPLICATION}),
    Fault.DELAY: frozenset({REPLICATION}),
    # Answers of Kinesis carry no checksum: nobody could notice.
    Fault.GARBLED: OPERATIONS - KINESIS_OPERATIONS,
}
"""Faults of some operations only."""

Rates = dict[str, dict[Fault, float]]
"""How often, 0 to 1, each fault comes, by operation; `*` is for those that have no rate of their own."""


def suits(fault: Fault, operation: str) -> bool:
    """Return whether a fault can happen to an operation."""
    return operation in _OF_OPERATIONS.get(fault, OPERATIONS)


def check(operation: str, fault: Fault, rate: float = 1) -> None:
    """Raise ValueError, with a sentence, for a fault that can never happen."""
    if operation not in OPERATIONS | {ANY_OPERATION, REPLICATION}:
        known = ", ".join(sorted(OPERATIONS | {REPLICATION}))
        raise ValueError(f"{operation} is not an operation; there are {known} and *")
    if operation != ANY_OPERATION and not suits(fault, operation):
        raise ValueError(f"{fault} cannot happen to {operation}")
    if not 0 <= rate <= 1:
        raise ValueError(f"the rate of {fault} for {operation} is {rate}; it must lie between 0 and 1")


def check_rates(rates: Rates) -> None:
    """Raise ValueError, with a sentence, for rates that mean nothing."""
    for operation, faults in rates.items():
        for fault, rate in faults.items():
            check(operation, fault, rate)


class Told(msgspec.Struct):
    """A fault that the next `times` calls of an operation meet; `table` is a table or a Kinesis stream."""

    operation: str
    fault: Fault
    times: int
    table: str | None

    def meets(self, operation: str, table: str) -> bool:
        """Return whether a call is one of those."""
        concerned = self.operation in {operation, ANY_OPERATION} and self.table in {table, None}
        return concerned and suits(self.fault, operation)


class Decision(msgspec.Struct, frozen=True):
    """What happens to one call, and the randomness for how."""

    faults: frozenset[Fault]
    random: random.Random


class Faults:
    """Decides about every call. `counts` says how often each operation met each fault so far."""

    def __init__(self, seed: int) -> None:
        self.rates: Rates = {}
        self.counts: Counter[tuple[str, Fault]] = Counter()
        self._seed = seed
        self._told: list[Told] = []
        self._calls: Counter[tuple[str, str]] = Counter()

    def tell(self, told: Told) -> None:
        """Make the next calls fail, in the order in which the faults were added."""
        self._told.append(told)

    def decide(self, operation: str, table: str, subject: str) -> Decision:
        """Return what happens to a call."""
        number = self._calls[operation, subject] = self._calls[operation, subject] + 1
        rng = random.Random(f"{self._seed}/{operation}/{subject}/{number}")
        rates = self.rates.get(ANY_OPERATION, {}) | self.rates.get(operation, {})
        drawn = {fault for fault in Fault if rng.random() < rates.get(fault, 0) and suits(fault, operation)}
        for told in self._told:
            if told.meets(operation, table):
                told.times -= 1
                drawn.add(told.fault)
                self._told = [other for other in self._told if other.times > 0]
                break
        self.counts.update((operation, fault) for fault in drawn)
        return Decision(frozenset(drawn), rng)
