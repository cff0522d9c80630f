"""What the workers of a run read: the streams of its tables, or Kinesis streams that the tables write to."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import Any, Final

from chaos.schedule import Kind, SourceKind, has_snapshots
from chaos.simulator import Simulator

TABLES: Final = ("customers", "orders", "products", "visits")
SHARDS_MOST: Final = 10
"""Open shards of one stream."""
FORGOTTEN_AFTER_S: Final = 900
"""How long streams keep their records: the simulator holds them in memory."""

_TABLE_FAULTS: Final[dict[str, Any]] = {
    "Scan": {
        "throttle": 0.05,
        "server_error": 0.02,
        "reset": 0.02,
        "lost": 0.02,
        "cut_short": 0.02,
        "garbled": 0.02,
        "slow": 0.05,
        "hang": 0.005,
    },
    "DescribeTable": {"throttle": 0.02, "server_error": 0.02, "slow": 0.02},
}
_READ_FAULTS: Final = {
    "empty": 0.1,
    "short": 0.05,
    "late_end": 0.5,
    "throttle": 0.01,
    "expired": 0.01,
    "server_error": 0.01,
    "unavailable": 0.002,
    "reset": 0.005,
    "lost": 0.005,
    "cut_short": 0.002,
    "slow": 0.01,
    "hang": 0.0003,
}
_ITERATOR_FAULTS: Final = {"throttle": 0.02, "server_error": 0.02, "lost": 0.02, "hang": 0.002}
_SLOW_S: Final = 0.5


class ChangeSource(ABC):
    """One kind of source: how it fails, how it is set up, how it is resharded."""

    script: dict[str, Any]
    """What goes wrong with it by itself, as the simulator takes it."""
    settings: dict[str, Any]
    """The section `source` of the pipeline file, without what any has."""
    flags_late: bool
    """Whether every change that came after a newer one of its item is published as late."""

    def __init__(self, streams: tuple[str, ...], shards_first: int) -> None:
        self.streams: Final = streams
        """What has shards: tables, or Kinesis streams."""
        self.open_shards = dict.fromkeys(streams, shards_first)

    @abstractmethod
    def set_up(self, simulator: Simulator) -> None:
        """Make what the workers read, now that the tables are there."""

    @abstractmethod
    def begin(self, simulator: Simulator) -> None:
        """Let the streams carry the changes from now on, and none from before."""

    @abstractmethod
    def alter(self, simulator: Simulator, kind: Kind, rng: random.Random) -> bool:
        """Do something to the shards; return whether there was something that it could be done to."""

    def _split(self, simulator: Simulator, rng: random.Random, of: str) -> bool:
        names = [name for name, shards in self.open_shards.items() if shards < SHARDS_MOST]
        if not names:
            return False
        name = rng.choice(names)
        self.open_shards[name] += 1
        simulator.act("split", **{of: name}, at=rng.uniform(0.05, 0.95))
        return True


class TableStreams(ChangeSource):
    """DynamoDB Streams."""

    SHARDS_FIRST: Final = 2
    SPLITS_MOST: Final = len(TABLES) * (SHARDS_MOST - SHARDS_FIRST)
    """There is no merging them again."""

    flags_late = False

    def __init__(self, seed: int) -> None:
        super().__init__(TABLES, self.SHARDS_FIRST)
        self.settings = {
            "type": SourceKind.STREAMS.value,
            "tables": list(TABLES),
            "poll": {"min": "200ms", "max": "500ms"},
            "discovery": {"interval": "2s"},
        }
        self.script = {
            "settings": {
                "shards": self.SHARDS_FIRST,
                "listing_lag_calls": 2,
                "digit_every": 50_000,
                "slow_s": _SLOW_S,
                "retention_s": FORGOTTEN_AFTER_S,
                "skew_s": 1 if has_snapshots(seed) else 3,
            },
            "rates": _TABLE_FAULTS
            | {
                "DescribeStream": {"hole": 0.1, "throttle": 0.05, "server_error": 0.03, "slow": 0.03, "hang": 0.002},
                "GetShardIterator": _ITERATOR_FAULTS,
                "GetRecords": _READ_FAULTS | {"garbled": 0.002},
            },
        }

    def set_up(self, simulator: Simulator) -> None:
        """Do nothing: a table has a stream."""

    def begin(self, simulator: Simulator) -> None:
        """Begin other streams."""
        for table in TABLES:
            simulator.act("switch", table=table)
            simulator.act("switch", table=table, view_type="NEW_AND_OLD_IMAGES")

    def alter(self, simulator: Simulator, kind: Kind, rng: random.Random) -> bool:
        """Split a shard or roll one over."""
        if kind is Kind.SPLIT:
            return self._split(simulator, rng, "table")
        simulator.act("rollover", table=rng.choice(TABLES))
        return True


class KinesisStreams(ChangeSource):
    """Kinesis streams of two tables each, which repeat changes and bring them in another order.

    The seed draws whether they are polled or push, and what becomes of late changes.
    """

    SHARDS_FIRST: Final = 4
    _STREAMS: Final = {"shop-cdc": TABLES[:2], "web-cdc": TABLES[2:]}
    _REPEAT_S: Final = 3
    _DELAY_S: Final = 2
    _WINDOW_S: Final = 8
    """Longer than the streams take to repeat a change: no repeat may be published. Each shard reads so much of its
    parents again, at 2 MB a second."""

    def __init__(self, seed: int) -> None:
        super().__init__(tuple(self._STREAMS), self.SHARDS_FIRST)
        rng = random.Random(f"{seed}/kinesis")
        fan_out = {"fan_out": "enhanced", "consumer": "chaos"} if rng.random() < 0.5 else {}
        self.flags_late = rng.random() < 0.7
        late = {} if self.flags_late else {"late": "reorder", "late_wait": "1s"}
        self.settings = {
            "type": SourceKind.KINESIS.value,
            "streams": list(self._STREAMS),
            "tables": list(TABLES),
            "window": f"{self._WINDOW_S}s",
            **fan_out,
            **late,
        }
        listing = {"throttle": 0.05, "server_error": 0.03, "slow": 0.03, "hang": 0.002}
        self.script = {
            "settings": {
                "retention_s": 60,  # of the tables' own streams, which nobody reads
                "slow_s": _SLOW_S,
                "kinesis_iterator_life_s": 10,
                "subscription_s": 20,
                "push_interval_s": 0.5,
                "repeat_s": self._REPEAT_S,
                "delay_s": self._DELAY_S,
            },
            "rates": _TABLE_FAULTS
            | {
                "replication": {"repeat": 0.05, "delay": 0.05},
                "kinesis:ListShards": listing,
                "kinesis:DescribeStreamSummary": listing,
                "kinesis:DescribeStreamConsumer": listing,
                "kinesis:RegisterStreamConsumer": {"throttle": 0.05, "server_error": 0.03, "lost": 0.1},
                "kinesis:GetShardIterator": _ITERATOR_FAULTS | {"not_found": 0.002},
                "kinesis:GetRecords": _READ_FAULTS | {"not_found": 0.002},
                "kinesis:SubscribeToShard": {
                    "throttle": 0.05,
                    "server_error": 0.02,
                    "reset": 0.02,
                    "cut_short": 0.02,
                    "slow": 0.02,
                    "hang": 0.002,
                },
            },
        }

    def set_up(self, simulator: Simulator) -> None:
        """Make the streams."""
        for stream in self._STREAMS:
            simulator.call("Kinesis_20131202.CreateStream", StreamName=stream, ShardCount=self.SHARDS_FIRST)

    def begin(self, simulator: Simulator) -> None:
        """Let the tables write to the streams."""
        precise = {"ApproximateCreationDateTimePrecision": "MICROSECOND"}
        for stream in simulator.call("Kinesis_20131202.ListStreams")["StreamSummaries"]:
            for table in self._STREAMS[stream["StreamName"]]:
                simulator.call(
                    "DynamoDB_20120810.EnableKinesisStreamingDestination",
                    TableName=table,
                    StreamArn=stream["StreamARN"],
                    EnableKinesisStreamingConfiguration=precise,
                )

    def alter(self, simulator: Simulator, kind: Kind, rng: random.Random) -> bool:
        """Split a shard, merge two, or forget old records."""
        match kind:
            case Kind.SPLIT:
                return self._split(simulator, rng, "stream")
            case Kind.MERGE:
                names = [name for name, shards in self.open_shards.items() if shards > 1]
                if not names:
                    return False
                name = rng.choice(names)
                self.open_shards[name] -= 1
                simulator.act("merge", stream=name)
            case _:
                for stream in self._STREAMS:
                    simulator.act("trim", stream=stream, older_than_s=FORGOTTEN_AFTER_S)
        return True
