"""Tables for people: on the terminal, and in docs/performance.md with a plot, the numbers beside it as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks.lab import Cell, Table
from benchmarks.measure import machine
from benchmarks.plot import bars
from tailrace import __version__

DOCS: Final = Path(__file__).parents[1] / "docs"
_PAGE: Final = DOCS / "performance.md"
_NUMBERS: Final = DOCS / "performance.json"
_PLOT: Final = DOCS / "performance.svg"


def text(table: Table) -> str:
    """Return a table for the terminal."""
    rows = [table.columns, *([_shown(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    lines = ["  ".join(_aligned(cell, width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([table.title, "-" * len(table.title), *lines, *table.notes])


def keep(name: str, table: Table) -> None:
    """Write one part's numbers into docs/performance.json, and with them the page's table and the plot again."""
    kept = json.loads(_NUMBERS.read_text()) if _NUMBERS.exists() else {}
    kept[name] = {"machine": machine(), "version": __version__, **asdict(table)}
    _NUMBERS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    page = _PAGE.read_text()
    for part, numbers in kept.items():
        begin, end = f"<!-- bench:{part} -->\n", f"<!-- end:{part} -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}{_markdown(numbers)}\n{end}{after}"
    _PAGE.write_text(page)
    _PLOT.write_text(bars(kept))


def _markdown(numbers: dict[str, Any]) -> str:
    columns: list[str] = numbers["columns"]
    rows: list[list[Cell]] = numbers["rows"]
    is_number = [all(isinstance(row[column], int | float) for row in rows) for column in range(len(columns))]
    lines = [_row(columns), _row(["---:" if right else "---" for right in is_number])]
    lines += [_row([_shown(cell) for cell in row]) for row in rows]
    return "\n".join(
        [f"**{numbers['title']}**", "", *lines, "", *numbers["notes"], f"Measured on {numbers['machine']}."]
    )


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(cell: Cell) -> str:
    return f"{cell:,}" if isinstance(cell, int | float) else cell


def _aligned(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)
