"""The manifests of an export to S3: what was exported, as of when, and its data files with their checksums.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html
"""

from __future__ import annotations

import hashlib
import posixpath
from binascii import a2b_base64
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from tailrace.core.ports import ExportFacts, ExportFile
from tailrace.errors import WorldError, excerpt

SUMMARY_NAME: Final = "manifest-summary.json"
_VERSIONS: Final = {"2020-06-30", "2023-08-01"}
"""Of full exports, and of incremental ones."""
_ROOT: Final = "AWSDynamoDB/"
"""Begins the paths that DynamoDB writes, below the prefix that the user chose."""
_HINT_WHOLE: Final = "copy the whole export again, or export the table again"

Format = Literal["DYNAMODB_JSON", "ION"]


class Summary(msgspec.Struct, frozen=True, rename="camel"):
    """`manifest-summary.json`."""

    table_arn: str
    manifest_files_s3_key: str
    item_count: Annotated[int, Meta(ge=0)]
    output_format: Format
    export_type: Literal["FULL_EXPORT", "INCREMENTAL_EXPORT"] = "FULL_EXPORT"
    """Only incremental exports say."""
    export_time: datetime | None = None
    export_from_time: datetime | None = None
    export_to_time: datetime | None = None


class _Version(msgspec.Struct, frozen=True):
    version: str


class _File(msgspec.Struct, frozen=True, rename="camel"):
    """A line of `manifest-files.json`."""

    item_count: Annotated[int, Meta(ge=0)]
    md5_checksum: str
    data_file_s3_key: str


def read_summary(content: bytes, name: str) -> Summary:
    """Parse the summary; `name` is how errors call the file. Raises WorldError."""
    try:
        version = msgspec.json.decode(content, type=_Version).version
        if version not in _VERSIONS:
            raise WorldError(
                f"{name} has version {excerpt(version)}, which is not known here",
                hint=f"known are {' and '.join(sorted(_VERSIONS))}: upgrade Tailrace",
            )
        summary = msgspec.json.decode(content, type=Summary)
    except ValueError as error:
        raise WorldError(f"{name} is not the summary of an export: {excerpt(str(error))}", hint=_HINT_WHOLE) from error
    times = (
        (summary.export_time,)
        if summary.export_type == "FULL_EXPORT"
        else (summary.export_from_time, summary.export_to_time)
    )
    if None in times:
        raise WorldError(f"{name} does not say as of when the export holds the table", hint=_HINT_WHOLE)
    return summary


def read_files(content: bytes, summary: Summary, folder: str, name: str) -> tuple[ExportFile, ...]:
    """Parse the files manifest; the paths of the files are resolved in `folder`, that of the manifests.

    Raises WorldError, also when the files do not have as many items as the summary says.
    """
    manifest_folder = posixpath.dirname(_below_root(summary.manifest_files_s3_key))
    files = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = msgspec.json.decode(line, type=_File)
            md5 = a2b_base64(entry.md5_checksum, strict_mode=True)
        except ValueError as error:
            raise WorldError(f"{name}:{number} is no data file: {excerpt(str(error))}", hint=_HINT_WHOLE) from error
        relative = posixpath.relpath(_below_root(entry.data_file_s3_key), manifest_folder or ".")
        path = posixpath.normpath(posixpath.join(folder, relative))
        files.append(ExportFile(posixpath.basename(path), path, entry.item_count, md5))
    listed = sum(each.item_count for each in files)
    if listed != summary.item_count:
        raise WorldError(
            f"the files of {name} have {listed} items, and the export has {summary.item_count}", hint=_HINT_WHOLE
        )
    return tuple(files)


def check_digest(content: bytes, told: bytes, name: str) -> None:
    """Compare a manifest with the checksum beside it: an MD5 as base64 or hexadecimal digits. Raises WorldError."""
    digest = hashlib.md5(content, usedforsecurity=False)
    text = told.decode(errors="replace").strip().strip('"')
    try:
        is_right = text.lower() == digest.hexdigest() or a2b_base64(text, strict_mode=True) == digest.digest()
    except ValueError:
        is_right = False
    if not is_right:
        raise WorldError(f"{name} does not match its checksum", hint=_HINT_WHOLE)


def facts_of(location: str, summary: Summary, files: tuple[ExportFile, ...]) -> ExportFacts:
    """Return what an export is."""
    until, since = summary.export_time, None
    if summary.export_type == "INCREMENTAL_EXPORT":
        until, since = summary.export_to_time, summary.export_from_time
    assert until is not None  # read_summary checked
    return ExportFacts(
        location=location,
        table_arn=summary.table_arn,
        exported_ms=_milliseconds(until),
        from_ms=_milliseconds(since) if since is not None else None,
        item_count=summary.item_count,
        size_bytes=sum(each.size_bytes for each in files),
        files=files,
    )


def _below_root(key: str) -> str:
    """Return a key without the user's prefix, which some manifests leave out."""
    return key[max(0, key.rfind(_ROOT)) :]


def _milliseconds(moment: datetime) -> int:
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
