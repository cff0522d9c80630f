"""Tokens that clients hand back and do not look into: a struct as text, with a checksum."""

from __future__ import annotations

import zlib
from base64 import b64encode
from binascii import Error, a2b_base64
from typing import TypeVar

import msgspec

_Token = TypeVar("_Token", bound=msgspec.Struct)


def seal(token: msgspec.Struct) -> str:
    """Return a token as text."""
    inside = msgspec.json.encode(token)
    return b64encode(inside + zlib.crc32(inside).to_bytes(4, "big")).decode()


def unseal(text: str, kind: type[_Token]) -> _Token | None:
    """Take a token's text apart; return None for text that `seal` did not make."""
    try:
        sealed = a2b_base64(text.encode("ascii"), strict_mode=True)
        inside, checksum = sealed[:-4], sealed[-4:]
        if zlib.crc32(inside).to_bytes(4, "big") == checksum:
            return msgspec.json.decode(inside, type=kind)
    except (Error, UnicodeEncodeError, msgspec.DecodeError):
        pass
    return None
