"""Writes exports to S3 as DynamoDB does: both kinds, both formats, with true checksums, into a folder.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html
"""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

Item = dict[str, dict[str, Any]]
Change = tuple[Item, Item | None, Item | None]
"""Keys, the old image, the new image."""

_SET_TYPES = {"SS": "$dynamodb_SS", "NS": "$dynamodb_NS", "BS": "$dynamodb_BS"}


def write_full_export(
    folder: Path,
    table_arn: str,
    files: Sequence[Sequence[Item]],
    *,
    exported_ms: int,
    output_format: Literal["DYNAMODB_JSON", "ION"] = "DYNAMODB_JSON",
    export_id: str = "01693685827463-2d8752fd",
    summary: dict[str, Any] | None = None,
) -> Path:
    """Write an export with these files of items; `summary` overrides fields. Return the folder of its manifests."""
    lines = [[full_line(item, output_format) for item in items] for items in files]
    told = {"version": "2020-06-30", "exportTime": _time(exported_ms), "outputFormat": output_format}
    return _write(folder, f"{export_id}/data", lines, {"tableArn": table_arn, **told, **(summary or {})}, export_id)


def write_incremental_export(
    folder: Path,
    table_arn: str,
    files: Sequence[Sequence[Change]],
    *,
    from_ms: int,
    exported_ms: int,
    output_format: Literal["DYNAMODB_JSON", "ION"] = "DYNAMODB_JSON",
    export_id: str = "01695097218000-d6299cbd",
    summary: dict[str, Any] | None = None,
) -> Path:
    """Write an incremental export: its data files lie beside its folder."""
    lines = [[incremental_line(change, exported_ms, output_format) for change in changes] for changes in files]
    told = {
        "version": "2023-08-01",
        "exportFromTime": _time(from_ms),
        "exportToTime": _time(exported_ms),
        "outputFormat": output_format,
        "outputView": "NEW_AND_OLD_IMAGES",
        "exportType": "INCREMENTAL_EXPORT",
    }
    return _write(folder, "data", lines, {"tableArn": table_arn, **told, **(summary or {})}, export_id)


def full_line(item: Item, output_format: str) -> str:
    if output_format == "ION":
        return f"$ion_1_0 {{Item:{_ion_struct(item)}}}"
    return json.dumps({"Item": item}, separators=(",", ":"), ensure_ascii=False)


def incremental_line(change: Change, written_ms: int, output_format: str) -> str:
    keys, old, new = change
    images = {"Keys": keys, "OldImage": old, "NewImage": new}
    there = {name: image for name, image in images.items() if image is not None}
    if output_format == "ION":
        parts = ",".join(f"{name}:{_ion_struct(image)}" for name, image in there.items())
        return f"$ion_1_0 {{Record:{{Metadata:{{WriteTimestampMicros:{written_ms}000.}},{parts}}}}}"
    metadata = {"WriteTimestampMicros": {"N": f"{written_ms}000"}}
    return json.dumps({"Metadata": metadata, **there}, separators=(",", ":"), ensure_ascii=False)


def _write(folder: Path, data: str, lines: list[list[str]], summary: dict[str, Any], export_id: str) -> Path:
    root = folder / "AWSDynamoDB"
    home = root / export_id
    home.mkdir(parents=True)
    (root / data).mkdir(parents=True, exist_ok=True)
    (home / "_started").touch()
    ending = "json" if summary["outputFormat"] == "DYNAMODB_JSON" else "ion"
    entries = []
    for number, each in enumerate(lines):
        content = gzip.compress("".join(f"{line}\n" for line in each).encode(), mtime=0)
        name = f"{hashlib.sha256(f'{export_id}{number}'.encode()).hexdigest()[:26]}.{ending}.gz"
        (root / data / name).write_bytes(content)
        md5 = hashlib.md5(content).digest()
        entry = {
            "itemCount": len(each),
            "md5Checksum": b64encode(md5).decode(),
            "etag": f"{hashlib.md5(md5).hexdigest()}-1",
            "dataFileS3Key": f"some-prefix/AWSDynamoDB/{data}/{name}",
        }
        entries.append(json.dumps(entry))
    whole = {
        "exportArn": f"{summary['tableArn']}/export/{export_id}",
        "tableId": "12345a12-abcd-123a-ab12-1234abc12345",
        "s3Bucket": "some-bucket",
        "s3Prefix": "some-prefix",
        "s3SseAlgorithm": "AES256",
        "s3SseKmsKeyId": None,
        "manifestFilesS3Key": f"some-prefix/AWSDynamoDB/{export_id}/manifest-files.json",
        "billedSizeBytes": 0,
        "itemCount": sum(map(len, lines)),
        **summary,
    }
    write_manifest(home / "manifest-files.json", "\n".join(entries))
    write_manifest(home / "manifest-summary.json", json.dumps(whole))
    return home


def write_manifest(path: Path, text: str) -> None:
    """Write a manifest and its checksum."""
    path.write_text(text)
    path.with_suffix(".checksum").write_text(b64encode(hashlib.md5(text.encode()).digest()).decode())


def _ion_struct(attributes: Item) -> str:
    return "{" + ",".join(f"{_ion_symbol(name)}:{_ion(typed)}" for name, typed in attributes.items()) + "}"


def _ion_symbol(name: str) -> str:
    is_identifier = name.isascii() and name.isidentifier() and name not in {"null", "true", "false", "nan"}
    return name if is_identifier else "'" + _escaped(name, "'") + "'"


def _escaped(text: str, quote: str) -> str:
    escapes = {"\\": "\\\\", quote: f"\\{quote}", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}
    return "".join(escapes.get(each, each if each.isprintable() else _code_point(each)) for each in text)


def _code_point(character: str) -> str:
    return f"\\U{ord(character):08x}" if ord(character) > 0xFFFF else f"\\u{ord(character):04x}"


def _ion(typed: dict[str, Any]) -> str:
    ((tag, value),) = typed.items()
    if tag in _SET_TYPES:
        return f"{_SET_TYPES[tag]}::[" + ",".join(_ion({tag[0]: member}) for member in value) + "]"
    return _ION_TEXTS[tag](value)


def _ion_decimal(text: str) -> str:
    """Write a number as DynamoDB does: `103.`, `6d2`, `1.5`."""
    sign, digits, exponent = Decimal(text).as_tuple()
    whole = "".join(map(str, digits))
    significant = whole.rstrip("0") or "0"
    power = int(exponent) + len(whole) - len(significant) if significant != "0" else 0
    minus = "-" if sign else ""
    if power == 0:
        return f"{minus}{significant}."
    if power > 0 or -power >= len(significant):
        return f"{minus}{significant}d{power}"
    return f"{minus}{significant[:power]}.{significant[power:]}"


_ION_TEXTS: dict[str, Callable[[Any], str]] = {
    "S": lambda value: '"' + _escaped(value, '"') + '"',
    "N": _ion_decimal,
    "B": lambda value: "{{" + value + "}}",
    "BOOL": lambda value: "true" if value else "false",
    "NULL": lambda _: "null",
    "M": _ion_struct,
    "L": lambda value: "[" + ",".join(map(_ion, value)) + "]",
}


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
