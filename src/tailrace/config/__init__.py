"""The pipeline file: reading, checking and explaining it."""

from tailrace.config.document import Reference
from tailrace.config.function import LambdaFunction
from tailrace.config.load import LoadedPipeline, from_flags, load, load_text
from tailrace.config.model import Batch, Discovery, KafkaProperties, Pipeline, Poll, Source, Topics
from tailrace.config.problem import FileErrors
from tailrace.config.schema import json_schema
from tailrace.config.secrets import Secrets

__all__ = [
    "Batch",
    "Discovery",
    "FileErrors",
    "KafkaProperties",
    "LambdaFunction",
    "LoadedPipeline",
    "Pipeline",
    "Poll",
    "Reference",
    "Secrets",
    "Source",
    "Topics",
    "from_flags",
    "json_schema",
    "load",
    "load_text",
]
