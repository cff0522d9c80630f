"""The clusters that `tailrace lake --script` prints a job for."""

from enum import StrEnum


class Script(StrEnum):
    """A cluster of Flink."""

    SESSION_CLUSTER = "session-cluster"
    EMR = "emr"
    MANAGED_FLINK = "managed-flink"
