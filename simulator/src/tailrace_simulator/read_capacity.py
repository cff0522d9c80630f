"""A table's read capacity: reads that spend it faster than it comes in are throttled. Pure.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/burst-adaptive-capacity.html
"""

from __future__ import annotations

from tailrace_simulator.attribute_values import Item, item_size
from tailrace_simulator.aws_error import AwsError
from tailrace_simulator.settings import Settings

_UNIT_BYTES = 4096


class ReadCapacity:
    """What may be read at once: the units of the last seconds that nobody used.

    A read is answered while any unit is left, and may spend more than there are: the next ones wait until that is
    paid back.
    """

    def __init__(self, settings: Settings, units_per_second: int, now_ms: int) -> None:
        """`units_per_second` is what was provisioned; 0: the table pays per request, without bounds."""
        self.units_per_second = units_per_second
        self._settings = settings
        self._left = units_per_second * settings.read_burst_s
        self._at_ms = now_ms

    def has_any(self, now_ms: int) -> bool:
        """Return whether a read would be answered."""
        if self.units_per_second == 0:
            return True
        came_in = max(0, now_ms - self._at_ms) / 1000 * self.units_per_second
        self._at_ms = max(now_ms, self._at_ms)
        self._left = min(self._left + came_in, self.units_per_second * self._settings.read_burst_s)
        return self._left > 0

    def check(self, now_ms: int) -> None:
        """Raise `AwsError` when a read would be throttled."""
        if not self.has_any(now_ms):
            raise exceeded()

    def spend(self, units: float) -> None:
        """Take what a read has used."""
        self._left -= units


def exceeded() -> AwsError:
    """Return the error of a read that was throttled."""
    return AwsError(
        "ProvisionedThroughputExceededException",
        "The level of configured provisioned throughput for the table was exceeded. Consider increasing your "
        "provisioning level with the UpdateTable API.",
    )


def units_of(items: list[Item], *, consistent: bool) -> float:
    """Return what one page of items costs; of one item, or of none, what reading it costs."""
    size = sum(map(item_size, items))
    return max(1, -(-size // _UNIT_BYTES)) * (1.0 if consistent else 0.5)
