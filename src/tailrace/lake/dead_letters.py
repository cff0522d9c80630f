"""Records that make no row of a lake, set aside in the topic of dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tailrace.kafka import headers
from tailrace.sinks.dead_letters import SinkDeadLetters

if TYPE_CHECKING:
    from tailrace.lake.columns import Refused


class LakeDeadLetters(SinkDeadLetters):
    """For one thread."""

    def __init__(
        self, user: Mapping[str, str], topic: str, client_id: str, lake: str, *, beside_log: bool = False
    ) -> None:
        """`lake` is the name of the lake that cannot have them.

        With `beside_log` the sink of its change logs sets aside what no table takes.
        """
        super().__init__(user, topic, client_id, {headers.CONNECTOR_CLASS: "tailrace-lake", headers.LAKE: lake})
        self._beside_log = beside_log

    def add(self, refused: Sequence[Refused]) -> None:
        """Set records aside."""
        for each in refused:
            if not self._beside_log or each.is_by_table:
                self.set_aside(each.message, each.error)
