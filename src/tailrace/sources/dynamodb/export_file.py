"""An open data file of an export: whole and unchanged by its checksum, unpacked line by line."""

from __future__ import annotations

import gzip
import zlib
from typing import Final

from tailrace.aws.files import VerifiedFile
from tailrace.core.ports import ExportFile, ReadFailure, SpoiledExportError
from tailrace.errors import excerpt

LINE_BYTES_MAX: Final = 64 << 20
"""More than an item and what it was before have as JSON."""
_HINT: Final = "copy the file again, or export the table again"


class OpenFile:
    """The items of a file, in their order. For one thread at a time."""

    def __init__(self, file: ExportFile, uri: str, verified: VerifiedFile) -> None:
        """Compare the checksum. Raises SpoiledExportError; then the stream is closed."""
        self.at = 0
        """How many items are read."""
        self._file = file
        self._uri = uri
        self._stream = verified.stream
        if verified.md5 != file.md5:
            self.close()
            raise _spoiled(f"the data file {uri} does not match its checksum")
        self._unpacked = gzip.GzipFile(fileobj=self._stream)

    def seek(self, place: int) -> None:
        """Go to the item with this number, from the beginning of the file if it was passed."""
        if place < self.at:
            self._unpacked.seek(0)
            self.at = 0
        while self.at < place and self.next() is not None:
            pass

    def next(self) -> bytes | None:
        """Return the next line, without its end; None at the file's end. Raises SpoiledExportError."""
        line = b"\n"
        while line == b"\n":
            line = self._line()
        if not line and self.at < self._file.item_count:
            raise _spoiled(f"the data file {self._uri} has {self.at} items; its manifest says {self._file.item_count}")
        if line and self.at == self._file.item_count:
            raise _spoiled(f"the data file {self._uri} has more items than its manifest says, {self.at}")
        if not line:
            return None
        self.at += 1
        return line.rstrip(b"\r\n")

    def is_at_end(self) -> bool:
        """Return whether all items are read; raise SpoiledExportError when the file has more than it should."""
        return self.at == self._file.item_count and self.next() is None

    def close(self) -> None:
        """Close the file; a temporary one is deleted."""
        self._stream.close()

    def _line(self) -> bytes:
        try:
            line = self._unpacked.readline(LINE_BYTES_MAX)
        except (OSError, EOFError, zlib.error) as error:
            raise _spoiled(f"the data file {self._uri} cannot be unpacked: {excerpt(str(error))}") from error
        if len(line) == LINE_BYTES_MAX:
            raise _spoiled(f"item {self.at + 1} of the data file {self._uri} is larger than {LINE_BYTES_MAX >> 20} MiB")
        return line


def _spoiled(message: str) -> SpoiledExportError:
    return SpoiledExportError(message, ReadFailure.GONE, hint=_HINT)
