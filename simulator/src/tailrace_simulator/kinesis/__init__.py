"""Kinesis Data Streams: streams and their shards, records, consumers. Pure: the time is passed in."""

from tailrace_simulator.kinesis.service import KinesisService

__all__ = ["KinesisService"]
