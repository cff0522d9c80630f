"""What must hold of the records of the checkpoint topic, whoever looks at them: read as JSON, not by the product."""

from __future__ import annotations

from typing import Any


def broken_step(name: str, before: dict[str, Any] | None, after: dict[str, Any], *, has_ended: bool) -> str | None:
    """Return what is wrong with a shard's next checkpoint; None when it may follow."""
    if has_ended:
        return f"{name} goes on after its end"
    if before is not None and int(before["sequence"] or 0) > int(after["sequence"] or 0):
        return f"{name} steps back from {before['sequence']} to {after['sequence']}"
    return None
