"""What AWS Lambda does between a DynamoDB stream and a function. Pure: the time is passed in."""

from tailrace_simulator.event_source.mapper import Checkpoint, Discard, Invoke, Mapper, Probe, Read
from tailrace_simulator.event_source.mapping import EventSourceMapping, Hostility
from tailrace_simulator.event_source.outcome import Answered, Errored, NotInvoked, Outcome, Unknown

__all__ = [
    "Answered",
    "Checkpoint",
    "Discard",
    "Errored",
    "EventSourceMapping",
    "Hostility",
    "Invoke",
    "Mapper",
    "NotInvoked",
    "Outcome",
    "Probe",
    "Read",
    "Unknown",
]
