"""What the worker tells of itself while it works."""

from __future__ import annotations

from typing import Protocol

from tailrace.core.lane_messages import Notice, Read, Transaction
from tailrace.core.page import Page
from tailrace.core.ports import ReadFailure


class Observer(Protocol):
    """Hears of what happens. Called from several threads; must neither block nor raise."""

    def assigned(self, lanes: list[int]) -> None:
        """The lanes of this worker are now these."""
        ...

    def client_replaced(self, client: str) -> None:
        """A Kafka client (`follower` or `member`) had stopped, and a new one goes on in its place."""
        ...

    def page_read(self, read: Read, page: Page, seconds: float) -> None:
        """A page was read and converted."""
        ...

    def read_failed(self, read: Read, failure: ReadFailure, seconds: float) -> None:
        """A read failed."""
        ...

    def committed(self, transaction: Transaction, seconds: float, now_ms: int) -> None:
        """A transaction was committed."""
        ...

    def notice(self, lane: int, notice: Notice) -> None:
        """A lane has something to tell."""
        ...
