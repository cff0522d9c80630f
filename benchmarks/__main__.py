"""`python -m benchmarks`: run the parts, print their tables, and write them into docs/performance.md."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import report
from benchmarks.lab import KEYS, Lab, Table
from benchmarks.parts import (
    function,
    keys,
    kinesis,
    lake,
    page_to_commit,
    resources,
    rows,
    snapshot,
    transactions,
    worker,
)

PARTS: dict[str, Callable[[Lab], Table]] = {
    "page": page_to_commit.against_naive,
    "steps": page_to_commit.step_by_step,
    "sizes": page_to_commit.by_size,
    "formats": page_to_commit.by_format,
    "schema": page_to_commit.by_schema,
    "rows": rows.by_size,
    "snapshot-latency": snapshot.latency,
    "snapshot-workers": snapshot.workers,
    "kinesis": kinesis.by_size,
    "transactions": transactions.by_size,
    "compression": transactions.by_codec,
    "worker": worker.throughput,
    "latency": worker.latency,
    "catch-up": worker.catch_up,
    "start": resources.start,
    "memory": resources.memory,
    "kinesis-memory": resources.kinesis_memory,
    "idle": resources.idle,
    "keys": keys.memory,
    "lambda": function.batches,
    "lake": lake.to_parquet,
}


def say(text: str) -> None:
    """Print at once: a run takes minutes."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only show that everything runs; nothing is written")
    parser.add_argument("--only", default="", help=f"parts, with commas between: {', '.join(PARTS)}")
    parser.add_argument("--write", action="store_true", help="write the results into docs/performance.*")
    parser.add_argument("--keys", type=int, default=KEYS, help="keys that memory is measured at, and a tenth of them")
    options = parser.parse_args()
    chosen = [name for name in options.only.split(",") if name] or list(PARTS)
    if unknown := [name for name in chosen if name not in PARTS]:
        say(f"error: there is no part {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
        return 2
    logging.getLogger("tailrace.sources").setLevel(logging.ERROR)  # windows are small here, and say that they are full
    most_keys = 10_000 if options.quick else options.keys
    with (
        tempfile.TemporaryDirectory(prefix="tailrace-bench-") as folder,
        Lab(Path(folder), quick=options.quick, keys=most_keys) as lab,
    ):
        for name in chosen:
            started_s = time.monotonic()
            table = PARTS[name](lab)
            lab.delete_topics("bench-")
            say(f"{report.text(table)}\n({name}: {time.monotonic() - started_s:.0f} s)\n")
            if options.write:
                report.keep(name, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
