"""What the simulator's streams are like, as far as AWS leaves it open or a test wants it otherwise."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Read at every call, so that they can be changed while the simulator runs."""

    shards: int = 1
    """Shards that a new stream begins with; they share the key hashes evenly."""
    retention_s: float = 24 * 3600
    """How long records, closed shards and disabled streams are kept."""
    iterator_life_s: float = 15 * 60
    rollover_s: float = 4 * 3600
    """How long a shard stays open before one child follows it; 0 forever."""
    readers_per_shard: int = 2
    """Readers whose GetRecords of one shard are answered within the same `reader_window_s`; 0 for any number."""
    reader_window_s: float = 1
    describe_stream_per_second: int = 10
    """DescribeStream calls of the account in any second; 0 for any number."""
    page_bytes: int = 1024 * 1024
    """Size at which an answer of GetRecords ends."""
    read_burst_s: float = 300
    """A table with provisioned capacity may read so many seconds' worth of it at once."""
    listing_lag_calls: int = 0
    """A new or closed shard shows it in a listing only after 0 to this many DescribeStream calls of its stream."""
    skew_s: float = 0
    """Creation times of a shard are off by the same number of seconds, drawn from minus this to plus this."""
    digit_every: int = 100
    """Every so many changes of a stream its sequence numbers gain a digit, from 21 up to 40; 0 never."""
    tagging_api: int = 1
    """1: GetResources of the Resource Groups Tagging API is answered; 0: it is unknown, as in DynamoDB Local."""
    tag_lag_s: float = 0
    """How long after a tag was changed GetResources still shows the tags from before."""
    kinesis_page_bytes: int = 10 * 1024 * 1024
    """Size at which an answer of Kinesis's GetRecords ends."""
    kinesis_iterator_life_s: float = 300
    kinesis_reads_per_second: int = 5
    """GetRecords calls of one Kinesis shard in a second, and as many of GetShardIterator; 0 for any number."""
    kinesis_read_bytes_per_second: int = 2 * 1024 * 1024
    """Bytes that may be read from one Kinesis shard in a second; more must be waited for. 0 for any number."""
    stream_change_s: float = 0
    """How long a Kinesis stream is CREATING or UPDATING; what it changes to holds at once."""
    on_demand_shards: int = 4
    """Shards that an on-demand stream begins with."""
    on_demand_split_records: int = 0
    """A shard of an on-demand stream splits in half when it has taken so many records; 0 never."""
    subscription_s: float = 300
    """How long a subscription (SubscribeToShard) lasts."""
    push_interval_s: float = 1
    """How often a subscription without records is told that there are none."""
    repeat_s: float = 5
    """A change record that is repeated in a Kinesis stream comes again within this time."""
    delay_s: float = 2
    """A change record that is delayed comes within this time."""
    slow_s: float = 1
    """How long the fault `slow` holds an answer back."""

    def __post_init__(self) -> None:
        """Raise ValueError, with a sentence, for what cannot be."""
        if negative := [name for name in self.__struct_fields__ if getattr(self, name) < 0]:
            raise ValueError(f"{', '.join(negative)} cannot be negative")
        for name in ("shards", "on_demand_shards"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
