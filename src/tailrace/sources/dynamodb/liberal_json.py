"""JSON that strict parsers refuse as a whole: parsed so that one broken record spoils only itself."""

from __future__ import annotations

import json
from typing import Any


def loads(text: bytes) -> Any:
    """Parse JSON liberally; bytes that are not UTF-8 become half surrogate pairs, which msgspec refuses later."""
    return json.loads(text.decode(errors="surrogateescape"), strict=False)


def dumps(value: object) -> bytes:
    """Return compact JSON in ASCII; half surrogate pairs become escapes, which msgspec refuses."""
    return json.dumps(value, separators=(",", ":")).encode()
