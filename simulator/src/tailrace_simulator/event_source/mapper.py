"""The event source mapper: which shards are read when, and what the function is invoked with. Pure.

It is told what happened (`listed`, `page_read`, `answered` …) and says in `due` what to do. Each shard has one batch
under way at a time, in order, and begins when its parents are done. What AWS's documents leave open, and what this
mapper makes of it, is in docs/lambda-at-home.md.
"""

from __future__ import annotations

import random
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import msgspec

from tailrace_simulator.event_source import destination
from tailrace_simulator.event_source.destination import Condition, Discarded
from tailrace_simulator.event_source.mapping import EventSourceMapping, Hostility
from tailrace_simulator.event_source.outcome import Answered, NotInvoked, Outcome, Unknown
from tailrace_simulator.event_source.records import PAYLOAD_BYTES_MAX, Record, WindowPart, make_event, parse_record
from tailrace_simulator.event_source.shard import ListedShard, Position
from tailrace_simulator.event_source.strand import Batch, Settlement, Strand

POLL_MS: Final = 250
"""AWS's base rate: a quiet shard is asked 4 times a second."""
_PROBE_MS: Final = 1000


class Read(msgspec.Struct, frozen=True, tag=True):
    """Read the shard's next page; answer with `page_read`, `read_failed` or `trimmed`."""

    shard_id: str
    position: Position


class Probe(msgspec.Struct, frozen=True, tag=True):
    """A listed shard's parent is not listed: ask whether it can be read, and answer with `probed`."""

    shard_id: str


class Invoke(msgspec.Struct, frozen=True, tag=True):
    """Invoke the function with an event; answer with `answered`."""

    number: int
    shard_id: str
    event: bytes
    records: int
    is_window_end: bool


class Discard(msgspec.Struct, frozen=True, tag=True):
    """Records are given up. `message` is for the destination, `key` the object's name in S3; None without one."""

    shard_id: str
    condition: Condition
    sequences: Sequence[str]
    message: bytes | None
    key: str | None


Command = Read | Probe | Invoke | Discard


class Checkpoint(msgspec.Struct, frozen=True):
    """How far a mapper is: what it resumes from. An older one delivers again what came since."""

    sequences: dict[str, str | None]
    """The last sequence number that is done, for each shard that has begun."""
    finished: frozenset[str]


@dataclass(eq=False)
class _Shard:
    shard_id: str
    parents: tuple[str, ...]
    position: Position
    strands: list[Strand]
    has_begun: bool = False
    has_ended: bool = False
    """Read to its end."""
    is_finished: bool = False
    is_reading: bool = False
    read_at_ms: int = 0
    undone: deque[str] = field(default_factory=deque)
    """Sequence numbers that were read and are not saved, in order."""
    saved_early: set[str] = field(default_factory=set)
    """Those among them that are done, but not all before them."""
    done: str | None = None
    done_before: str | None = None
    """The checkpoint before the last one."""
    batches: int = 0


@dataclass(eq=False)
class _Flight:
    shard: _Shard
    strand: Strand
    lost_at_ms: int | None
    """When the answer counts as lost; none is heard before. None: it is heard."""


