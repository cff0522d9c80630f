"""Tailrace: change data capture from Amazon DynamoDB into Apache Kafka."""

__version__ = "0.1.0"
