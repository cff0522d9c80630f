"""Play chaos: `python -m chaos --seed 7 --changes 1000000 --kills 200`, `python -m chaos --seed 7 --minutes 5`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from chaos import mutated_worker
from chaos.outcome import Options
from chaos.run import Run, steps_of
from chaos.schedule import SourceKind, source_of

RATE = 450.0
"""Changes a second when their number is not given."""
KILL_EVERY_S = 11.0
"""Time between two kills when their number is not given: enough for a take-over and for the new owner to publish."""
LENGTH_S = 300.0
"""How long faults go on when nothing is said."""
_LINE_EVERY_S = 15.0
_LIVE_EVERY_S = 0.5


def main() -> int:
    """Run, and say what came of it: 0 when every promise was kept, 1 when not, 130 when it was stopped early."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000, help="draws the schedule and changes")
    parser.add_argument("--source", type=SourceKind, choices=list(SourceKind), help="what is read; else the seed says")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="how long faults go on; else what changes and kills need")
    length.add_argument("--hours", type=float)
    parser.add_argument("--changes", type=int, help=f"changes to write; else {RATE:.0f} a second")
    parser.add_argument("--kills", type=int, help=f"SIGKILLs of workers; else one every {KILL_EVERY_S:.0f} s")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--mutation", choices=mutated_worker.NAMES, metavar="NAME", help="a defect of the workers")
    parser.add_argument("--schedule", action="store_true", help="print the schedule, and do nothing")
    parser.add_argument("--trace", action="store_true", help="print each fault as it comes")
    parser.add_argument("--json", action="store_true", help="print the verdict as one JSON object")
    parser.add_argument("--keep", action="store_true", help="leave logs and data where they are, though all is well")
    told = parser.parse_args()
    options = _options(told)
    if told.schedule:
        print("\n".join(map(str, steps_of(options))))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="tailrace-chaos-"))
    screen = _Screen(trace=told.trace)
    screen.event(f"seed {options.seed}, {options.source}, {options.seconds / 60:.1f} min, logs in {folder}")
    (folder / "schedule.txt").write_text("\n".join(map(str, steps_of(options))) + "\n")
    outcome = Run(options, folder, event=screen.step, progress=screen.progress).play()
    screen.end()
    print(json.dumps(outcome.json()) if told.json else "\n".join(outcome.lines()))
    if told.keep or not outcome.good:
        screen.event(f"logs: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if not outcome.good else 130 if outcome.interrupted else 0


def _options(told: argparse.Namespace) -> Options:
    seconds = (told.minutes or 0) * 60 + (told.hours or 0) * 3600
    if not seconds:
        seconds = max((told.changes or 0) / RATE, (told.kills or 0) * KILL_EVERY_S) or LENGTH_S
    changes = told.changes if told.changes is not None else round(seconds * RATE)
    kills = told.kills if told.kills is not None else max(1, round(seconds / KILL_EVERY_S))
    source = told.source or source_of(told.seed)
    return Options(told.seed, changes, kills, seconds, told.workers, told.items, source, told.mutation)


class _Screen:
    """Shows progress on stderr: one line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self, *, trace: bool) -> None:
        self._live = sys.stderr.isatty()
        self._trace = trace
        self._shown_s = 0.0

    def event(self, text: str) -> None:
        self.end()
        print(text, file=sys.stderr, flush=True)

    def step(self, text: str) -> None:
        if self._trace:
            self.event(text)

    def progress(self, text: str) -> None:
        now_s = time.monotonic()
        if now_s - self._shown_s >= (_LIVE_EVERY_S if self._live else _LINE_EVERY_S):
            self._shown_s = now_s
            print(
                f"\r\x1b[K{text}" if self._live else text, end="" if self._live else "\n", file=sys.stderr, flush=True
            )

    def end(self) -> None:
        """Clear the line that changes."""
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
