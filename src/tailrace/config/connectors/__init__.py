"""Configurations of Kafka Connect's connectors, read as pipelines: here are those that are known, by their class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tailrace.config.connectors import confluent_dynamodb, confluent_kinesis, tailrace_source, trustpilot
from tailrace.config.connectors.connector import Connector

CONNECTORS: Final = (
    trustpilot.CONNECTOR,
    confluent_dynamodb.CONNECTOR,
    confluent_kinesis.MANAGED,
    confluent_kinesis.SELF_MANAGED,
    tailrace_source.CONNECTOR,
)

BY_CLASS: Final[Mapping[str, Connector]] = {name: each for each in CONNECTORS for name in each.classes}
