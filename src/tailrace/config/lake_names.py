"""What tables are called in an Iceberg catalog, where a point in a name would separate namespaces."""

from __future__ import annotations

from collections.abc import Iterable


def iceberg_name(table: str) -> str:
    """Return what the tables of a table are called, before `_changes` or `_current`."""
    return table.replace(".", "_")


def shared_name(tables: Iterable[str]) -> str | None:
    """Return a sentence about two of the tables that would be one in a catalog; None when each has its own."""
    owners: dict[str, str] = {}
    for table in sorted(set(tables)):
        if (other := owners.setdefault(iceberg_name(table), table)) != table:
            return f"{other} and {table} would both be {iceberg_name(table)} in the Iceberg catalog"
    return None


APART = "let a pipeline of its own carry one of them"
"""What to do about it."""
