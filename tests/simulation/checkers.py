"""What must hold, looked at from outside: the source as it truly is, and what Kafka shows as committed.

Nothing of the product's code is used here; the records of the checkpoint topic are read as JSON.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from simulation.broker import Broker, Message, Partition
from simulation.source import GONE, Source, Written, table_of
from support.checkpoint_rules import broken_step
from tailrace.core.shard import ShardRef


class BrokenPromiseError(AssertionError):
    """A promise is broken."""


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BrokenPromiseError(otherwise)


@dataclass
class Known:
    """What is committed of one shard."""

    lineage: dict[str, Any] | None = None
    was_listed: bool = False
    checkpoint: dict[str, Any] | None = None
    has_begun: bool = False
    has_ended: bool = False
    last_published: int | None = None


class Checker:
    """Looks at every committed transaction as it is committed."""

    def __init__(self, source: Source, *, checkpoint_topic: str, dead_letters_topic: str) -> None:
        self.shards: defaultdict[ShardRef, Known] = defaultdict(Known)
        self.published = 0
        self.set_aside = 0
        self.gaps_accepted = 0
        self._source = source
        self._checkpoint_topic = checkpoint_topic
        self._dead_letters_topic = dead_letters_topic
        self._next: defaultdict[str, int] = defaultdict(int)
        """The number of each item's next change."""
        self._excused: set[tuple[str, int]] = set()
        """Changes that need not be published: never promised, or given up by the operator."""
        self._first_listed_ms: dict[str, int] = {}
        self._accepted: dict[str, set[tuple[ShardRef, int]]] = {}
        self._accepted_ms: dict[str, int] = {}
        """By stream: when gaps of it were last accepted."""
        self._given_up: set[ShardRef] = set()
        """Shards that were not listed when the operator accepted that their stream was replaced."""
        self._never_listed: set[ShardRef] = set()
        """Those of them of whose streams nothing was ever listed."""
        self.tables: dict[str, dict[str, Any]] = {}
        """The record of each table."""

    # Told as it happens

    def committed(self, written: list[tuple[Partition, Message]]) -> None:
        """See what one transaction committed."""
        changes: list[Written] = []
        for (topic, _), message in written:
            if topic != self._checkpoint_topic:
                changes.append(self._change_of(topic, message))
                self._see_message(changes[-1], dict(message.headers))
        self._see_changes(changes)
        for (topic, _), message in written:
            if topic == self._checkpoint_topic:
                self._see_record(json.loads(message.key or b""), message.value)
        for change in changes:
            known = self.shards[change.shard].checkpoint
            stands = known is not None and int(known["sequence"] or 0) >= change.sequence
            require(stands, f"{change.shard.shard_id}: {change.sequence} is published, and no checkpoint says so")

    def trimmed(self, changes: list[Written]) -> None:
        """See what the stream forgot: some of it was never promised."""
        for change in changes:
            is_given_up = self._is_given_up(change.shard) or self._is_given_up_with_others(change)
            if is_given_up or self._was_there_before(change):
                self._excused.add((change.item, change.number))

    # Asked at the end

    def missing(self) -> list[str]:
        """Return what is not published, or not told as ended."""
        unended = [
            shard.shard_id
            for shard, true in self._source.shards.items()
            if true.closed_ms is not None and not self.shards[shard].has_ended and self._is_known(shard)
        ]
        unpublished = [
            f"{change.item} {change.number} of {change.shard.shard_id}"
            for true in self._source.shards.values()
            for change in true.changes
            if not self._is_done(change)
        ]
        return unended + unpublished

    def gaps(self) -> dict[str, list[tuple[ShardRef, int]]]:
        """Return the gaps that stand, by table."""
        found: dict[str, list[tuple[ShardRef, int]]] = {}
        for shard, known in self.shards.items():
            if known.checkpoint is not None and known.checkpoint["state"] == "gap":
                found.setdefault(known.checkpoint["table"], []).append((shard, known.checkpoint["at_ms"]))
        return found

    def is_accepted(self, table: str, gaps: list[tuple[ShardRef, int]]) -> bool:
        return set(gaps) <= self._accepted.get(table, set())

    def is_excused(self, item: str, number: int) -> bool:
        """Return whether a change need not be published."""
        return (item, number) in self._excused

    def never_streamed(self, item: str, number: int) -> None:
        """Take a change for one that is older than its stream."""
        self._excused.add((item, number))

    # Changes

    def _change_of(self, topic: str, message: Message) -> Written:
        headers = dict(message.headers)
        if topic == self._dead_letters_topic:
            shard = ShardRef(headers["tailrace.stream"].decode(), headers["tailrace.shard"].decode())
            sequence = int(headers["tailrace.sequence"])
        else:
            item, _, text, shard_id, *_ = (message.value or b"").decode().split(" ")
            shard, sequence = ShardRef(self._source.stream_of(shard_id), shard_id), int(text)
            require(topic.endswith(f".{table_of(item)}"), f"a change of {item} is published to {topic}")
        change = next((c for c in self._source.shards[shard].changes if c.sequence == sequence), None)
        require(change is not None, f"{shard.shard_id} has no change {sequence}")
        assert change is not None
        if topic == self._dead_letters_topic:
            self.set_aside += 1
            require(bool(change.kind), f"{change.item} {change.number} is set aside for no reason")
            require(message.value is not None or change.kind == "colossal", f"{change.sequence} lost its value")
        return change

    def _see_changes(self, changes: list[Written]) -> None:
        for change in sorted(changes, key=lambda change: change.sequence):
            self.published += 1
            for parent in self._source.shards[change.shard].parents:
                self._require_ended(change.shard, parent)
            self._begin(change.shard)
            self._take_place(change)
            known = self.shards[change.shard]
            require(not known.has_ended, f"{change.shard.shard_id} goes on after its end")
            known.last_published = change.sequence

    def _see_message(self, change: Written, headers: dict[str, bytes]) -> None:
        """See one record, in the order of its partition."""
        require("tailrace.late" not in headers, f"{change.item}: {change.number} is said to be late")

    def _take_place(self, change: Written) -> None:
        """See that a change is the next one of its item."""
        expected = self._next[change.item]
        while expected < change.number and (change.item, expected) in self._excused:
            expected += 1
        require(
            change.number <= expected,
            f"{change.item}: {change.number} of {change.shard.shard_id} instead of {expected}: lost or early",
        )
        require(change.number >= expected, f"{change.item}: {change.number} again")
        self._next[change.item] = expected + 1

    def _is_done(self, change: Written) -> bool:
        """Return whether nothing of a change is missing."""
        return change.number < self._next[change.item] or (change.item, change.number) in self._excused

    # Records of the checkpoint topic

    def _see_record(self, key: list[str], value: bytes | None) -> None:
        record = None if value is None else json.loads(value)
        match key:
            case ["shard", stream, shard_id]:
                self._see_lineage(ShardRef(stream, shard_id), record)
            case ["checkpoint", stream, shard_id]:
                self._see_checkpoint(ShardRef(stream, shard_id), record)
            case ["table", table]:
                state = record and record["state"]
                require(state != "left out", f"{table} is left out, and a newer file names it")
                if record is not None:
                    self.tables[table] = record
            case ["accept", table]:
                self._see_acceptance(table, record)

    def _see_lineage(self, shard: ShardRef, record: dict[str, Any] | None) -> None:
        known, true = self.shards[shard], self._source.shards[shard]
        if record is None:
            require(true.removed, f"{shard.shard_id} is taken back while it can be read")
            require(known.has_ended, f"{shard.shard_id} is taken back before its end")
            for child in self._children(shard):
                if self.shards[child].lineage is None:
                    continue
                require(self.shards[child].has_begun, f"{shard.shard_id} is taken back before its children began")
        else:
            if known.lineage is not None:
                self._see_confirmation(shard, known.lineage, record)
            require(known.lineage is not None or not known.has_ended, f"{shard.shard_id} is published anew")
            self._see_first_listing(shard.stream)
        known.was_listed = True
        known.lineage = record

    def _see_confirmation(self, shard: ShardRef, before: dict[str, Any], record: dict[str, Any]) -> None:
        """All that was made with a shard is listed: this is said once, and nothing else changes."""
        require(before["complete_ms"] is None and record["complete_ms"] is not None, f"{shard.shard_id} is told again")
        for name in ("table", "parents", "start", "seen_ms", "initial", "listed_ms"):
            require(before[name] == record[name], f"{shard.shard_id} is published anew")

    def _see_first_listing(self, stream_arn: str) -> None:
        """What a stream had forgotten before it was first listed was never promised."""
        if stream_arn in self._first_listed_ms:
            return
        self._first_listed_ms[stream_arn] = self._source.now_ms
        for shard, true in self._source.shards.items():
            if shard.stream == stream_arn:
                forgotten = true.changes if true.removed else true.changes[: true.trimmed]
                self._excused.update((change.item, change.number) for change in forgotten)

    def _see_checkpoint(self, shard: ShardRef, record: dict[str, Any] | None) -> None:
        known, true = self.shards[shard], self._source.shards[shard]
        if record is None:
            require(known.has_ended, f"the checkpoint of {shard.shard_id} is taken back before its end")
            require(known.lineage is None, f"the checkpoint of {shard.shard_id} is taken back before its lineage")
            known.checkpoint = None
            return
        for parent in true.parents:
            self._require_ended(shard, parent)
        broken = broken_step(shard.shard_id, known.checkpoint, record, has_ended=known.has_ended)
        require(broken is None, broken or "")
        sequence = int(record["sequence"] or 0)
        self._see_position(shard, sequence)
        if record["state"] == "gap" and record["detail"] == GONE:
            is_gone = true.removed or self._source.was_denied_for_ms(shard) >= self._source.policy.gone_after_ms
            require(is_gone, f"{shard.shard_id} is taken for gone while it is only denied for a moment")
        self._begin(shard)
        known.checkpoint = record
        if record["state"] == "ended":
            self._see_end(shard)

    def _begin(self, shard: ShardRef) -> None:
        """What was there before `start: latest` began was never promised."""
        known, true = self.shards[shard], self._source.shards[shard]
        if not known.has_begun and known.lineage is not None and known.lineage["start"] != "TRIM_HORIZON":
            require(not true.parents or known.lineage["initial"], f"{shard.shard_id}, a child, skips its beginning")
            self._excused.update((change.item, change.number) for change in true.changes)
        known.has_begun = True

    def _see_end(self, shard: ShardRef) -> None:
        known, true = self.shards[shard], self._source.shards[shard]
        require(true.closed_ms is not None, f"{shard.shard_id} is told as ended and is open")
        for change in true.changes:
            require(
                self._is_done(change), f"{shard.shard_id} is told as ended before {change.item} {change.number}: lost"
            )
        known.has_ended = True

    def _see_position(self, shard: ShardRef, sequence: int) -> None:
        """See that a checkpoint names the last change that is published."""
        last = self.shards[shard].last_published
        require(sequence == (last or 0), f"{shard.shard_id}: published up to {last}, the checkpoint says {sequence}")

    def _require_ended(self, shard: ShardRef, parent: ShardRef) -> None:
        known, true = self.shards[parent], self._source.shards[parent]
        was_gone = true.removed and not known.was_listed
        require(known.has_ended or was_gone, f"{shard.shard_id} began before {parent.shard_id} ended")

    # Gaps

    def _see_acceptance(self, table: str, record: dict[str, Any] | None) -> None:
        named = [(ShardRef(*shard), at_ms) for shard, at_ms in record["shards"]] if record else []
        self._accepted[table] = set(named)
        if record and record["stream_arn"]:
            self._give_up_the_unlisted(table, record["stream_arn"])
        accepted = [shard for shard, _ in named if self._is_accepted_gap(shard)]
        self.gaps_accepted += len(accepted)
        if record and (accepted or record["stream_arn"]):
            streams = {shard.stream for shard in self._source.shards if f":table/{table}/" in shard.stream}
            self._accepted_ms.update(dict.fromkeys(streams, record["at_ms"]))
            forgotten = [change for true in self._source.shards.values() for change in true.changes[: true.trimmed]]
            given_up = filter(self._is_given_up_with_others, forgotten)
            self._excused.update((change.item, change.number) for change in given_up)
        for stream in {shard.stream for shard in accepted}:
            for shard in self._source.shards:
                if shard.stream == stream:
                    self._give_up_what_is_trimmed(shard)

    def _give_up_the_unlisted(self, table: str, next_stream: str) -> None:
        """What is lost, says the operator, is what was not listed of the streams before the table's next one."""
        for shard, true in self._source.shards.items():
            is_earlier = shard.stream != next_stream and f":table/{table}/" in shard.stream
            if is_earlier and not self.shards[shard].was_listed:
                self._given_up.add(shard)
                if shard.stream not in self._first_listed_ms:
                    self._never_listed.add(shard)
                    self._excused.update((change.item, change.number) for change in true.changes)
                self._give_up_what_is_trimmed(shard)

    def _give_up_what_is_trimmed(self, shard: ShardRef) -> None:
        """What is lost, says the operator, is up to the oldest change that the stream still has, in every shard."""
        true = self._source.shards[shard]
        lost = true.changes if true.removed else true.changes[: true.trimmed]
        self._excused.update((change.item, change.number) for change in lost)
        for child in self._children(shard):
            self._give_up_what_is_trimmed(child)
        self._give_up_the_ancestors(shard)

    def _give_up_the_ancestors(self, shard: ShardRef) -> None:
        """What it came from is gone."""
        for parent in self._source.shards[shard].parents:
            true = self._source.shards[parent]
            if true.removed:
                self._excused.update((change.item, change.number) for change in true.changes)
                self._give_up_the_ancestors(parent)

    def _is_given_up(self, shard: ShardRef) -> bool:
        """The shard stands at an accepted gap, or one that it comes from does: reading goes on at what is left."""
        is_lost = shard in self._given_up or self._is_accepted_gap(shard)
        return is_lost or any(map(self._is_given_up, self._source.shards[shard].parents))

    def _is_given_up_with_others(self, change: Written) -> bool:
        """The shard had lost changes when a gap of its stream was accepted, and was not read since."""
        accepted_ms = self._accepted_ms.get(change.shard.stream)
        checkpoint = self.shards[change.shard].checkpoint
        if accepted_ms is None or change.written_ms > accepted_ms:
            return False
        return checkpoint is None or checkpoint["at_ms"] + self._source.policy.retention_ms < accepted_ms

    def _is_accepted_gap(self, shard: ShardRef) -> bool:
        checkpoint = self.shards[shard].checkpoint
        if checkpoint is None or checkpoint["state"] != "gap":
            return False
        return (shard, checkpoint["at_ms"]) in self._accepted.get(checkpoint["table"], set())

    def _was_there_before(self, change: Written) -> bool:
        """The change is older than the first listing of its stream, and nothing of its shard was published yet."""
        first_ms = self._first_listed_ms.get(change.shard.stream)
        is_older = first_ms is None or change.written_ms <= first_ms
        return is_older and self.shards[change.shard].last_published is None

    def _children(self, shard: ShardRef) -> list[ShardRef]:
        return [other for other, true in self._source.shards.items() if shard in true.parents]

    def _is_known(self, shard: ShardRef) -> bool:
        is_lost = self._source.shards[shard].removed or shard in self._never_listed
        return self.shards[shard].was_listed or not is_lost


def check_the_topics(broker: Broker, checkpoint_topic: str, dead_letters_topic: str) -> None:
    """Read every topic as a read_committed consumer does: each item in order, nothing twice."""
    for (topic, _), log in broker.logs.items():
        if topic in {checkpoint_topic, dead_letters_topic}:
            continue
        last: dict[bytes | None, int] = {}
        entries, _ = log.committed(0, log.next_offset)
        for entry in entries:
            number = int((entry.message.value or b"").split(b" ")[1])
            key = entry.message.key
            require(number > last.get(key, -1), f"{key!r} in {topic}: {number} after {last.get(key)}")
            last[key] = number
