"""What all writers of a table agree on: the types of its columns, before the first file that has them.

    _tailrace/types/orders/00000000000000000001.arrow    the columns at first
    _tailrace/types/orders/00000000000000000002.arrow    and with an attribute that came later

Readers put the files of all writers together, and would round or lose values where two made of the same attribute what
does not go together. So whoever has wider columns adds a version first, which is created only where there is none, and
writes as the newest one says: of two that differ, the later takes over what the earlier has.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from tailrace.errors import WorldError
from tailrace.lake.columns import unite
from tailrace.lake.location import OWN, Location, last_name


def _united(newest: pa.Schema, schema: pa.Schema) -> pa.Schema:
    return unite([newest, schema])


class AgreedTypes:
    """The versions of the tables of one lake. Every method raises WorldError."""

    def __init__(
        self,
        location: Location,
        folder: str = "types",
        join: Callable[[pa.Schema, pa.Schema], pa.Schema] = _united,
    ) -> None:
        """`join` returns what is agreed on with the columns that another writer has. Nothing is asked yet."""
        self._location = location
        self._folder = f"{OWN}/{folder}"
        self._join = join
        self._newest: dict[str, tuple[str, pa.Schema]] = {}

    def newest(self, table: str) -> pa.Schema | None:
        """Return what is agreed on now; None when nothing is."""
        name, schema = self._newest.get(table, ("", None))
        found = last_name(self._location, f"{self._folder}/{table}", _number, _name, name)
        if found == name:
            return schema
        content = self._location.read(f"{self._folder}/{table}/{found}")
        try:
            schema = pa.ipc.read_schema(pa.py_buffer(content or b""))
        except (pa.ArrowException, OSError) as error:
            raise WorldError(
                f"{self._location.uri}/{self._folder}/{table}/{found} is not as it was written: {error}",
                hint="restore the file",
            ) from error
        self._newest[table] = found, schema
        return schema

    def agree(self, table: str, schema: pa.Schema) -> pa.Schema:
        """Return the columns to write a table with: all that any writer has until now, and those of `schema`.

        Nothing is asked of the location when `schema` is what was agreed on last.
        """
        name, newest = self._newest.get(table, ("", None))
        while newest is None or not newest.equals(schema):
            both = schema if newest is None else self._join(newest, schema)
            if newest is not None and both == newest:
                break
            added = _name(_number(name) + 1)
            if self._location.create(f"{self._folder}/{table}/{added}", both.serialize().to_pybytes()):
                self._newest[table] = added, both
            else:
                self.newest(table)
            name, newest = self._newest[table]
        return newest


def _number(name: str) -> int:
    return int(name.partition(".")[0] or 0)


def _name(number: int) -> str:
    return f"{number:020}.arrow"
