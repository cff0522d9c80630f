"""Shows a command's progress on one line of stderr; nothing if stderr is not a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tailrace.cli.render import console

if TYPE_CHECKING:
    from rich.console import Console

    from tailrace.operations.progress import OnProgress, Step

_WORDS: dict[Step, str] = {
    "tables": "looked at {done} of {total} tables",
    "lanes": "moved {done} of {total} lanes",
    "producers": "fenced {done} of {total} producers",
    "dead-letters": "{done} of {total} dead letters",
    "messages": "{done} messages",
    "changes": "replayed {done} changes",
    "records": "{done} records",
    "items": "read {done} items, of about {total}",
    "keys": "looked again at {done} of {total} keys that differed",
    "shards": "read the end of {done} of {total} shards again",
    "repaired": "repaired {done} of {total} keys",
}


@contextmanager
def progress_shown() -> Iterator[OnProgress]:
    """Show on one line what an operation reports, and wipe the line in the end."""
    shown = console(stderr=True)
    try:
        yield lambda event: _show(shown, _WORDS[event.step].format(done=event.done, total=event.total))
    finally:
        _show(shown, "")


def _show(shown: Console, text: str) -> None:
    """Show `text` in place of what was shown before."""
    from rich.control import Control
    from rich.segment import ControlType
    from rich.text import Text

    if shown.is_terminal:
        shown.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
        shown.print(Text(text, no_wrap=True, overflow="ellipsis"), end="")
