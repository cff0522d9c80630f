"""Lets a pipeline under test read a Kinesis stream of the simulator instead of its tables' own streams."""

from __future__ import annotations

from typing import Any

import boto3

from support.bench import Bench
from tailrace_simulator import SimulatedDynamoDB

STREAM = "shop-cdc"


def kinesis_of(simulated: SimulatedDynamoDB) -> Any:
    """Return boto3's client of the simulator's Kinesis."""
    return boto3.client(
        "kinesis",
        endpoint_url=simulated.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )


def write_into_a_stream(pipeline: Bench, simulated: SimulatedDynamoDB) -> None:
    """Create the stream and let the tables write into it."""
    kinesis = kinesis_of(simulated)
    kinesis.create_stream(StreamName=STREAM, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    arn = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]["StreamARN"]
    kinesis.close()
    for table in pipeline.tables:
        pipeline.dynamodb.enable_kinesis_streaming_destination(TableName=table, StreamArn=arn)


def on_kinesis(pipeline: Bench, simulated: SimulatedDynamoDB, **source: Any) -> None:
    """Let a pipeline read a stream into which its tables write from now on."""
    write_into_a_stream(pipeline, simulated)
    pipeline.settings["source"] = {
        "type": "kinesis",
        "region": "us-east-1",
        "endpoint_url": simulated.endpoint_url,
        "streams": [STREAM],
        **source,
    }
    pipeline.file = pipeline.write_file()
