"""The kinds of source: a model for each `source.type`, all of one contract."""

from __future__ import annotations

from typing import Annotated

from tailrace.config.by_type import ByType
from tailrace.config.source import Source
from tailrace.config.sources.dynamodb_streams import DynamoDBStreamsSource
from tailrace.config.sources.kinesis import KinesisSource

AnySource = Annotated[Source, ByType(DynamoDBStreamsSource, KinesisSource)]
"""The `source` key. Whoever reads it sees the contract; only the wiring asks which kind it is."""
