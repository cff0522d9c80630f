"""What can be wrong with a record in Connect's world."""

from __future__ import annotations


class DataError(ValueError):
    """A value that does not fit its schema, or that a transform cannot take (Connect's DataException)."""


class IncompatibleError(DataError):
    """A schema that a registry refuses beside the versions that a subject has."""
