"""The lines of an export's data files, decoded into rows; those of an incremental export may be deletes.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from tailrace.core.change import Change, Origin
from tailrace.core.ports import SourceRecord
from tailrace.errors import RecordError, excerpt
from tailrace.sources.dynamodb.rows import RowsOf, decode_item

_HINT: Final = "look at the line in the dead letters; if AWS has changed its shape, upgrade Tailrace"
_ABSENT: Final = msgspec.Raw()


class Line(msgspec.Struct, frozen=True, gc=False, rename="pascal"):
    """What a line holds, as DynamoDB JSON: an item, or the keys of one that has changed and how it was and is."""

    item: msgspec.Raw = _ABSENT
    keys: msgspec.Raw = _ABSENT
    old_image: msgspec.Raw = _ABSENT
    new_image: msgspec.Raw = _ABSENT


ParseLine = Callable[[bytes], Line]
"""Raises ValueError or RecursionError for what is no line of an export."""
parse_json: Final[ParseLine] = msgspec.json.Decoder(Line).decode


class LinesDecoder(Protocol):
    """Decodes lines of a full export in DynamoDB JSON. Safe to call from many threads at once."""

    def __call__(self, lines: Sequence[bytes], rows_of: RowsOf) -> list[SourceRecord]:
        """Return a row for each line, which is without its end; one that cannot be understood has an error instead."""
        ...


def decode_lines(lines: Sequence[bytes], rows_of: RowsOf) -> list[SourceRecord]:
    """Decode lines of a full export in DynamoDB JSON in pure Python, as a `LinesDecoder` does."""
    return [decode_line(line, parse_json, rows_of, incremental=False) for line in lines]


def decode_line(line: bytes, parse: ParseLine, rows_of: RowsOf, *, incremental: bool) -> SourceRecord:
    """Return the row, or the delete, of one line; one that cannot be understood has an error instead."""
    try:
        parsed = parse(line)
        image = _object(parsed.new_image if incremental else parsed.item)
        if image is not None:
            return decode_item(image, rows_of)
        keys = _object(parsed.keys)
        if not incremental or keys is None:
            raise ValueError("it has no Keys" if incremental else "it has no Item")  # noqa: TRY301 - one sentence
        return _delete(keys, _object(parsed.old_image), line, rows_of)
    except (ValueError, RecursionError) as error:
        table = rows_of.facts.table
        reason = f"a line of an export of table {table} cannot be understood: {excerpt(str(error))}"
        return SourceRecord(Origin(table, "", rows_of.read_ms, line), None, RecordError(reason, hint=_HINT))


def _delete(keys: bytes, before: bytes | None, line: bytes, rows_of: RowsOf) -> SourceRecord:
    facts = rows_of.facts
    change = Change(
        op="d",
        table=facts.table,
        keys=keys,
        before=before,
        after=None,
        created_ms=rows_of.read_ms,
        event_id="",
        sequence="",
        shard_id="",
        stream_arn=facts.arn,
        region=rows_of.region,
        view_type="NEW_AND_OLD_IMAGES" if before is not None else "NEW_IMAGE",
        snapshot=rows_of.mark,
    )
    return SourceRecord(Origin(facts.table, "", rows_of.read_ms, before or line), change)


def _object(raw: msgspec.Raw) -> bytes | None:
    """Return the bytes of a JSON object; None when there is none."""
    text = bytes(raw)
    if text[:1] == b"{" and text != b"{}":
        return text
    if text in {b"", b"null", b"{}"}:
        return None
    raise ValueError("an image is not a JSON object")
