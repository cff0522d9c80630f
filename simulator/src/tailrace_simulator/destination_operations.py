"""DynamoDB's operations that send a table's changes to Kinesis streams: a request in, the answer out. Pure.

Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_EnableKinesisStreamingDestination.html
"""

from __future__ import annotations

from typing import Any, Final

from tailrace_simulator import requests
from tailrace_simulator.aws_error import AwsError, invalid, not_found
from tailrace_simulator.change_records import Precision
from tailrace_simulator.kinesis.account import Account
from tailrace_simulator.replication import Destination
from tailrace_simulator.tables import Database, Table

Answer = dict[str, Any]
_DESTINATIONS_MAX: Final = 2


class DestinationOperations:
    """One method an operation, named as AWS names it, in small letters. All raise `AwsError`."""

    def __init__(self, database: Database, account: Account) -> None:
        self._database = database
        self._account = account

    def enable_kinesis_streaming_destination(
        self, request: requests.EnableKinesisStreamingDestination, now_ms: int
    ) -> Answer:
        """Send the changes from now on to a stream."""
        table = self._database.table(_name(request.table_name))
        self._account.stream(None, request.stream_arn)
        destination = table.destinations.get(request.stream_arn)
        if destination is not None and destination.is_active:
            raise AwsError(
                "ResourceInUseException",
                f"Table {table.name} already has an enabled Kinesis data stream destination {request.stream_arn}",
            )
        if sum(each.is_active for each in table.destinations.values()) >= _DESTINATIONS_MAX:
            raise AwsError("LimitExceededException", f"Table {table.name} has {_DESTINATIONS_MAX} destinations already")
        configuration = request.enable_kinesis_streaming_configuration
        precision = configuration.approximate_creation_date_time_precision if configuration else None
        table.destinations[request.stream_arn] = Destination(request.stream_arn, precision)
        return _answer(table, request.stream_arn, "ENABLING", "EnableKinesisStreamingConfiguration", precision)

    def disable_kinesis_streaming_destination(
        self, request: requests.DisableKinesisStreamingDestination, now_ms: int
    ) -> Answer:
        """Send no more changes to a stream."""
        table = self._database.table(_name(request.table_name))
        destination = _active(table, request.stream_arn)
        destination.is_active = False
        precision = destination.precision
        return _answer(table, request.stream_arn, "DISABLING", "EnableKinesisStreamingConfiguration", precision)

    def update_kinesis_streaming_destination(
        self, request: requests.UpdateKinesisStreamingDestination, now_ms: int
    ) -> Answer:
        """Change how precise the creation times are, from the next change on."""
        table = self._database.table(_name(request.table_name))
        destination = _active(table, request.stream_arn)
        configuration = request.update_kinesis_streaming_configuration
        precision = configuration.approximate_creation_date_time_precision if configuration else None
        if precision is None or precision == (destination.precision or "MILLISECOND"):
            raise invalid("Invalid Request: Precision is already set to the desired value, or none is given")
        destination.precision = precision
        return _answer(table, request.stream_arn, "UPDATING", "UpdateKinesisStreamingConfiguration", precision)

    def describe_kinesis_streaming_destination(
        self, request: requests.DescribeKinesisStreamingDestination, now_ms: int
    ) -> Answer:
        """Show the streams that changes go to, and those that they went to."""
        table = self._database.table(_name(request.table_name))
        shown = [
            {
                "StreamArn": destination.stream_arn,
                "DestinationStatus": "ACTIVE" if destination.is_active else "DISABLED",
                "ApproximateCreationDateTimePrecision": destination.precision or "MILLISECOND",
            }
            for destination in table.destinations.values()
        ]
        return {"TableName": table.name, "KinesisDataStreamDestinations": shown}


def _name(name_or_arn: str) -> str:
    return name_or_arn.rpartition("/")[2]


def _active(table: Table, stream_arn: str) -> Destination:
    destination = table.destinations.get(stream_arn)
    if destination is None or not destination.is_active:
        raise not_found(f"Table {table.name} has no enabled Kinesis data stream destination {stream_arn}")
    return destination


def _answer(table: Table, stream_arn: str, status: str, name: str, precision: Precision | None) -> Answer:
    configuration = {name: {"ApproximateCreationDateTimePrecision": precision}} if precision else {}
    return {"TableName": table.name, "StreamArn": stream_arn, "DestinationStatus": status} | configuration
