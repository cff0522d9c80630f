"""Names that no other test uses, so that tests can share a broker and a DynamoDB Local."""

from __future__ import annotations

import uuid


def unique(prefix: str) -> str:
    """`orders` gives `orders-1f0c9a6e`."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"
