"""The workers of a run: started, killed, frozen, stopped, set to another time, and watched."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from chaos import mutated_worker, resources
from support import clocked_worker
from tailrace.local.worker_process import STOP_TIMEOUT_S, WorkerProcess

SETTLED_S = 4.0
"""From this age on a worker has installed its signal handlers, also on a busy machine."""
_SLACK_S = 5.0
"""What a busy machine may add to the time in which a worker ends."""
_TESTS = str(Path(__file__).parents[1])


@dataclass(eq=False)
class Member:
    """One worker."""

    process: WorkerProcess
    clock_file: Path
    is_veteran: bool
    started_s: float
    is_frozen: bool = False
    stopping_s: float | None = None
    """When it was asked to end."""

    @property
    def is_settled(self) -> bool:
        """Whether it can be asked for something: it has begun, is awake and is not ending."""
        return not self.is_frozen and time.monotonic() - self.started_s >= SETTLED_S


class Crew:
    """Workers of one pipeline file, `size` of them; `troubles` is what they did that they must not. For one thread."""

    def __init__(self, pipeline_file: Path, folder: Path, size: int, *, mutation: str | None = None) -> None:
        """`mutation` names a defect of every worker."""
        self._size = size
        self._program = str(Path((clocked_worker if mutation is None else mutated_worker).__file__ or ""))
        self._environment = {} if mutation is None else {mutated_worker.MUTATION: mutation, "PYTHONPATH": _TESTS}
        self._extra: set[Member] = set()
        """Those that were started on top, for a while."""
        self.members: list[Member] = []
        """Those that run and were not asked to end."""
        self.started = 0
        self.gave_up = 0
        """Those that ended at their start with a sentence, as Kafka did not answer in time; others took their place."""
        self.troubles: list[str] = []
        self.samples: list[resources.Sample] = []
        """What the veteran, who is never killed, held."""
        self._ending: list[Member] = []
        self._pipeline_file = pipeline_file
        self._folder = folder

    def start(self, *, veteran: bool = False) -> Member:
        """Start a worker."""
        self.started += 1
        name = f"worker-{self.started}"
        clock_file = self._folder / f"{name}.clock"
        clock_file.write_text("0")
        process = WorkerProcess(
            name,
            self._pipeline_file,
            self._folder,
            program=("-P", self._program),
            environment={clocked_worker.SHIFT_FILE: str(clock_file), **self._environment},
        )
        member = Member(process, clock_file, veteran, time.monotonic())
        self.members.append(member)
        return member

    def start_extra(self) -> Member:
        """Start one on top of the crew's size: nobody takes its place when it ends."""
        member = self.start()
        self._extra.add(member)
        return member

    def fill(self) -> None:
        """Start as many as are missing."""
        while len(self.members) - len(self._extra.intersection(self.members)) < self._size:
            self.start(veteran=not any(member.is_veteran for member in self.members))

    def victims(self) -> list[Member]:
        """Return those that may be killed."""
        return [member for member in self.members if not member.is_veteran]

    def kill(self, member: Member) -> None:
        """End it with SIGKILL."""
        self.members.remove(member)
        member.process.kill()

    def stop(self, member: Member) -> None:
        """Ask it to end, with SIGTERM; `look` sees whether it does."""
        self.members.remove(member)
        member.stopping_s = time.monotonic()
        self._ending.append(member)
        member.process.terminate()

    def freeze(self, member: Member) -> None:
        """Hold it with SIGSTOP."""
        member.is_frozen = True
        member.process.freeze()

    def thaw(self, member: Member) -> None:
        """Let it go on, if it still runs."""
        if member.is_frozen and member in self.members:
            member.process.thaw()
        member.is_frozen = False

    def set_clock(self, member: Member, shift_s: float) -> None:
        """Shift its clock from the true time."""
        member.clock_file.write_text(f"{shift_s:.3f}")
        os.kill(member.process.pid, signal.SIGUSR1)

    def published(self, member: Member) -> int:
        """Return how many changes it has committed; 0 if it does not answer."""
        metrics = None if member.is_frozen else member.process.metrics()
        return metrics.published if metrics else 0

    def take_sample(self, at_s: float) -> None:
        """Note what the veteran holds now."""
        for member in self.members:
            if member.is_veteran and (found := resources.sample(member.process.pid, at_s)) is not None:
                self.samples.append(found)

    def look(self) -> None:
        """See who has ended; replace those that gave up, and take note of those that must not have ended."""
        for member in list(self.members):
            code = member.process.exit_code()
            if code is None:
                continue
            self.members.remove(member)
            member.process.kill()
            log = member.process.log_path.read_text(errors="replace")
            if code > 0 and "lanes assigned" not in log and not member.is_veteran:
                self.gave_up += 1
            else:
                name, end = member.process.name, member.process.log_end(3)
                self.troubles.append(f"{name} ended by itself with exit code {code}: {end}")
            self.fill()
        for member in list(self._ending):
            assert member.stopping_s is not None
            waited_s = time.monotonic() - member.stopping_s
            code = member.process.exit_code()
            if code is None and waited_s < STOP_TIMEOUT_S + _SLACK_S:
                continue
            self._ending.remove(member)
            member.process.kill()  # whether it has ended or not: nobody need look after it any more
            had_begun = member.process.log_path.stat().st_size > 0
            if code != 0 and (code != -signal.SIGTERM or had_begun):
                how = f"had not ended {waited_s:.0f} s" if code is None else f"ended with exit code {code}"
                self.troubles.append(f"{member.process.name} {how} after SIGTERM: {member.process.log_end(3)}")

    def stop_all(self) -> None:
        """Ask all to end, and return when they have."""
        for member in list(self.members):
            self.thaw(member)
            self.stop(member)
        while self._ending:
            self.look()
            time.sleep(0.1)

    def close(self) -> None:
        """Kill those that are left."""
        for member in [*self.members, *self._ending]:
            member.process.kill()

    def defects(self) -> list[str]:
        """Return the log lines that tell of defects: tracebacks, and what says that it is one."""
        return [
            f"{file.stem}: {line[:500]}"
            for file in sorted(self._folder.glob("worker-*.log"))
            for line in file.read_text(errors="replace").splitlines()
            if '"exception"' in line or "a defect of Tailrace" in line or line.startswith("Traceback")
        ]
