"""The pipeline file: reading, checking and explaining it."""

from tailrace.config.document import Reference
from tailrace.config.function import LambdaFunction
from tailrace.config.load import LoadedPipeline, from_flags, load, load_text
from tailrace.config.model import Batch, KafkaProperties, Pipeline, Topics
from tailrace.config.problem import FileErrors
from tailrace.config.schema import json_schema
from tailrace.config.secrets import Secrets
from tailrace.config.source import Source

__all__ = [
    "Batch",
    "FileErrors",
    "KafkaProperties",
    "LambdaFunction",
    "LoadedPipeline",
    "Pipeline",
    "Reference",
    "Secrets",
    "Source",
    "Topics",
    "from_flags",
    "json_schema",
    "load",
    "load_text",
]
