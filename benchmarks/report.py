"""Tables for people: on the terminal, and in docs/performance.md with a plot and the numbers as JSON."""

from __future__ import annotations

from benchmarks.lab import Cell, Table


def text(table: Table) -> str:
    """Give a table for the terminal."""
    rows = [table.columns, *([_shown(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    lines = ["  ".join(_aligned(cell, width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([table.title, "-" * len(table.title), *lines, *table.notes])


def _shown(cell: Cell) -> str:
    return f"{cell:,}" if isinstance(cell, int | float) else cell


def _aligned(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)


def keep(name: str, table: Table) -> None:
    raise NotImplementedError
