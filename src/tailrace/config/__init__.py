"""The pipeline file: reading, checking and explaining it."""

from tailrace.config.connectors.connector_file import ConnectorFile, is_connector_file
from tailrace.config.connectors.translate import Clients, Note
from tailrace.config.document import Reference
from tailrace.config.function import LambdaFunction
from tailrace.config.load import (
    AnyLoaded,
    LoadedLakeFile,
    LoadedPipeline,
    from_flags,
    import_text,
    load,
    load_connector,
    load_lake,
    load_text,
)
from tailrace.config.model import Batch, Pipeline, Topics
from tailrace.config.problem import FileErrors
from tailrace.config.property_maps import KafkaProperties
from tailrace.config.schema import json_schema
from tailrace.config.secrets import Secrets
from tailrace.config.source import Source

__all__ = [
    "AnyLoaded",
    "Batch",
    "Clients",
    "ConnectorFile",
    "FileErrors",
    "KafkaProperties",
    "LambdaFunction",
    "LoadedLakeFile",
    "LoadedPipeline",
    "Note",
    "Pipeline",
    "Reference",
    "Secrets",
    "Source",
    "Topics",
    "from_flags",
    "import_text",
    "is_connector_file",
    "json_schema",
    "load",
    "load_connector",
    "load_lake",
    "load_text",
]
