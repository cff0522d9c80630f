"""Exports of tables to S3, full and incremental, read from the bucket or from a folder they were copied to.

Sources: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.HowItWorks.html
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Final

import msgspec

from tailrace.aws.files import Files, open_location
from tailrace.aws.session import AwsSession
from tailrace.core.change import SnapshotMark
from tailrace.core.ports import (
    ExportFacts,
    ExportFile,
    ExportReader,
    ReadFailure,
    Rows,
    SpoiledExportError,
    TableFacts,
)
from tailrace.errors import WorldError
from tailrace.extras import brought_by
from tailrace.sources.dynamodb.export_file import OpenFile
from tailrace.sources.dynamodb.export_lines import LinesDecoder, ParseLine, decode_line, decode_lines, parse_json
from tailrace.sources.dynamodb.export_location import find_export
from tailrace.sources.dynamodb.export_manifest import (
    SUMMARY_NAME,
    Format,
    check_digest,
    facts_of,
    read_files,
    read_summary,
)
from tailrace.sources.dynamodb.rows import RowsOf

_MANIFEST_BYTES_MAX: Final = 256 << 20
"""Some 300 bytes a data file: a million of them."""
_CHECKSUM_BYTES_MAX: Final = 1 << 10
_CHECKSUM_ENDINGS: Final = ("checksum", "md5")
"""AWS's documentation names the first; exports have had the second."""
_OPEN_MAX: Final = 64
"""Files that are kept open between two reads; one more closes the least recently read, which costs its checksum."""


class Export(ExportReader):
    """One export. Safe for many threads, each at another file."""

    def __init__(
        self, location: str, session: AwsSession | None = None, *, decode: LinesDecoder = decode_lines
    ) -> None:
        """Find the export, and read nothing of it yet.

        `location` is `s3://bucket/prefix` or a folder: the one with the manifests, or one above it that holds no other
        export. `session` is needed for S3 alone. Raises WorldError, ReadError.
        """
        self._files, folder = open_location(location, session)
        self._folder = find_export(self._files, folder)
        self._decode = decode
        self._lock = Lock()
        self._described: tuple[ExportFacts, ParseLine] | None = None
        self._by_name: dict[str, ExportFile] = {}
        self._open: OrderedDict[str, OpenFile] = OrderedDict()
        self._is_closed = False

    def describe(self) -> ExportFacts:
        """Return what the export is; the manifests are read and verified once. Raises WorldError, ReadError."""
        return self._describe()[0]

    def read(
        self, facts: TableFacts, file: str, cursor: str | None, *, mark: SnapshotMark, limit_bytes: int = 1 << 20
    ) -> Rows:
        """Read the next rows of a data file. Raises ReadError, SpoiledExportError; WorldError for the manifests."""
        export, parse = self._describe()
        if export.table_arn != facts.arn:
            raise SpoiledExportError(
                f"the export {export.location} is of the table {export.table_arn}, not of {facts.arn}",
                ReadFailure.GONE,
            )
        opened = self._take(file)
        try:
            opened.seek(int(cursor or 0))
            rows_of = RowsOf(facts, mark, export.exported_ms)
            lines: list[bytes] = []
            size_bytes = 0
            while size_bytes < limit_bytes and (line := opened.next()) is not None:
                size_bytes += len(line)
                lines.append(line)
            is_done = opened.is_at_end()
        except BaseException:
            opened.close()
            raise
        if is_done:
            opened.close()
        else:
            self._keep(file, opened)
        if parse is parse_json and export.from_ms is None:
            records = self._decode(lines, rows_of)
        else:
            records = [decode_line(line, parse, rows_of, incremental=export.from_ms is not None) for line in lines]
        return Rows(records, None if is_done else str(opened.at), size_bytes, read_units=0.0)

    def close(self) -> None:
        """Close the files that are open; one that is being read is closed after that."""
        with self._lock:
            self._is_closed = True
            for opened in self._open.values():
                opened.close()
            self._open.clear()

    def _describe(self) -> tuple[ExportFacts, ParseLine]:
        with self._lock:
            if self._described is None:
                content, name = self._manifest(SUMMARY_NAME)
                summary = read_summary(content, name)
                content, name = self._manifest(summary.manifest_files_s3_key.rsplit("/", 1)[-1])
                files = read_files(content, summary, self._folder, name)
                files = _with_sizes(self._files, files)
                self._by_name = {each.name: each for each in files}
                export = facts_of(self._files.uri(self._folder), summary, files)
                self._described = export, _parser(summary.output_format)
            return self._described

    def _manifest(self, name: str) -> tuple[bytes, str]:
        """Return a manifest, whose checksum is verified if it is there, and how people name it."""
        path = f"{self._folder}/{name}"
        content = self._files.read(path, _MANIFEST_BYTES_MAX)
        beside = self._files.list(self._folder).sizes
        for ending in _CHECKSUM_ENDINGS:
            checksum = f"{path.removesuffix('.json')}.{ending}"
            if checksum in beside:
                check_digest(content, self._files.read(checksum, _CHECKSUM_BYTES_MAX), self._files.uri(path))
        return content, self._files.uri(path)

    def _take(self, name: str) -> OpenFile:
        """Take the file from those that are open, or open and verify it."""
        with self._lock:
            opened = self._open.pop(name, None)
            file = self._by_name.get(name)
        if opened is not None:
            return opened
        if file is None:
            raise SpoiledExportError(
                f"the export {self._files.uri(self._folder)} has no data file {name}", ReadFailure.GONE
            )
        return OpenFile(file, self._files.uri(file.path), self._files.take(file.path))

    def _keep(self, name: str, opened: OpenFile) -> None:
        with self._lock:
            if self._is_closed:
                opened.close()
                return
            self._open[name] = opened
            if len(self._open) > _OPEN_MAX:
                self._open.popitem(last=False)[1].close()


def _with_sizes(files: Files, listed: tuple[ExportFile, ...]) -> tuple[ExportFile, ...]:
    """Return the files with their sizes. Raises WorldError when one is missing."""
    sizes: dict[str, int] = {}
    for folder in {each.path.rsplit("/", 1)[0] for each in listed}:
        sizes.update(files.list(folder).sizes)
    for each in listed:
        if each.path not in sizes:
            raise WorldError(
                f"the data file {files.uri(each.path)} is missing",
                hint="copy the whole export; the data of an incremental one is in AWSDynamoDB/data, beside its folder",
            )
    return tuple(msgspec.structs.replace(each, size_bytes=sizes[each.path]) for each in listed)


def _parser(output_format: Format) -> ParseLine:
    if output_format == "DYNAMODB_JSON":
        return parse_json
    with brought_by("export-ion"):
        from tailrace.sources.dynamodb.export_ion import parse_ion  # noqa: PLC0415 - an optional package
    return parse_ion
