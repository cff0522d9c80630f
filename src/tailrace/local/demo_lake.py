"""The lake of the demo: written by `tailrace lake`, compared with the topics by DuckDB, and asked about the orders."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow  # noqa: F401 - what DuckDB answers is read with it

from tailrace.errors import WorldError
from tailrace.local.checker import FoundChange
from tailrace.local.service import start_watched
from tailrace.process.children import Watchdog

_TIMEOUT_S = 120.0

_QUERY = """\
-- The orders as they are now, by status: the last change of each, without those that were deleted.
SELECT coalesce(status, 'none') AS status, count(*) AS orders, max(__ts) AS last_change
FROM (
    FROM read_parquet('{folder}/orders/**/*.parquet', union_by_name = true)
    QUALIFY row_number() OVER (PARTITION BY id ORDER BY __offset DESC) = 1
)
WHERE __op <> 'd'
GROUP BY ALL
ORDER BY orders DESC, status;
"""
_PLACES = """\
SELECT __topic, __partition, __offset, __op FROM read_parquet('{folder}/**/*.parquet', union_by_name = true)
"""

_Place = tuple[str, int, int, str]


@dataclass(frozen=True)
class LakeVerdict:
    """What the comparison of the lake with the topics gave."""

    rows: int
    lost: int
    """Records of the topics that the lake does not have, tombstones not counted."""
    repeated: int
    unexpected: int
    """Rows of which the topics know nothing."""

    @property
    def good(self) -> bool:
        """Whether the lake has each record once, and nothing else."""
        return not (self.lost or self.repeated or self.unexpected)


@dataclass(frozen=True)
class LakeResult:
    """What became of the lake."""

    folder: Path
    query_file: Path
    query: str
    answer: str
    """A table, as DuckDB shows it."""
    verdict: LakeVerdict


class DemoLake:
    """A new folder for a lake; a lake that was written stays there."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tailrace-demo-lake-"))
        self._is_written = False

    @property
    def section(self) -> str:
        """What the pipeline file says of it."""
        return f"lake:\n  location: {self.folder.as_uri()}\n"

    def close(self) -> None:
        """Remove the folder, unless it has a lake."""
        if not self._is_written:
            shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, pipeline_file: Path) -> None:
        """Write all that the topics hold. Raises WorldError."""
        beside = pipeline_file.parent
        log_path = beside / "lake.log"
        with ExitStack() as ending:
            process = start_watched(
                [sys.executable, "-m", "tailrace", "lake", str(pipeline_file), "--once"],
                cwd=beside,
                log_path=log_path,
                environment={**os.environ, "TMPDIR": str(beside)},
            )
            ending.callback(Watchdog.forget, process.pid)
            ending.callback(process.wait)
            ending.callback(process.kill)
            try:
                code = process.wait(_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                raise WorldError(
                    f"the lake was not written within {_TIMEOUT_S:.0f} s", hint=f"see {log_path}"
                ) from None
        if code:
            raise WorldError(f"tailrace lake ended with exit code {code}", hint=f"see {log_path}")
        self._is_written = True

    def result(self, found: Iterable[FoundChange]) -> LakeResult:
        """Compare the lake with the records that were found in the topics, and ask it about the orders."""
        quoted = str(self.folder).replace("'", "''")
        query, query_file = _QUERY.format(folder=quoted), self.folder / "orders.sql"
        query_file.write_text(query)
        with duckdb.connect() as connection:
            places = connection.sql(_PLACES.format(folder=quoted)).to_arrow_table()
            answer = str(connection.sql(query))
        expected = ((each.topic, each.partition, each.offset, each.op) for each in found if each.op != "tombstone")
        return LakeResult(self.folder, query_file, query, answer, compare(expected, _rows(places)))


def compare(expected: Iterable[_Place], rows: Iterable[_Place]) -> LakeVerdict:
    """Compare the records of the topics with the rows of a lake: where each is, and its op."""
    wanted, held = set(expected), Counter(rows)
    return LakeVerdict(
        rows=held.total(),
        lost=len(wanted - held.keys()),
        repeated=held.total() - len(held),
        unexpected=len(held.keys() - wanted),
    )


def _rows(table: Any) -> Iterable[_Place]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True)
