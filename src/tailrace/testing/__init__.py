"""A stand-in for DynamoDB and DynamoDB Streams behind the AWS wire protocol, to test consumers with."""

from tailrace.testing.server import SimulatedDynamoDB

__all__ = ["SimulatedDynamoDB"]
