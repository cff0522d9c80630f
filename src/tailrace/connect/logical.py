"""Connect's logical types: times as numbers, decimals as bytes.

Source: https://kafka.apache.org/41/javadoc/org/apache/kafka/connect/data/package-summary.html
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, Inexact
from typing import Final

from tailrace.connect.errors import DataError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT: Final = Context(prec=200, traps=[Inexact])


def milliseconds(moment: datetime) -> int:
    """Return milliseconds since the epoch, cut off, of a moment; one without a time zone is in UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(milliseconds=1)


def moment(ms: int) -> datetime:
    """Return the moment, in UTC, of milliseconds since the epoch. Raises `DataError` outside of years 1 to 9999."""
    try:
        return _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        raise DataError(f"{ms} milliseconds since the epoch is no date") from None


def days(day: date) -> int:
    """Return days since the epoch."""
    return (day - _EPOCH.date()).days


def milliseconds_of_day(at: time) -> int:
    """Return milliseconds since midnight."""
    return ((at.hour * 60 + at.minute) * 60 + at.second) * 1000 + at.microsecond // 1000


def unscaled_bytes(value: Decimal, scale: int) -> bytes:
    """Return a decimal's unscaled value as a big-endian integer in two's complement.

    Raises `DataError` when it has more than `scale` digits behind the point.
    """
    try:
        unscaled = int(value.scaleb(scale, context=_EXACT).quantize(Decimal(1), context=_EXACT))
    except Inexact:
        raise DataError(f"the number {value} has more than {scale} digits behind the point") from None
    bits = (unscaled if unscaled >= 0 else ~unscaled).bit_length()  # as BigInteger.bitLength counts
    return unscaled.to_bytes(bits // 8 + 1, "big", signed=True)
