"""One line on stderr that says how far a command is; nothing where stderr is no terminal."""

from __future__ import annotations

import sys


def show_progress(text: str) -> None:
    """Show `text` in place of what was shown before; empty text wipes the line."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
