"""What the product logs as a defect breaks a history."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


class DefectError(AssertionError):
    """The product has logged an exception that it did not expect."""


class Defects(logging.Handler):
    """Lets no defect pass that the product only logs; what else it logs is expected here."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is not None:
            raise DefectError(record.getMessage()) from record.exc_info[1]


@contextlib.contextmanager
def defects_raised() -> Iterator[None]:
    """Raise what the product logs as a defect, and keep quiet about the rest."""
    logger, handler = logging.getLogger("tailrace"), Defects()
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
