"""What the protocol must know of a kind of source; each kind states its own beside its reader (`sources/`)."""

from __future__ import annotations

import msgspec


class SourcePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The promises and limits of a source that decide what the protocol may conclude."""

    retention_ms: int
    """How long a change can be read: the source may trim what is older, read or not."""
    page_bytes: int
    """What a page being read may turn out to be, as records of Kafka."""
    caught_up_reads: int
    """So many empty pages in a row say that a shard is read to its present end."""
    gone_after_ms: int
    """For so long must the source deny a shard, each time that it is asked, before the shard counts as gone."""
    clock_skew_ms: int
    """How far this host's clock may run ahead of the source's before `start: latest` could drop a change."""
    shards_per_call: int
    """What one call of a listing answers at most. Where it takes fewer calls than asking for each shard's children, a
    stream is listed whole."""
    children_tries: int
    """So often are an ended shard's children asked for again while none shows."""
    children_pause_ms: int
    """Pause before they are asked for again; it doubles each time."""
    second_child_ms: int
    """One child may show before the others of its parent: so long after the first they are asked for once more."""
