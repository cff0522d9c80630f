"""A Parquet file under way on this machine: it grows by tables of one schema, and takes little memory."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

_COMPRESSION: Final = "zstd"


class ParquetFile:
    """One file. Every method raises OSError."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        """Begin a temporary file in `folder`."""
        self.rows = 0
        self.schema = schema
        self._finished_bytes: int | None = None
        self.path = folder / f"{uuid.uuid4().hex}.parquet"
        self._stream = pa.OSFile(str(self.path), "wb")
        self._writer = pq.ParquetWriter(self._stream, schema, compression=_COMPRESSION)

    @property
    def size_bytes(self) -> int:
        """What is written of it."""
        return int(self._stream.tell()) if self._finished_bytes is None else self._finished_bytes

    def append(self, table: pa.Table) -> None:
        """Add rows, as a row group."""
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self.rows += table.num_rows

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Make it whole; `metadata` is kept in it."""
        self._writer.add_key_value_metadata(dict(metadata))
        self.close()

    def close(self) -> None:
        """Make it whole without metadata, if it is not whole yet."""
        if self._finished_bytes is None:
            self._writer.close()
            self._finished_bytes = int(self._stream.tell())
            self._stream.close()

    def drop(self) -> None:
        """Remove it."""
        self.close()
        self.path.unlink(missing_ok=True)