class Mapper:
    """Not safe to use from many threads at once. Times are milliseconds since the epoch, never going back.

    `counts` tells what happened so far: `invocations`, records `discarded`, positions `trimmed`, and each hostility.
    """

    def __init__(
        self,
        mapping: EventSourceMapping,
        *,
        stream_arn: str,
        function_arn: str,
        seed: int = 0,
        hostility: Hostility | None = None,
        lost_after_ms: int = 5000,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """`lost_after_ms`: an answer that gets lost is given up after 0 to so long."""
        self._mapping = mapping
        self._stream_arn = stream_arn
        self._function_arn = function_arn
        self._seed = seed
        self._hostility = hostility or Hostility()
        self._lost_after_ms = lost_after_ms
        self._resumed = checkpoint
        self._shards: dict[str, _Shard] = {}
        self._gone: set[str] = set()
        self._probed_ms: dict[str, int] = {}
        self._flights: dict[int, _Flight] = {}
        self._invocations = 0
        self._discards: list[Discard] = []
        self._ids = random.Random(f"{seed}/ids")
        self._mapping_id = self._unique()
        self.counts: Counter[str] = Counter()

    def checkpoint(self) -> Checkpoint:
        """Return how far it is."""
        shards = self._shards.values()
        return Checkpoint(
            {shard.shard_id: shard.done for shard in shards if shard.has_begun},
            frozenset(shard.shard_id for shard in shards if shard.is_finished),
        )

    @property
    def is_done(self) -> bool:
        """Whether every record that was read is through, and nothing is under way."""
        return not self._flights and all(
            shard.is_finished or (shard.has_begun and all(strand.is_idle for strand in shard.strands))
            for shard in self._shards.values()
        )

    def listed(self, shards: Iterable[ListedShard]) -> None:
        """Take a listing. It may have holes, and show a child before its parent."""
        shards = list(shards)
        with_children = {parent for shard in shards for parent in shard.parent_ids}
        is_first = not self._shards and self._resumed is None
        for listed in shards:
            if listed.shard_id in self._shards:
                continue
            shard = self._shards[listed.shard_id] = _Shard(
                listed.shard_id, listed.parent_ids, Position("TRIM_HORIZON"), []
            )
            shard.strands = [self._strand(shard) for _ in range(self._mapping.parallelization_factor)]
            if self._resumed is not None:
                shard.is_finished = listed.shard_id in self._resumed.finished
                if (done := self._resumed.sequences.get(listed.shard_id)) is not None:
                    shard.position = Position("AFTER_SEQUENCE_NUMBER", done)
                    shard.done = shard.done_before = done
            elif is_first and self._mapping.starting_position == "LATEST":
                shard.is_finished = listed.closed or listed.shard_id in with_children
                shard.position = Position("LATEST")

    def probed(self, shard_id: str, *, exists: bool) -> None:
        """Take the answer to `Probe`."""
        if not exists:
            self._gone.add(shard_id)

    def page_read(self, shard_id: str, page: Iterable[dict[str, Any]], now_ms: int, *, is_end: bool) -> None:
        """Take a page of GetRecords; `is_end`: the shard is closed and this is its last."""
        shard = self._shards[shard_id]
        shard.is_reading = False
        records = [parse_record(record, self._stream_arn, shard_id, now_ms) for record in page]
        for record in records:
            shard.undone.append(record.sequence)
            shard.strands[zlib.crc32(record.keys) % len(shard.strands)].offer([record], now_ms)
        if records:
            shard.position = Position("AFTER_SEQUENCE_NUMBER", records[-1].sequence)
        shard.has_ended = is_end
        shard.read_at_ms = now_ms if records else now_ms + POLL_MS

    def read_failed(self, shard_id: str, now_ms: int) -> None:
        """Take that a page could not be read; it is asked for again."""
        shard = self._shards[shard_id]
        shard.is_reading = False
        shard.read_at_ms = now_ms + POLL_MS

    def trimmed(self, shard_id: str, now_ms: int) -> None:
        """Take that the position is no longer kept: the shard continues with the oldest record that is."""
        self.read_failed(shard_id, now_ms)
        self._shards[shard_id].position = Position("TRIM_HORIZON")
        self.counts["trimmed"] += 1

    def answered(self, number: int, outcome: Outcome, now_ms: int) -> None:
        """Take how an invocation ended. Of a batch that was sent twice only the first answer counts."""
        flight = self._flights.get(number)
        if flight is not None and flight.lost_at_ms is None:
            self._settle(flight, outcome, now_ms)

    def due(self, now_ms: int) -> list[Command]:
        """Return what is to be done now."""
        for flight in dict.fromkeys(self._flights.values()):
            if flight.lost_at_ms is not None and flight.lost_at_ms <= now_ms:
                self._settle(flight, Unknown(), now_ms)
        commands: list[Command] = []
        for shard in list(self._shards.values()):
            if not shard.is_finished and self._may_begin(shard, commands, now_ms):
                shard.has_begun = True
                self._drive(shard, commands, now_ms)
        commands[:0], self._discards = self._discards, []
        return commands

    def _may_begin(self, shard: _Shard, commands: list[Command], now_ms: int) -> bool:
        """Return whether the shard's parents are done; one that is neither listed nor there counts as done."""
        may_begin = True
        for parent in shard.parents:
            if parent in self._shards:
                may_begin = may_begin and self._shards[parent].is_finished
            elif parent not in self._gone:
                may_begin = False
                if now_ms - self._probed_ms.get(parent, -_PROBE_MS) >= _PROBE_MS:
                    self._probed_ms[parent] = now_ms
                    commands.append(Probe(parent))
        return shard.has_begun or may_begin

    def _drive(self, shard: _Shard, commands: list[Command], now_ms: int) -> None:
        for strand in shard.strands:
            while batch := strand.next_batch(now_ms, ended=shard.has_ended):
                if strand.is_too_old(batch, now_ms):
                    self._take(shard, strand.discard("RecordAgeExceeded"), now_ms)
                else:
                    self._launch(shard, strand, batch, commands, now_ms)
        if shard.has_ended and all(strand.is_idle for strand in shard.strands):
            shard.is_finished = True
        elif (
            not (shard.is_reading or shard.has_ended)
            and shard.read_at_ms <= now_ms
            and any(strand.is_hungry for strand in shard.strands)
            and sum(strand.queued_bytes for strand in shard.strands) < PAYLOAD_BYTES_MAX * len(shard.strands)
        ):
            shard.is_reading = True
            commands.append(Read(shard.shard_id, shard.position))

    def _launch(self, shard: _Shard, strand: Strand, batch: Batch, commands: list[Command], now_ms: int) -> None:
        rng = self._draw(shard)
        event = strand.launch(batch)
        if rng.random() < self._hostility.throttle:
            self.counts["throttle"] += 1
            self._take(shard, strand.settle(NotInvoked("throttled"), now_ms), now_ms)
            return
        lost_at_ms = None
        if rng.random() < self._hostility.lost:
            self.counts["lost"] += 1
            lost_at_ms = now_ms + rng.randint(0, self._lost_after_ms)
        flight = _Flight(shard, strand, lost_at_ms)
        times = 1
        if rng.random() < self._hostility.duplicate:
            self.counts["duplicate"] += 1
            times = 2
        for _ in range(times):
            self._invocations += 1
            self.counts["invocations"] += 1
            self._flights[self._invocations] = flight
            commands.append(Invoke(self._invocations, shard.shard_id, event, len(batch.records), batch.is_final))

    def _settle(self, flight: _Flight, outcome: Outcome, now_ms: int) -> None:
        for number in [number for number, other in self._flights.items() if other is flight]:
            del self._flights[number]
        self._take(flight.shard, flight.strand.settle(outcome, now_ms), now_ms)
        if isinstance(outcome, Answered) and self._draw(flight.shard).random() < self._hostility.rewind:
            self._rewind(flight.shard)

    def _take(self, shard: _Shard, settlement: Settlement, now_ms: int) -> None:
        """Move the checkpoint, and tell of what was given up."""
        if (discarded := settlement.discarded) is not None:
            self.counts["discarded"] += len(discarded.records)
            self._discards.append(self._discard(shard, discarded, now_ms))
        shard.saved_early.update(record.sequence for record in settlement.saved)
        before = shard.done
        while shard.undone and shard.undone[0] in shard.saved_early:
            shard.done = shard.undone.popleft()
            shard.saved_early.remove(shard.done)
        if shard.done != before:
            shard.done_before = before

    def _discard(self, shard: _Shard, discarded: Discarded, now_ms: int) -> Discard:
        make = {"sqs": destination.failure_message, "s3": destination.failure_object, None: None}[
            self._mapping.on_failure
        ]
        if not discarded.request_id:
            discarded = msgspec.structs.replace(discarded, request_id=str(self._unique()))
        key = None
        if self._mapping.on_failure == "s3":
            key = destination.failure_object_key(self._mapping_id, shard.shard_id, now_ms, self._unique())
        return Discard(
            shard.shard_id,
            discarded.condition,
            [record.sequence for record in discarded.records],
            make(discarded, shard.shard_id, self._stream_arn, self._function_arn, now_ms) if make else None,
            key,
        )

    def _rewind(self, shard: _Shard) -> None:
        """Resume the shard from the checkpoint before the last one, as if its reader had died."""
        if shard.is_reading or any(strand.in_flight for strand in shard.strands) or shard.done_before is None:
            return
        self.counts["rewind"] += 1
        shard.strands = [self._strand(shard) for _ in shard.strands]
        shard.position = Position("AFTER_SEQUENCE_NUMBER", shard.done_before)
        shard.done = shard.done_before
        shard.undone.clear()
        shard.saved_early.clear()
        shard.has_ended = False

    def _strand(self, shard: _Shard) -> Strand:
        def make(records: list[Record], window: WindowPart | None) -> bytes:
            return make_event(records, window, shard.shard_id, self._stream_arn)

        return Strand(self._mapping, self._hostility, lambda: self._draw(shard), make)

    def _draw(self, shard: _Shard) -> random.Random:
        """Return the randomness for what happens next to a shard, whatever happens to others meanwhile."""
        shard.batches += 1
        return random.Random(f"{self._seed}/{shard.shard_id}/{shard.batches}")

    def _unique(self) -> UUID:
        return UUID(int=self._ids.getrandbits(128), version=4)
