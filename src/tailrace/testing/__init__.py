"""Stand-ins for DynamoDB and its streams behind the AWS wire protocol, and for AWS Lambda, to test consumers with."""

from tailrace.testing.server import SimulatedDynamoDB

__all__ = ["SimulatedDynamoDB"]
