"""The names by which those who take lanes and shards are known."""

from __future__ import annotations

import os
import socket
import uuid


def new_owner() -> str:
    """Return a name for this worker that tells a person where it runs and is never used twice."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
