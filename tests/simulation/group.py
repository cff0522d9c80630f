"""A model of the consumer group: who owns which lane, who is told of it, and who hears of it late or never."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Protocol

from simulation.faults import Faults
from simulation.simulated_time import Host, Schedule

SESSION_TIMEOUT_MS = 10_000
RELEASE_TIMEOUT_MS = 5_000


class Member(Protocol):
    """What the group calls on a worker."""

    @property
    def host(self) -> Host:
        """Where it runs."""
        ...

    def assigned(self, lane: int) -> None:
        """The lane is this worker's."""
        ...

    def revoked(self, lane: int, done: Callable[[], None]) -> None:
        """The lane is to be given back; `done` is called when it is."""
        ...

    def lost(self, lane: int) -> None:
        """The lane is another worker's already."""
        ...

    @property
    def held(self) -> set[int]:
        """The lanes that the worker believes to own."""
        ...


class Group:
    """Spreads the lanes over its members."""

    def __init__(self, schedule: Schedule, rng: random.Random, faults: Faults, lane_count: int) -> None:
        self.owners: dict[int, Member | None] = dict.fromkeys(range(lane_count))
        self.members: list[Member] = []
        self.tell: Callable[[str], None] = lambda _: None
        self._schedule = schedule
        self._rng = rng
        self._faults = faults
        self._gone: list[Member] = []
        self._told_until_ms: dict[Host, int] = {}
        """A member hears of everything in the order in which it was sent."""

    def join(self, member: Member) -> None:
        if member not in self.members and not member.host.is_dead and member not in self._gone:
            self.members.append(member)
            self.rebalance()

    def quit(self, member: Member) -> None:
        """Leave for good."""
        self._gone.append(member)
        self.leave(member)

    def leave(self, member: Member) -> None:
        """Its lanes go to others at once, whether it knows or not."""
        if member in self.members:
            self.members.remove(member)
            self.rebalance()

    def expire(self, member: Member) -> None:
        """The member was silent too long: it hears of it when it wakes, and joins again."""
        if member not in self.members:
            return
        self.tell(f"the group has lost {member.host.name}")
        for lane, owner in self.owners.items():
            if owner is member:
                self._send(member, "Lost", partial(member.lost, lane))
        self._send(member, "Join", partial(self.join, member))
        self.leave(member)

    def rebalance(self) -> None:
        """Spread the lanes evenly, now and then over others than before."""
        if not self.members:
            self.owners = dict.fromkeys(self.owners)
            return
        members = list(self.members)
        self._rng.shuffle(members)
        for lane in self.owners:
            new, old = members[lane % len(members)], self.owners[lane]
            if new is not old:
                self._move(lane, old, new)

    def heal(self) -> None:
        """Let every member hear how things stand: each owner has its lanes, and nobody else has them."""
        for lane, owner in self.owners.items():
            for member in self.members:
                if member is owner and lane not in member.held:
                    self._send(member, "Assigned", partial(member.assigned, lane))
                elif member is not owner and lane in member.held:
                    self._send(member, "Lost", partial(member.lost, lane))

    def _move(self, lane: int, old: Member | None, new: Member) -> None:
        self.owners[lane] = new
        self.tell(f"lane {lane} goes from {old.host.name if old else 'nobody'} to {new.host.name}")
        if old is None or old not in self.members:
            self._give(lane, new)
        elif self._rng.random() < self._faults.abrupt:
            self._give(lane, new)
            self._send(old, "Lost", partial(old.lost, lane))
        else:
            given: list[bool] = []

            def give_once() -> None:
                if not given:
                    given.append(True)
                    self._give(lane, new)

            self._send(old, "Revoked", partial(old.revoked, lane, give_once))
            self._schedule.after(RELEASE_TIMEOUT_MS, give_once)

    def _give(self, lane: int, member: Member) -> None:
        if self.owners[lane] is member:
            self._send(member, "Assigned", partial(member.assigned, lane))

    def _send(self, member: Member, step: str, action: Callable[[], None]) -> None:
        is_late = self._rng.random() < self._faults.late
        delay_ms = self._rng.randint(1_000, 30_000) if is_late else self._rng.randint(1, 100)
        at_ms = max(self._schedule.now_ms + delay_ms, self._told_until_ms.get(member.host, 0))
        self._told_until_ms[member.host] = at_ms
        member.host.later(at_ms - self._schedule.now_ms, step, action)
