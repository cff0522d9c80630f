"""AWS's event stream: messages of headers and a payload in one long answer (vnd.amazon.eventstream).

Source: https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html#streaming-event-stream
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"
_STRING: Final = 7
_PRELUDE_BYTES: Final = 12
_CHECKSUM_BYTES: Final = 4


def message(kind: str, name: str, payload: bytes, content_type: str = "application/json") -> bytes:
    """Encode one message: `kind` is `event` or `exception`, `name` says which."""
    headers = b"".join(
        _header(header, value)
        for header, value in (
            (f":{kind}-type", name),
            (":content-type", content_type),
            (":message-type", kind),
        )
    )
    length = _PRELUDE_BYTES + len(headers) + len(payload) + _CHECKSUM_BYTES
    prelude = struct.pack(">II", length, len(headers))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    whole = prelude + headers + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def _header(name: str, value: str) -> bytes:
    text = value.encode()
    return bytes([len(name)]) + name.encode() + bytes([_STRING]) + struct.pack(">H", len(text)) + text
