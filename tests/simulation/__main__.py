"""Play histories: `python -m simulation --seed 7 --trace`, `python -m simulation --seeds 0..999`."""

from __future__ import annotations

import argparse
import sys

from simulation.runs import play, play_all


def main() -> int:
    """Return what the seeds give; 1 when one breaks a promise."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="play one history")
    which.add_argument("--seeds", metavar="A..B", help="play many, B included")
    parser.add_argument("--trace", action="store_true", help="print what happens, line by line")
    parser.add_argument("--mutation", help="plant a fault of simulation.mutations")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if options.seed is not None:
        result = play(options.seed, print if options.trace else None, mutation=options.mutation)
        print(result.broken or f"seed {options.seed} keeps every promise: {result.published} changes published")
        return int(result.broken is not None)
    first, _, last = options.seeds.partition("..")
    summary = play_all(range(int(first), int(last or first) + 1), options.processes, mutation=options.mutation)
    print("\n".join(summary.lines()))
    return int(bool(summary.broken))


if __name__ == "__main__":
    sys.exit(main())
