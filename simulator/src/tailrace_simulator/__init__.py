"""Simulates DynamoDB, its streams and Kinesis behind the AWS wire protocol, and AWS Lambda, to test consumers with."""

from tailrace_simulator.server import SimulatedDynamoDB

__version__ = "0.1.0"

__all__ = ["SimulatedDynamoDB"]
