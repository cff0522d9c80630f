"""What the worker tells of itself while it works."""

from __future__ import annotations

from typing import Protocol

from tailrace.core.lane_messages import Notice, Read, Transaction
from tailrace.core.page import Page
from tailrace.core.ports import ReadFailure


class Observer(Protocol):
    """Hears of what happens. Called from several threads; must neither block nor raise."""

    def assigned(self, lanes: list[int]) -> None:
        """Take note that the worker now has these lanes."""
        ...

    def client_replaced(self, client: str) -> None:
        """Count a Kafka client (`follower` or `member`) that had stopped and was replaced."""
        ...

    def page_read(self, read: Read, page: Page, seconds: float) -> None:
        """Record a page that was read and converted."""
        ...

    def read_failed(self, read: Read, failure: ReadFailure, seconds: float) -> None:
        """Record a read that failed."""
        ...

    def committed(self, transaction: Transaction, seconds: float, now_ms: int) -> None:
        """Record a committed transaction."""
        ...

    def notice(self, lane: int, notice: Notice) -> None:
        """Take a lane's notice to the operator."""
        ...
