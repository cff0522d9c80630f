"""Play histories: `python -m simulation --seed 7 --trace`, `python -m simulation --seeds 0..999`."""

from __future__ import annotations

import argparse
import sys

from simulation.runs import play, play_all
from simulation.source import KINDS


def main() -> int:
    """Return what the seeds give; 1 when one breaks a promise."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="play one history")
    which.add_argument("--seeds", metavar="A..B", help="play many, B included")
    parser.add_argument("--source", choices=KINDS, help="of one model source; without it of each")
    parser.add_argument("--trace", action="store_true", help="print what happens, line by line")
    parser.add_argument("--mutation", help="plant a fault of simulation.mutations")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    kinds = [options.source] if options.source else list(KINDS)
    is_broken = False
    for kind in kinds:
        if options.seed is not None:
            result = play(options.seed, print if options.trace else None, kind=kind, mutation=options.mutation)
            kept = f"seed {options.seed} keeps every promise of {kind}: {result.published} changes published"
            print(result.broken or kept)
            is_broken |= result.broken is not None
        else:
            first, _, last = options.seeds.partition("..")
            seeds = range(int(first), int(last or first) + 1)
            summary = play_all(seeds, options.processes, kind=kind, mutation=options.mutation)
            print(f"source {kind}", *summary.lines(), sep="\n")
            is_broken |= bool(summary.broken)
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())
