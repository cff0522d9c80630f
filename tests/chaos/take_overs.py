"""How long a lane is without an owner after its worker was killed. Safe to use from many threads."""

from __future__ import annotations

import json
import threading


class TakeOvers:
    """Told of each taking that is committed, and of each kill; times are monotonic seconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        """From the kill until another's taking of the lane was visible, for each lane of each killed worker."""
        self._owners: dict[int, int] = {}
        """The process id of each lane's owner, as last committed."""
        self._orphans: dict[int, tuple[int, float]] = {}
        """Lanes whose owner was killed, with its process id and when."""
        self._lock = threading.Lock()

    def claim(self, lane: int, record: bytes, at_s: float) -> None:
        """Note a `claim` record of a lane."""
        pid = int(json.loads(record)["owner"].split(":")[1])
        with self._lock:
            self._owners[lane] = pid
            orphaned = self._orphans.get(lane)
            if orphaned is not None and orphaned[0] != pid:
                del self._orphans[lane]
                self.seconds.append(at_s - orphaned[1])

    def killed(self, pid: int, at_s: float) -> None:
        """Note that a worker was killed."""
        with self._lock:
            for lane, owner in self._owners.items():
                if owner == pid:
                    self._orphans.setdefault(lane, (pid, at_s))
